"""Write what torch makes for the page Draw and for its tests:

site/static/draw/mnist-labels.onnx, the network, and site/tests/truth.json, what Python computes and the page
must compute too: noise, times, schedules, fifty images, walks of points.

    python tools/page_data.py

tests/test_export.py compares both files with what the library says now.
"""

import base64
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_abc.export import onnx_error, portable_noise, portable_normals, save_onnx
from ddpm_abc.gaussian import GaussianMixture, mixture_eps_model
from ddpm_abc.guidance import guided
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm, spaced_times
from ddpm_abc.schedule import cosine_schedule, linear_schedule
from ddpm_abc.solvers import ddim, dpm_solver, heun, times_for
from ddpm_abc.storage import pretrained

ROOT = Path(__file__).resolve().parent.parent
MODEL, TRUTH = ROOT / "site/static/draw/mnist-labels.onnx", ROOT / "site/tests/truth.json"
WALKS: dict[str, Any] = {"ddpm": ddpm, "ddim": ddim, "dpm": dpm_solver, "heun": heun}  # by the page's names
NAMES = {"ddpm": "ddpm", "ddim": "ddim", "dpm": "dpm-solver"}  # the library's
PLANS = [  # walks of points: sampler, steps, eta
    *[("ddpm", 12, 1), ("ddim", 2, 0), ("ddim", 40, 0.5), ("ddim", 1000, 0)],
    *[("dpm", 9, 0), ("dpm", 60, 0.75), ("heun", 8, 0)],
]
ANY = 10  # the class that stands for no label


def drawn(
    denoise: Denoiser, digit: int, w: float, steps: int, kind: str, seeds: Iterable[int], n: int
) -> Tensor:
    "Images by the library's sampler, n of each seed, as 8 bits: (N, 784)."
    sources = [portable_noise(seed, n) for seed in seeds]

    def noise(x: Tensor) -> Tensor:
        return torch.cat([source(part) for source, part in zip(sources, x.split(n), strict=True)])

    told = guided(denoise, torch.full((n * len(sources),), digit), ANY, w)
    x = noise(torch.empty(n * len(sources), 1, 28, 28))
    *_, x = WALKS[kind](told, x, times_for(NAMES[kind], denoise.sched, steps), noise)
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).flatten(1)


def images() -> list[dict[str, Any]]:
    "Fifty images: five seeds by each sampler with and without guidance, sixteen at once, four long walks."
    denoise, found = pretrained("mnist-labels").denoise, []

    def add(seeds: list[int], n: int = 1, **how: Any) -> None:
        many = drawn(denoise, seeds=seeds, n=n, **how)
        for seed, x in zip(seeds, many.split(n), strict=True):
            found.append(
                {**how, "seed": seed, "n": n, "pixels": base64.b64encode(x.numpy().tobytes()).decode()}
            )

    for kind in NAMES:
        for w in (0, 1):
            add([1, 2, 3, 4, 5], digit=3, w=w, steps=10, kind=kind)
    add([6], n=16, digit=ANY, w=1, steps=6, kind="ddim")
    add([7, 8, 9, 10], digit=8, w=2, steps=40, kind="ddpm")
    return found


def crescents() -> GaussianMixture:
    "The data of the walk explorer: two crescents, each of seven Gaussians."
    angle = math.pi * torch.arange(7, dtype=torch.float64) / 6
    upper = torch.stack([0.7 * angle.cos() - 0.35, 0.7 * angle.sin() - 0.15], 1)
    means = torch.stack([upper, -upper], 1).reshape(14, 2)
    weights = torch.full((14,), 1 / 14, dtype=torch.float64)
    return GaussianMixture(weights, means, torch.full_like(weights, 0.006))


def walks() -> list[dict[str, Any]]:
    "Where eight points end, from the page's own noise, by each sampler."
    sched, found = linear_schedule(), []
    denoise = Denoiser(mixture_eps_model(crescents(), sched.alpha_bar), sched)
    for kind, steps, eta in PLANS:
        draws = iter(range(10_000))

        def noise(x: Tensor, draws: Any = draws) -> Tensor:
            return torch.from_numpy(portable_normals(2, 0, next(draws), x.numel())).view_as(x)

        x = noise(torch.empty(8, 2, dtype=torch.float64))
        given = {"eta": eta} if kind in ("ddim", "dpm") else {}
        *_, x = WALKS[kind](denoise, x, spaced_times(1000, steps), noise, clip=False, **given)
        found.append({"kind": kind, "steps": steps, "eta": eta, "end": x.flatten().tolist()})
    return found


def truth() -> dict[str, Any]:
    "What the page must compute as Python does."
    cosine, linear = cosine_schedule(), linear_schedule(50, 1e-3, 0.3)
    return {
        "normals": portable_normals(seed=2**32 - 5, image=3, draw=7, n=11).tolist(),
        "cosine": cosine.alpha_bar[::50].tolist(),
        "linear": linear.alpha_bar.tolist(),
        "times": [
            [kind, n, times_for(NAMES[kind], cosine, n)] for kind in ("ddim", "dpm") for n in (1, 7, 16, 100)
        ],
        "walks": walks(),
        "images": images(),
    }


if __name__ == "__main__":
    found = pretrained("mnist-labels")
    save_onnx(MODEL, found.denoise)
    print(f"{MODEL.name}: {MODEL.stat().st_size:,} bytes, off by {onnx_error(MODEL, found.denoise):.1e}")
    TRUTH.write_text(json.dumps(truth()) + "\n", encoding="utf-8")
    print(f"{TRUTH.name}: {TRUTH.stat().st_size:,} bytes")
