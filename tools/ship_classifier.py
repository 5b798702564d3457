"""Train the classifier that chapter 06 measures with, and put it into the package.

    python tools/ship_classifier.py

Prints the sha256 that `ddpm_abc.classifier.CLASSIFIER_SHA256` must then be.
"""

import hashlib
from pathlib import Path

import safetensors.torch
import torch

from ddpm_abc.classifier import CLASSIFIER_SPLIT, HELD_OUT, REFERENCE, train_classifier
from ddpm_abc.data import digits, to_unit
from ddpm_abc.storage import write_atomically

TARGET = Path(__file__).parent.parent / "ddpm_abc/assets/digit_classifier.safetensors"

data = digits()
images = to_unit(data.in_memory())
net = train_classifier(images[CLASSIFIER_SPLIT], data.labels[CLASSIFIER_SPLIT])
with torch.no_grad():
    others = torch.cat([REFERENCE, HELD_OUT])
    right = (net(images[others]).argmax(1) == data.labels[others]).float().mean().item()
write_atomically(TARGET, safetensors.torch.save(net.state_dict()))
digest = hashlib.sha256(TARGET.read_bytes()).hexdigest()
print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes, right on {right:.2%} of the 6,000 other digits")
print(f"sha256 {digest}")
