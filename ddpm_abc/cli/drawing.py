"""What `sample` and `evaluate` share: settings, a progress bar, and what is kept when a signal comes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddpm_abc.cli.console import progress, say
from ddpm_abc.cli.errors import Failed, noting
from ddpm_abc.run.config import DEVICE, SEED
from ddpm_abc.run.settings import Choice, Name, Number, Whole, setting, shown
from ddpm_abc.run.signals import noted_signals

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_abc.run.draw import Drawing
    from ddpm_abc.run.pictures import Film

_GUIDANCE = """with weights of `train --labels`, such as mnist-labels: 0 keeps to the class as trained, 1 or
2 more closely (chapter 09); any value but 0 takes twice the time"""
_WEIGHTS = """weights.safetensors of a training run; or mnist-labels, mnist-v, mnist or mnist-bits, which
draw digits, or emoji, from the package"""
SAMPLERS = ("dpm-solver", "ddim", "ddpm")  # those of `ddpm_abc.solvers`, known without torch
_SAMPLER = """the walk from noise to images (chapter 10): dpm-solver, ddim, or ddpm, the paper's, which needs
many steps"""
_STEPS = "reverse steps, at most the T of the training; fewer are faster and coarser"
_ETA = """fresh noise on the way, for dpm-solver, in the later part of it, and ddim: from 0, none, to 1, as
much as ddpm's"""
DEFAULT_WEIGHTS = "mnist-labels"  # of `sample` and `evaluate`, from the package


@dataclass(frozen=True)
class DrawConfig:
    "What `sample` and `evaluate` are both told."

    weights: str = setting(DEFAULT_WEIGHTS, Name("FILE"), _WEIGHTS)
    guidance: float = setting(0.0, Number(metavar="W"), _GUIDANCE, otherwise="0")
    sampler: str = setting("dpm-solver", Choice(SAMPLERS), _SAMPLER)
    steps: int | None = setting(None, Whole(1), _STEPS, otherwise="20, with ddpm T")
    eta: float | None = setting(None, Number(), _ETA, otherwise="1 for dpm-solver, 0 for ddim")
    seed: int = setting(0, Whole(0, 2**63 - 1, "less than 2^63"), SEED)
    device: str = setting("auto", Name(), DEVICE)


def drawing_of(config: DrawConfig) -> Drawing:
    "What a command is to draw, on the device that it is to draw on. Says which weights these are."
    from ddpm_abc.run.draw import Drawing
    from ddpm_abc.run.setup import device_of, weights_of

    device_of(config.device)
    found = weights_of(config.weights)
    label = getattr(config, "label", None)
    drawing = Drawing(
        found,
        config.weights,
        config.seed,
        config.steps or 0,
        label,
        config.guidance,
        config.sampler,
        config.eta,
        getattr(config, "in_turn", False),
    )
    data, steps = shown(found.info.get("data", "unknown data")), shown(found.info.get("steps", "unknown"))
    say(f"weights: {config.weights}, trained on {data}, {steps} steps")
    return drawing


def draw_images(
    drawing: Drawing,  # what to draw
    n: int,  # how many
    first: int,  # the number of the first
    keep: Callable[[int, Tensor], None],  # takes the number of its first image, and a batch that is done
    film: Film | None = None,  # sees each state
) -> tuple[int, int]:  # how many are done, and the signal that stopped it, or 0
    "Draw images with a progress bar. The first signal ends it after the step under way; what is done stays."
    import torch

    from ddpm_abc.run.draw import draw

    done, begun, chunk = 0, time.monotonic(), drawing.chunk()
    total = -(-n // chunk) * (drawing.steps + 1)
    with noting(), noted_signals(once="RANK" in os.environ) as stop, progress(total, "sampling") as bar:
        try:
            for state in draw(drawing, n, first):
                if film:
                    film.see(state)
                bar.update()
                if state.done:
                    keep(state.first, state.x.cpu())
                    done += len(state.x)
                if stop:
                    break
        except torch.cuda.OutOfMemoryError:
            raise Failed(
                f"the device's memory is full: {done} of {n} images are kept; give --device cpu"
            ) from None
        except OSError as e:
            raise Failed(f"{e}; {done} of {n} images are kept") from e
    seconds = time.monotonic() - begun
    walk = f"{drawing.steps} reverse steps of {drawing.sampler}, seed {drawing.seed}"
    say(f"{done:,} images in {seconds:.0f} s ({walk})")
    return done, stop[0] if stop and done < n else 0
