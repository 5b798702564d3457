"""Bits a dimension of networks on MNIST: the bound, with its standard error, on images seen and not seen.

    python benchmarks/bits.py --root data                       # every packaged network, N = 1,000
    python benchmarks/bits.py --root data --n 10000 out/weights.safetensors mnist-bits

What is measured: 8 bits a pixel, 28x28, no augmentation, x0 clipped to [-1, 1]; the first N images of the
test set, and of the training set; terms drawn as in chapter 11, the same noise for each network. A network
that is told classes is told none. Each finished row is added to the CSV file, and a row that is there stays.
"""

import argparse
import time
from pathlib import Path

import torch
from kept import keep, matching

from ddpm_abc.cli.bits import unlabelled
from ddpm_abc.data import mnist, to_unit
from ddpm_abc.likelihood import bits_per_dim, mean_error, pilot_times
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.run.setup import weights_of
from ddpm_abc.storage import PRETRAINED_SHA256

PARTS = {"L_0": (1, 1), "t 2..10": (2, 10), "t 11..100": (11, 100), "t > 100": (101, None)}  # times
FIELDS = ["net", "variance", "images", "n", "draws", "seed", "bits", "error", *PARTS, "L_T"]
PILOT = 64  # training images that say which times matter


def measure(
    denoise: Denoiser, pilot: torch.Tensor, x0: torch.Tensor, variance: str, draws: int, seed: int
) -> dict:
    p = pilot_times(denoise, pilot, variance=variance)
    found = bits_per_dim(denoise, x0, times=p, draws=draws, seed=seed, variance=variance)
    parts = {name: found.part(*times) for name, times in PARTS.items()} | {"L_T": found.prior}
    mean, error = mean_error(found.each)
    return {"bits": mean, "error": error} | {name: part.mean().item() for name, part in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("nets", nargs="*", help="packaged networks, or weights files (default: all packaged)")
    parser.add_argument("--root", default="data", help="where MNIST is, or will be downloaded to")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, default=Path(__file__).parent / "results/bits.csv")
    args = parser.parse_args()
    images = {name: to_unit(mnist(args.root, name == "train").in_memory()) for name in ("test", "train")}
    pilot = images["train"][-PILOT:]
    print(f"N = {args.n:,}, {args.draws} terms an image, seed {args.seed}\n")
    heads = ["network", "variance", "images", "bits a dimension", *FIELDS[8:]]
    print(f"| {' | '.join(heads)} |\n" + "|---" * len(heads) + "|")
    for net in args.nets or [name for name in PRETRAINED_SHA256 if name.startswith("mnist")]:
        packaged = weights_of(net).denoise
        denoise, learned = unlabelled(packaged), packaged.net.config["learn_variance"]
        for variance in ("learned",) if learned else ("beta_tilde", "beta"):
            for which, x0 in images.items():
                key = dict(zip(FIELDS, (net, variance, which, args.n, args.draws, args.seed), strict=False))
                begun = time.monotonic()
                if known := matching(args.csv, key):
                    row = known[0]
                else:
                    row = key | measure(denoise, pilot, x0[: args.n], variance, args.draws, args.seed)
                    keep(args.csv, row)
                numbers = [float(row[k]) for k in FIELDS[6:]]
                parts = " | ".join(f"{v:.5f}" if k == "L_T" else f"{v:.3f}"
                                   for k, v in zip(FIELDS[8:], numbers[2:], strict=True))  # fmt: skip
                text = f"| `{net}` | {variance} | {which} | {numbers[0]:.4f} ± {numbers[1]:.4f} | {parts} |"
                print(text if known else f"{text} <!-- {time.monotonic() - begun:.0f} s -->", flush=True)


if __name__ == "__main__":
    main()
