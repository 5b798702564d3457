"""Put the weights of a training run into the package, in half precision.

    ddpm-abc train --data mnist --minutes 30 --out out
    python tools/ship_weights.py out/weights.safetensors

Prints the sha256 that `ddpm_abc.checkpoint.PRETRAINED_SHA256` must then be.
"""

import hashlib
import sys
from pathlib import Path

import torch

from ddpm_abc.checkpoint import about, load_weights, save_weights

TARGET = Path(__file__).parent.parent / "ddpm_abc/assets/mnist.safetensors"

source = sys.argv[1]
net, _, info = load_weights(source)
info = {key: value for key, value in info.items() if key != "versions"}  # save_weights notes its own
save_weights(TARGET, net, about(source).sched, dtype=torch.float16, **info)
print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes, sha256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()}")
