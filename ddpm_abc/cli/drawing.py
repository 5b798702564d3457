"""What `sample` and `evaluate` share: settings, a progress bar, and what is kept when a signal comes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from ddpm_abc.cli.console import progress, say
from ddpm_abc.cli.errors import Failed, noting
from ddpm_abc.run.config import DEVICE, PACKAGED, SEED
from ddpm_abc.run.settings import Choice, Name, Number, Whole, counted, setting, shown
from ddpm_abc.run.signals import noted_signals

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_abc.distributed import Team
    from ddpm_abc.run.draw import Drawing
    from ddpm_abc.run.pictures import Film

_GUIDANCE = """guidance weight w of Ho & Salimans 2022, eps = (1 + w) eps(class) - w eps(no class), for a
network that is told the class, such as mnist-labels: 0 is no guidance, 1 or 2 keep to the class more closely.
Programs that call 1 + w the scale, as diffusers does, say 1, 2 and 3. Any w but 0 takes twice the time"""
_WEIGHTS = f"weights.safetensors of a training run, or {PACKAGED}"
SAMPLERS = ("dpm-solver", "ddim", "ddpm")  # those of `ddpm_abc.solvers`, known without torch
_SAMPLER = "sampler (chapter 10): dpm-solver, ddim, or ddpm, the paper's, which needs many steps"
_STEPS = "reverse steps, at most the T of the training; fewer are faster and coarser"
_ETA = """noise added on the way, for dpm-solver and ddim: 0 adds none, 1 as much as ddpm; in fewer than 15
steps dpm-solver adds it to the later ones only"""
_USUAL_ETA = "0.75 for dpm-solver, and 1 in fewer than 15 steps; 0 for ddim"
DEFAULT_WEIGHTS = "mnist-labels"  # of `sample` and `evaluate`, from the package


@dataclass(frozen=True)
class DrawConfig:
    "What `sample` and `evaluate` are both told."

    weights: str = setting(DEFAULT_WEIGHTS, Name("FILE"), _WEIGHTS)
    guidance: float = setting(0.0, Number(metavar="W"), _GUIDANCE, otherwise="0")
    sampler: str = setting("dpm-solver", Choice(SAMPLERS), _SAMPLER)
    steps: int | None = setting(None, Whole(1), _STEPS, otherwise="20; with {sampler} ddpm, T")
    eta: float | None = setting(None, Number(), _ETA, otherwise=_USUAL_ETA)
    seed: int = setting(0, Whole(0, 2**63 - 1, "less than 2^63"), SEED)
    device: str = setting("auto", Name(), DEVICE)


Config = TypeVar("Config", bound=DrawConfig)  # `DrawConfig` or a subclass of it, such as `EvaluateConfig`


def on_own_device(
    config: Config,  # what all the processes are told
    team: Team,  # the processes, and this one's place among them
) -> Config:  # names another device only where several processes have GPUs
    "The same settings, with the device of this one of several processes."
    from ddpm_abc.run.setup import own_device

    if team.size > 1 and (device := own_device(config.device, team)).type == "cuda":
        return replace(config, device=str(device))
    return config


def drawing_of(
    config: DrawConfig,  # what the command is told; its label and in_turn count, too, if it has them
) -> Drawing:  # with its weights read
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
    say(f"weights: {config.weights}, trained on {data}, {steps} step{'s' * (steps != '1')}")
    return drawing


def draw_images(
    drawing: Drawing,  # what to draw
    n: int,  # how many
    first: int,  # the number of the first
    keep: Callable[[int, Tensor], None],  # takes the number of the first of some images, and 8 bits a pixel
    film: Film | None = None,  # sees each state
    team: Team | None = None,  # of processes that draw them together; all keep the images of all
) -> tuple[int, int]:  # how many are done, and the signal that stopped it, or 0
    """Draw images with a progress bar.

    The first signal, to any process, ends it after the step under way; what is done stays.
    """
    import torch

    from ddpm_abc.data import to_uint8
    from ddpm_abc.distributed import Team, agreed, gathered
    from ddpm_abc.run.draw import draw

    team = team or Team()
    done, signal, begun, chunk = 0, 0, time.monotonic(), drawing.chunk()
    total = -(-n // (team.size * chunk)) * (drawing.steps + 1)
    with noting(), noted_signals(once="RANK" in os.environ) as stop, progress(total, "sampling") as bar:
        try:
            for state in draw(drawing, n, first, team):
                if film:
                    film.see(state)
                bar.update()
                if state.done:
                    images = gathered(team, to_uint8(state.x.cpu()), chunk)[: n - done]
                    keep(first + done, images)
                    done += len(images)
                _, signal = agreed(team, 0.0, stop[0] if stop else 0)
                if signal:
                    break
        except torch.cuda.OutOfMemoryError:
            raise Failed(
                f"the device's memory is full: {done:,} of {counted(n, 'image')} kept; give --device cpu"
            ) from None
        except OSError as e:
            raise Failed(f"{e}; {done:,} of {counted(n, 'image')} kept") from e
    seconds = time.monotonic() - begun
    walk = f"{counted(drawing.steps, 'reverse step')} of {drawing.sampler}, seed {drawing.seed}"
    say(f"{counted(done, 'image')} in {seconds:.0f} s ({walk})")
    return done, signal if done < n else 0
