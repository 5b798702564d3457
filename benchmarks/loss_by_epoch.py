"""The loss to expect: chapter 04's training, epoch by epoch, over several seeds.

    python benchmarks/loss_by_epoch.py --seeds 0 1 2       # about five minutes a seed on two cores
    python benchmarks/loss_by_epoch.py --table             # print the table of the seeds measured so far

Each seed's losses go to benchmarks/results/loss_by_epoch.csv, in place of an earlier run of that seed.
"""

import argparse
import csv
from itertools import islice
from pathlib import Path
from statistics import mean

import torch
from tqdm import tqdm

from ddpm_abc.data import batches, digits
from ddpm_abc.device import pick_device, prepare
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.schedule import linear_schedule
from ddpm_abc.training import EMA, train, warmup_cosine
from ddpm_abc.unet import UNet

RESULTS = Path(__file__).parent / "results" / "loss_by_epoch.csv"
STEPS, BATCH = 2500, 64
EPOCHS_SHOWN = (1, 2, 3, 4, 6, 8, 12, 16)


def losses_of(seed: int) -> list[float]:
    "The mean loss of each whole epoch of chapter 04's run, with another seed."
    device = pick_device()
    images = digits().images.to(device)
    torch.manual_seed(seed)
    net = prepare(UNet(), device)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    loop = train(
        Denoiser(net, linear_schedule()),
        islice(batches(images, BATCH, seed=seed), STEPS),
        opt,
        ema=EMA(net, decay=0.999),
        generator=torch.Generator().manual_seed(seed),
        lr_factor=lambda step: warmup_cosine(step / STEPS),
    )
    losses = [out.loss for out in tqdm(loop, total=STEPS, desc=f"seed {seed}", unit="step")]
    n = len(images) // BATCH
    return [mean(losses[i : i + n]) for i in range(0, STEPS - n + 1, n)]


def read() -> dict[int, list[float]]:
    if not RESULTS.exists():
        return {}
    with RESULTS.open() as f:
        return {int(row[0]): [float(v) for v in row[1:]] for row in csv.reader(f)}


def table(runs: dict[int, list[float]]) -> str:
    lines = ["| epoch | mean loss | lowest and highest of the seeds |", "|---|---|---|"]
    for epoch in EPOCHS_SHOWN:
        values = [run[epoch - 1] for run in runs.values()]
        lines.append(f"| {epoch} | {mean(values):.4f} | {min(values):.4f} to {max(values):.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    runs = read()
    for seed in args.seeds:
        runs[seed] = losses_of(seed)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows(
                [k, *(f"{v:.5f}" for v in run)] for k, run in sorted(runs.items())
            )
    print(table(runs))
