"""Put the weights of a training run into the package, in half precision, for `pretrained`.

    python tools/ship_weights.py out/mnist-v/weights.safetensors mnist-v

Prints the sha256 that `ddpm_abc.storage.weights.PRETRAINED_SHA256` must then hold. ddpm_abc/assets/README.md
says which training each of them came from.
"""

import hashlib
import sys
from pathlib import Path

import torch

from ddpm_abc.storage import load_weights, save_weights

if len(sys.argv) != 3:
    sys.exit("usage: python tools/ship_weights.py WEIGHTS NAME")
source, name = sys.argv[1:]
target = Path(__file__).parent.parent / f"ddpm_abc/assets/{name}.safetensors"
denoise, info = load_weights(source)
info = {key: value for key, value in info.items() if key != "versions"}  # save_weights notes its own
save_weights(target, denoise, dtype=torch.float16, **info)
digest = hashlib.sha256(target.read_bytes()).hexdigest()
print(f"{target.name}: {target.stat().st_size:,} bytes, sha256 {digest}")
