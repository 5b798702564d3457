"""Train the classifier that chapter 06 measures with, and put it into the package.

    python tools/ship_eyes.py

Prints the sha256 that `ddpm_abc.evaluation.EYES_SHA256` must then be.
"""

import hashlib
from pathlib import Path

import safetensors.torch
import torch

from ddpm_abc.checkpoint import write_atomically
from ddpm_abc.data import digits, to_unit
from ddpm_abc.evaluation import EYES, HELD_OUT, REFERENCE, train_classifier

TARGET = Path(__file__).parent.parent / "ddpm_abc/assets/eyes.safetensors"

data = digits()
images = to_unit(data.images)
net = train_classifier(images[EYES], data.labels[EYES])
with torch.no_grad():
    others = torch.cat([REFERENCE, HELD_OUT])
    right = (net(images[others]).argmax(1) == data.labels[others]).float().mean().item()
write_atomically(TARGET, safetensors.torch.save(net.state_dict()))
print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes, right on {right:.2%} of the 6,000 other digits, sha256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()}")
