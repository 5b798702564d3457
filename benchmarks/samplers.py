"""FID against calls of the network, for each sampler, and seconds for a sheet of 64 digits.

    python benchmarks/samplers.py            # N = 1,000 of the bundled digits; --net and --calls change it
    python benchmarks/samplers.py --mnist data --n 10000 --only "DPM-Solver++, late noise" --seeds 3
    python benchmarks/samplers.py --mnist data --n 10000 --real    # how much of such a figure is luck
    pip install -e ".[peers]"; python benchmarks/samplers.py --speed    # beside diffusers, in turns

Digits are drawn as `ddpm-abc sample` draws them, 8 bits a pixel, and compared with the 3,000 reference digits
of chapter 06, or with --mnist FOLDER with the 10,000 of MNIST's test set. The floor is that of as many real
digits: held-out ones, or those of MNIST's training set.

Such a figure is partly luck. A command draws the classes in the shares that they have in the training set,
and the test set has slightly others. With --mnist a second one is kept that varies less, `evened`: the FID
against all 60,000 digits of the training set, each digit with a weight that makes its class count as often as
there.

Each finished row is added to the CSV file, and a row that is there is not drawn again.
"""

import argparse
import time
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
import torch
from kept import keep, matching
from torch import Tensor

from ddpm_abc.classifier import HELD_OUT, REFERENCE, digit_classifier, features
from ddpm_abc.data import digits, mnist, to_uint8, to_unit
from ddpm_abc.device import describe, prepare
from ddpm_abc.metrics import fid, frechet
from ddpm_abc.run.draw import NOISE_FROM, Drawing, draw, image_labels
from ddpm_abc.storage import PRETRAINED_SHA256, pretrained

CONTENDERS = {  # name in the table -> sampler, eta, and alpha_bar from which on there is noise
    "ancestral": ("ddpm", None, 0.0),
    "DDIM": ("ddim", 0.0, 0.0),
    "DPM-Solver++": ("dpm-solver", 0.0, 0.0),
    "DPM-Solver++, eta 0.75": ("dpm-solver", 0.75, 0.0),
    "DPM-Solver++, eta 1": ("dpm-solver", 1.0, 0.0),
    "DPM-Solver++, late noise": ("dpm-solver", 1.0, NOISE_FROM),
}
FIELDS = ["net", "sampler", "calls", "guidance", "n", "against", "seed", "fid", "evened"]


def drawing(net: str, name: str, calls: int, seed: int, guidance: float) -> Drawing:
    sampler, eta, noise_from = CONTENDERS[name]
    found = pretrained(net)
    prepare(found.denoise.net, "cpu")
    return Drawing(
        found, net, seed, calls, guidance=guidance, sampler=sampler, eta=eta, noise_from=noise_from
    )


def drawn(of: Drawing, n: int) -> Tensor:
    "As the command keeps them: 8 bits a pixel."
    return to_unit(torch.cat([to_uint8(state.x) for state in draw(of, n) if state.done]))


def references(root: str | None, n: int) -> tuple[Tensor, Tensor, str]:
    "Features to compare with, those of as many real digits, and what the first are of."
    net = digit_classifier()
    if root is None:
        real = to_unit(digits().images)
        return features(net, real[REFERENCE]), features(net, real[HELD_OUT[:n]]), "digits"
    train, test = (to_unit(mnist(root, part).images) for part in (True, False))
    pile = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:n]
    return features(net, test), features(net, train[pile]), "mnist"


