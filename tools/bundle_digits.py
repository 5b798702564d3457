"""Write ddpm_abc/assets/digits.npz: the first 1,000 images of each class of MNIST's training set, in their
order.

python tools/bundle_digits.py FOLDER      # FOLDER as for torchvision.datasets.MNIST(FOLDER)
"""

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
from torchvision.datasets import MNIST

PER_CLASS = 1000
path = Path(__file__).parent.parent / "ddpm_abc/assets/digits.npz"

mnist = MNIST(sys.argv[1], train=True)
images, labels = mnist.data.numpy(), mnist.targets.numpy()
keep = np.sort(np.concatenate([np.flatnonzero(labels == k)[:PER_CLASS] for k in range(10)]))
buffer = io.BytesIO()
np.savez_compressed(buffer, images=images[keep], labels=labels[keep].astype(np.uint8))
path.write_bytes(buffer.getvalue())
print(
    f"{path.name}: {len(keep):,} images, {path.stat().st_size:,} bytes, sha256 "
    f"{hashlib.sha256(buffer.getvalue()).hexdigest()}"
)
