"""Small networks with random weights, and files as a stranger would write them, for the tests of storage."""

import json

import safetensors.torch
import torch

from ddpm_abc.paper_unet import PaperUNet
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.storage import format as sealed
from ddpm_abc.unet import UNet

SMALL = {
    UNet: {"size": 8, "channels": (16, 32)},
    PaperUNet: {
        "in_channels": 1,
        "size": 8,
        "channels": (16, 32),
        "blocks": 1,
        "attention_at": (4,),
        "groups": 8,
    },
}
KINDS = {UNet: "unet", PaperUNet: "paper_unet"}
LINEAR = linear_schedule()


def small(seed=0, cls=UNet, **kwargs):
    "A small network, all of whose weights are random, those that start at zero too."
    torch.manual_seed(seed)
    net = cls(**SMALL[cls] | kwargs)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.1)
    return net


def answer(net, seed=1):
    g = torch.Generator().manual_seed(seed)
    c, n_classes = net.config["in_channels"], net.config["n_classes"]
    labels = [torch.tensor([0, n_classes - 1])] if n_classes else []
    with torch.no_grad():
        return net.eval()(torch.randn(2, c, 8, 8, generator=g), torch.tensor([1, 900]), *labels)


def eps(net=None, sched=LINEAR):
    return Denoiser(small() if net is None else net, sched)


def described(cls=UNet, **changed):
    "The header of a good file of weights, but for what is changed."
    net = {"kind": KINDS[cls], **small(cls=cls).config}
    fields = {"format": 3, "sha256": "0" * 64, "kind": "weights", "net": net, "predicts": "eps"}
    fields |= {"sched": {"kind": "linear", "T": 1000}, "info": {}, "state": {}}
    return {"ddpm_abc": json.dumps(fields | changed)}


def write(path, header, tensors=None):
    "A file as a stranger would write it: anything may stand in it, and its digest is right."
    tensors = small().state_dict() if tensors is None else tensors
    path.write_bytes(sealed._seal(safetensors.torch.save(tensors, header)))
