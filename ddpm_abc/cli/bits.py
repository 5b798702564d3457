"""`ddpm-abc evaluate --bits`: how likely are real images to a trained network?"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ddpm_abc.cli.console import note, progress, say, watched
from ddpm_abc.cli.drawing import drawing_of, on_own_device
from ddpm_abc.cli.errors import Refused, refusing_first
from ddpm_abc.run.settings import counted

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_abc.distributed import Team
    from ddpm_abc.parameterization import Denoiser
    from ddpm_abc.run.draw import Drawing

DRAWS = 16  # terms of the bound for each image
PILOT = 24  # images that say how large the terms are
CHUNK = 20  # images between two steps of the progress bar


def measure(
    config: Any,  # an EvaluateConfig: which weights, and which images
) -> int:  # exit status
    "Estimate the bound on the bits of held-out images, and print it with its error."
    from ddpm_abc.distributed import joined, noticing_loss
    from ddpm_abc.likelihood import mean_error

    with joined(config.timeout) as team, noticing_loss(team, config.timeout):
        with refusing_first(team):
            config = on_own_device(config, team)
            drawing = drawing_of(config)
            images, whose = _held_out(config, drawing)
        begun = time.monotonic()
        found = _bits(config, drawing, images, team)
    (mean, error), *others = map(mean_error, found.unbind(1))
    seconds = time.monotonic() - begun
    drawn = f"{DRAWS} terms of each, seed {config.seed}, {seconds:.0f} s"
    how = f"{counted(len(images), 'image')} {whose}, {drawn}"
    say(f"bits per dimension: at most {mean:.4f}, standard error {error:.4f} ({how})")
    names = ("L_0", "the steps between", "L_T")
    say("of which " + ", ".join(f"{n} {v:.4f}" for n, (v, _) in zip(names, others, strict=True)))
    say("8 bits a pixel, x0 clipped; a bound on -log2 p, not an estimate: see chapter 11")
    return 0


def _bits(config: Any, drawing: Drawing, images: Tensor, team: Team) -> Tensor:  # (N, 4)
    "Those of each image, and its parts; of many processes each takes the next few images in turn."
    import torch

    from ddpm_abc.data import to_unit
    from ddpm_abc.distributed import gathered
    from ddpm_abc.likelihood import bits_per_dim, pilot_times
    from ddpm_abc.run.setup import device_of

    device, x0 = device_of(config.device), to_unit(images)
    drawing.net.to(device)
    denoise = unlabelled(drawing.found.denoise)
    p = pilot_times(denoise, x0[:PILOT].to(device), seed=config.seed)
    parts = []
    with progress(len(x0), "measuring") as bar:
        for k in range(0, len(x0), team.size * CHUNK):
            first = k + team.rank * CHUNK
            rows = torch.empty(0, 4, dtype=torch.float64, device="cpu")
            if len(some := x0[first : first + CHUNK].to(device)):
                found = bits_per_dim(denoise, some, times=p, draws=DRAWS, seed=config.seed, first=first)
                rows = torch.stack([found.each, found.part(1, 1), found.part(2), found.prior], 1)
            parts.append(gathered(team, rows, CHUNK)[: len(x0) - k])
            bar.update(len(parts[-1]))
    return torch.cat(parts)


def _held_out(config: Any, drawing: Drawing) -> tuple[Tensor, str]:
    "Images to measure on, 8 bits a pixel, and what they are; the bundled digits may have been seen."
    import torch

    from ddpm_abc import data
    from ddpm_abc.classifier import HELD_OUT
    from ddpm_abc.run.judge import real_for

    info, shape = drawing.found.info, tuple(drawing.net.image_shape)
    if config.data == "mnist":
        images, whose = data.mnist(config.root, False).in_memory(), "of MNIST's test set"
    elif config.data == "digits" or (config.data is None and not _says(info)):
        images, whose = data.digits().in_memory()[HELD_OUT], "of the bundled digits"
        if "MNIST" in str(info.get("data", "")):
            note("the bundled digits are of MNIST's training set, which these weights were trained on")
    else:
        where: dict[str, Any] = {"root": config.root, "image_cache": config.image_cache}
        train, held = real_for(info, config.weights, config.data, **where, progress=watched())
        say(held.describe().replace("data:", "measured on:"))
        for sentence in held.notes:
            note(sentence)
        if train is None:
            note(f"nobody can tell which of them {config.weights} was trained on: its own images are gone")
        g = torch.Generator().manual_seed(0)  # of all classes, in whose order they lie
        some = torch.randperm(len(held), generator=g, device="cpu")[: config.n]
        images, whose = held[some.sort().values], "that were held out"
    if tuple(images.shape[1:]) != shape:
        got, want = ("x".join(map(str, s)) for s in (images.shape[1:], shape))
        raise Refused(f"{config.weights} is for images of {want}, and those of --data are {got}")
    return images[: config.n], whose


def _says(info: dict[str, Any]) -> bool:
    "Whether weights name data of their own, other than the bundled digits."
    run = info.get("run")
    return isinstance(run, dict) and run.get("data") not in (None, "digits", "mnist")


def unlabelled(
    denoise: Denoiser,  # its network may take classes, the last of which stands for none
) -> Denoiser:  # as it was, if it takes none
    "The same network; where it is told classes, it is told none."
    import torch

    net: Any = denoise.net
    if (n := net.config["n_classes"]) is None:
        return denoise
    return replace(denoise, net=lambda xt, t: net(xt, t, y=torch.full_like(t, n - 1)))