def moments(x: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    "Mean and covariance of features (N, D), each digit with its weight."
    x = x.double()
    weights = torch.ones(len(x), dtype=torch.float64) if weights is None else weights
    return weights @ x / weights.sum(), torch.cov(x.T, aweights=weights)


def evened(x: Tensor, y: Tensor, against: Tensor, classes: Tensor) -> float:
    "FID of features x of classes y, each class as often as among those they are compared with."
    weights = (classes.bincount() / y.bincount(minlength=10)).double()[y]
    return frechet(*moments(against), *moments(x, weights))


@cache
def training(root: str) -> tuple[Tensor, Tensor]:
    "Features and classes of MNIST's training set."
    found = mnist(root, True)
    return features(digit_classifier(), to_unit(found.images)), found.labels.long()


def real(args: argparse.Namespace) -> None:
    "As many real digits, pile after pile, and the digits of 1,000 ancestral steps that are kept."
    against, (all_of, classes) = references(args.mnist, args.n)[0], training(args.mnist)
    order = torch.randperm(len(all_of), generator=torch.Generator().manual_seed(0))
    piles = [k for k in order.split(args.n) if len(k) == args.n]
    print(f"| N = {args.n:,} | FID against the test set | evened, against the training set |\n|---|---|---|")
    scores = []
    for k in piles:  # evened against the rest, since a pile is nearer to a set that it is a part of
        rest = torch.ones(len(all_of), dtype=torch.bool).index_fill(0, k, False)
        even = evened(all_of[k], classes[k], all_of[rest], classes[rest])
        scores.append((fid(all_of[k], against), even))
    cells = (
        f"{mean(s):.3f} ± {stdev(s):.3f} ({min(s):.3f} to {max(s):.3f})" for s in zip(*scores, strict=True)
    )
    print(f"| real digits, {len(piles)} piles | " + " | ".join(cells) + " |")
    means = torch.stack([all_of[classes == c].double().mean(0) for c in range(10)])
    apart = (means[classes] - means[classes].mean(0)).square().sum(1).mean()  # the variance between classes
    print(f"| of the FID, the mean part of classes at random | {apart / args.n:.3f} | |")
    kept, net = Path(__file__).parent / "drawn/mnist-labels.npz", digit_classifier()
    x = features(net, to_unit(torch.from_numpy(np.load(kept)["images"])[: args.n]))
    y = net.head(x.float()).argmax(1)  # which classes were asked for, was not kept
    print(f"| 1,000 ancestral steps | {fid(x, against):.3f} | {evened(x, y, all_of, classes):.3f} |")


def measure(args: argparse.Namespace) -> None:
    against, pile, what = references(args.mnist, args.n)
    floor, net = fid(pile, against), digit_classifier()
    print(f"N = {args.n:,}, guidance {args.guidance:g}; floor {floor:.3f} ({what})\n")
    print(f"| {args.net} | " + " | ".join(map(str, args.calls)) + " |\n|---|" + "---|" * len(args.calls))
    for name in args.only or CONTENDERS:
        cells = []
        for calls in args.calls:
            scores = []
            for seed in range(args.seeds):
                key = dict(
                    zip(FIELDS, (args.net, name, calls, args.guidance, args.n, what, seed), strict=False)
                )
                known = matching(args.csv, key)
                if not known:
                    of = drawing(args.net, name, calls, seed, args.guidance)
                    x = features(net, drawn(of, args.n))
                    row = {k: str(v) for k, v in key.items()} | {
                        "fid": f"{fid(x, against):.4f}",
                        "evened": "",
                    }
                    if args.mnist and of.often:
                        y = torch.tensor(image_labels(seed, args.n, 0, of.often))
                        row["evened"] = f"{evened(x, y, *training(args.mnist)):.4f}"
                    keep(args.csv, row)
                    known = [row]
                scores.append(float(known[0]["fid"]))
            spread = f" ± {stdev(scores):.2f}" if len(scores) > 1 else ""
            cells.append(f"{mean(scores):.{2 if len(scores) > 1 else 3}f}{spread}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def theirs(found, steps: int, seed: int, n: int) -> Tensor:
    "diffusers' DPMSolverMultistepScheduler on the same network, trailing times, float32."
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        trained_betas=found.denoise.sched.beta[1:].numpy(),
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    g, counts = torch.Generator().manual_seed(seed), list(found.info["classes"].values())
    y, parts = torch.tensor(image_labels(seed, n, 0, counts)), []  # those that ours are given
    for labels in y.split(64):
        scheduler.set_timesteps(steps)
        x = torch.randn(len(labels), 1, 28, 28, generator=g)
        for t in scheduler.timesteps:
            with torch.no_grad():
                v = found.denoise.net(x, (t + 1).expand(len(x)), y=labels)
            x = scheduler.step(v, t, x).prev_sample
        parts.append(to_unit(to_uint8(x)))
    return torch.cat(parts)


def speed(args: argparse.Namespace) -> None:
    found = pretrained("mnist-labels")
    prepare(found.denoise.net, "cpu")
    print(describe(found.denoise.net) + "\n")
    against, net, seconds = references(None, 1000)[0], digit_classifier(), {}
    ways = {
        f"{who}, {steps} steps": (who, steps)
        for steps in (10, 20)
        for who in ("ddpm_abc, DPM-Solver++ as `sample` has it", "diffusers, DPMSolverMultistep")
    }

    def sheet(who: str, steps: int, n: int) -> Tensor:
        if who.startswith("diffusers"):
            return theirs(found, steps, 0, n)
        return drawn(Drawing(found, "mnist-labels", 0, steps, sampler="dpm-solver"), n)

    for _ in range(args.rounds + 1):  # the first warms up
        for name, (who, steps) in ways.items():
            begun = time.perf_counter()
            sheet(who, steps, 64)
            seconds.setdefault(name, []).append(time.perf_counter() - begun)
    print(f"| 64 digits, {args.rounds} rounds in turns | seconds | FID, N = 1,000 |\n|---|---|---|")
    for name, (who, steps) in ways.items():
        s = seconds[name][1:]
        score = fid(features(net, sheet(who, steps, 1000)), against)
        print(f"| {name} | {median(s):.2f} ({min(s):.2f} to {max(s):.2f}) | {score:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=list(PRETRAINED_SHA256), default="mnist-labels")
    parser.add_argument("--only", choices=list(CONTENDERS), action="append", help="this sampler alone")
    parser.add_argument("--calls", type=int, nargs="+", default=[2, 4, 6, 8, 10, 15, 20, 50])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1, help="0, 1, ... (default: 1)")
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--mnist", metavar="FOLDER", help="compare with the test set there")
    parser.add_argument("--csv", type=Path, default=Path(__file__).parent / "results/samplers.csv")
    parser.add_argument("--speed", action="store_true", help="seconds for 64 digits, beside diffusers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--real", action="store_true", help="real digits in the place of drawn ones; needs --mnist"
    )
    args = parser.parse_args()
    if args.real and not args.mnist:
        parser.error("--real needs --mnist FOLDER")
    (real if args.real else speed if args.speed else measure)(args)


if __name__ == "__main__":
    main()
