"""What schedule and variance are worth: small networks, trained alike, in bits and in the FID of few steps.

    python benchmarks/bits_table.py --root data       # about five minutes a network; there are twelve
    python benchmarks/bits_table.py --table           # the table of what was measured so far

Linear and cosine schedule, fixed and learned variance, seeds 0, 1 and 2. Each network, of 16, 32 and 64
channels at its levels, predicts v and is trained on MNIST's training set, with L_simple or L_hybrid, for as
many steps as the others; its weights are averaged. Bits as `bits.py` measures them, with the same noise for
all; the fixed networks with both variances of the paper. FID of 1,000 digits, 8 bits a pixel, drawn with
ancestral sampling in few steps, against the 10,000 of MNIST's test set.

Each finished network is added to the CSV file, and one that is there is not trained again. One thread.
"""

import argparse
import time
from functools import partial
from itertools import islice, product
from pathlib import Path
from statistics import mean, stdev

import torch
from bits import PILOT, measure
from kept import keep, matching, rows
from samplers import references
from torch import Tensor

from ddpm_abc.classifier import digit_classifier, features
from ddpm_abc.data import batches, mnist, to_uint8, to_unit
from ddpm_abc.device import prepare
from ddpm_abc.likelihood import hybrid_loss
from ddpm_abc.metrics import fid
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.sampling import ddpm, image_generators, sample, spaced_times
from ddpm_abc.schedule import cosine_schedule, linear_schedule
from ddpm_abc.training import EMA, simple_loss, train, warmup_cosine
from ddpm_abc.unet import UNet

SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule}
VARIANCES = {False: ("beta_tilde", "beta"), True: ("learned",)}  # by what was trained
CALLS = (10, 20)  # of the network, for the FID
CHUNK = 128  # digits drawn at once


def trained(args: argparse.Namespace, images: Tensor, schedule: str, learn: bool, seed: int) -> Denoiser:
    "The averaged network at the end of a training."
    torch.manual_seed(seed)
    net = prepare(UNet(channels=(16, 32, 64), learn_variance=learn), "cpu")
    opt, ema = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01), EMA(net, args.ema)
    sched = SCHEDULES[schedule]()
    loop = train(
        Denoiser(net, sched, "v"),
        islice(batches(images, args.batch, seed=seed), args.steps),
        opt,
        ema=ema,
        generator=torch.Generator().manual_seed(seed),
        lr_factor=lambda step: warmup_cosine(step / args.steps),
        loss=hybrid_loss if learn else simple_loss,
    )
    for done in loop:
        if done.step % 500 == 0:
            print(f"<!-- step {done.step}: loss {done.loss:.4f} -->", flush=True)
    return Denoiser(ema.model, sched, "v")


def fids(denoise: Denoiser, variance: str, n: int, seed: int, against: Tensor) -> dict[str, float]:
    judge, found = digit_classifier(), {}
    walk = partial(ddpm, variance=None if variance == "learned" else variance)
    for calls in CALLS:
        times, drawn = spaced_times(denoise.sched.T, calls), []
        for k in range(0, n, CHUNK):
            streams = image_generators(seed, min(CHUNK, n - k), k)
            x = sample(denoise, (len(streams), 1, 28, 28), sampler=walk, times=times, generator=streams)
            drawn.append(features(judge, to_unit(to_uint8(x))))
        found[f"fid {calls}"] = fid(torch.cat(drawn), against)
    return found


def run(args: argparse.Namespace) -> None:
    images, test = (mnist(args.root, part).in_memory() for part in (True, False))
    pilot, test = to_unit(images[-PILOT:]), to_unit(test[: args.n])
    against, pile, _ = references(args.root, args.n)
    print(f"<!-- FID of {args.n:,} real digits: {fid(pile, against):.3f} -->", flush=True)
    for seed, schedule, learn in product(args.seeds, SCHEDULES, VARIANCES):
        key = {"schedule": schedule, "trained": "learned" if learn else "fixed", "steps": args.steps}
        key |= {"batch": args.batch, "ema": args.ema, "n": args.n, "draws": args.draws, "seed": seed}
        if matching(args.csv, key):
            continue
        begun = time.monotonic()
        denoise = trained(args, images, schedule, learn, seed)
        found = {variance: fids(denoise, variance, args.n, seed, against) for variance in VARIANCES[learn]}
        denoise.net.autocast_dtype = None  # bits in float32
        for variance in found:
            found[variance] |= measure(denoise, pilot, test, variance, args.draws, 0)
        for variance, row in found.items():
            keep(args.csv, key | {"variance": variance} | row)
        minutes = (time.monotonic() - begun) / 60
        print(f"<!-- {schedule}, {key['trained']}, seed {seed}: {minutes:.1f} minutes -->", flush=True)


def shown(values: list[float], digits: int) -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def table(args: argparse.Namespace) -> None:
    "Means over seeds, and their standard deviation."
    groups: dict[tuple[str, ...], list[dict]] = {}
    for row in rows(args.csv):
        group = tuple(row[k] for k in ("schedule", "variance", "steps", "batch", "n"))
        groups.setdefault(group, []).append(row)
    columns = {"bits a dimension": ("bits", 3), "error of one": ("error", 3), "L_0": ("L_0", 3)}
    columns |= {f"FID, {calls} calls": (f"fid {calls}", 2) for calls in CALLS}
    heads = ["schedule", "variance", "steps x batch", "N", "seeds", *columns]
    print(f"| {' | '.join(heads)} |\n" + "|---" * len(heads) + "|")
    for (schedule, variance, steps, batch, n), found in groups.items():
        cells = [schedule, variance, f"{steps} x {batch}", n, ", ".join(row["seed"] for row in found)]
        for name, digits in columns.values():
            values = [float(row[name]) for row in found]
            cells.append(f"{mean(values):.3f}" if name == "error" else shown(values, digits))
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", default="data", help="where MNIST is, or will be downloaded to")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--ema", type=float, default=0.995, help="weight of the past in the average")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n", type=int, default=1000, help="images for bits, and digits for the FID")
    parser.add_argument("--draws", type=int, default=16, help="terms of the bound for each image")
    parser.add_argument("--csv", type=Path, default=Path(__file__).parent / "results/bits_trained.csv")
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.table:
        run(args)
    table(args)


if __name__ == "__main__":
    main()
