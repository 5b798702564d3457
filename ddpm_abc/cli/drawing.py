"""What `sample` and `evaluate` share: weights, a progress bar, and what is kept when a signal comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ddpm_abc.cli.console import progress, say
from ddpm_abc.cli.errors import Failed, noting
from ddpm_abc.run.settings import shown
from ddpm_abc.run.signals import noted_signals

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_abc.run.draw import Drawing, Film


def drawing_of(config: Any) -> Drawing:
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
    with noting(), noted_signals() as stop, progress(total, "sampling") as bar:
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
