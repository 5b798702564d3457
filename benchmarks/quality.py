"""What the digits are worth after equal time.

    pip install -e ".[peers,bench]"
    python benchmarks/quality.py --marks 1        # four contenders, 600 s of training each
    python benchmarks/quality.py --marks 1 --seconds 60 --only ddpm_abc

Each contender of speed.py trains as its authors do, on the bundled digits. At each mark the clock stops, the
contender draws digits with its own sampler in equal steps, and chapter 06 judges them. "legible" is the share
of digits that the packaged classifier names with a certainty of 90% or more and that lie where real digits do
(6.5); white noise shows that certainty alone would say nothing. The first 64 digits of each mark go to OUT as
a picture. Nothing else may run beside this.
"""

import argparse
import time
from pathlib import Path

import torch
from contenders import BATCH, missing
from speed import BUILD
from torch import Tensor

from ddpm_abc.classifier import HELD_OUT, features
from ddpm_abc.data import digits, to_unit
from ddpm_abc.metrics import Reference, evaluate, prdc, reference_digits
from ddpm_abc.plot import save_images


def legible(images: Tensor, certain: Tensor, reference: Reference) -> float:
    "Share of the images that are marked as certain and lie where real digits do."
    if certain.sum() <= 5:  # fewer than (6.5) needs
        return 0.0
    like_real = prdc(features(reference.net, images[certain]), reference.features, real_radii=reference.radii)
    return like_real.precision * certain.float().mean().item()


def row(name: str, when: str, steps: str, images: Tensor, reference: Reference) -> None:
    images = images.clamp(-1, 1)
    with torch.no_grad():
        certain = reference.net(images).softmax(1).amax(1) >= 0.9
    r = evaluate(images, reference)
    print(
        f"| {name} | {when} | {steps} | {r.fid:.2f} | {r.precision:.2f} "
        f"| {r.recall:.2f} | {r.coverage:.2f} | {legible(images, certain, reference):.1%} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600, help="of training for each (default: 600)")
    parser.add_argument(
        "--marks",
        type=int,
        default=3,
        help="how often to look; each look is at twice the time of the one before (default: 3)",
    )
    parser.add_argument("--n", type=int, default=500, help="digits to judge (default: 500)")
    parser.add_argument("--steps", type=int, default=50, help="reverse steps (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        choices=list(BUILD),
        action="append",
        help="this contender alone; may be given again (default: all but the first attempt)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/quality"), help="folder for the pictures (default: out/quality)"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = digits().images
    real = to_unit(data)
    reference = reference_digits(real)
    left_out, wanted = missing(), args.only or list(BUILD)[:-1]
    names = [name for name in BUILD if name in wanted and name not in left_out]
    print(
        f"N = {args.n}, {args.steps} reverse steps, seed {args.seed}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    print(
        "| | trained for | training steps | FID | precision | recall | coverage | legible |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    row("real digits, held out", "", "", real[HELD_OUT[: args.n]], reference)
    row(
        "white noise",
        "",
        "",
        torch.randn(args.n, 1, 28, 28, generator=torch.Generator().manual_seed(args.seed)),
        reference,
    )
    for name in names:
        torch.manual_seed(args.seed)
        contender, taken, steps = BUILD[name](data), 0.0, 0
        for mark in [args.seconds / 2**k for k in reversed(range(args.marks))]:
            begun = time.perf_counter() - taken
            while (taken := time.perf_counter() - begun) < mark:
                contender.step(taken / args.seconds)
                steps += 1
            generated = torch.cat(
                [contender.draw(min(BATCH, args.n - i), args.steps) for i in range(0, args.n, BATCH)]
            )
            row(name, f"{taken:.0f} s", f"{steps:,} ({steps * BATCH:,} images)", generated, reference)
            save_images(generated[:64].clamp(-1, 1), args.out / f"{name.replace(' ', '-')}-{mark:.0f}s.png")


if __name__ == "__main__":
    main()
