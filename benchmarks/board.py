"""The board: what digits are worth after so many seconds of training from nothing, recipe by recipe.

    python benchmarks/board.py                                   # every rung, three trainings of 120 s each
    python benchmarks/board.py --only recipe --seconds 600       # one recipe, for longer
    python benchmarks/board.py --table                           # the rows there are, and no training

The protocol. Data: the 10,000 bundled digits, of MNIST's training set. Time: from building the network to
the last step, on an otherwise idle machine; the learning rate follows it to its end, so each time is a
training of its own. Drawn: N digits, 0 to 9 in turn where the network is told the label, in 50 strided
steps of ancestral sampling with the averaged weights, by the noise of the seed. Judge: the FID of chapter
06 against its 3,000 reference digits, and the share that its classifier reads as the digit that was
ordered. The judge's digits are among the bundled ones; with --mnist FOLDER a second FID, against MNIST's
test set, which no network has seen.

Each finished row goes to the CSV file, and a row that is there is not trained again. To enter a recipe, add
it to LADDER: each rung changes one thing of the rung before.
"""

import argparse
import csv
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor

from ddpm_abc.classifier import HELD_OUT, REFERENCE, digit_classifier, features
from ddpm_abc.data import digits, mnist, to_uint8, to_unit
from ddpm_abc.device import prepare
from ddpm_abc.guidance import drop_labels, guided
from ddpm_abc.metrics import fid
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.plot import save_images
from ddpm_abc.sampling import sample, spaced_times
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.training import EMA, sample_t, simple_loss, warmup_cosine
from ddpm_abc.unet import UNet

SCHED, NULL = cosine_schedule(), 10  # NULL stands for no label


@dataclass(frozen=True)
class Recipe:
    predict: str = "eps"
    channels: tuple[int, ...] = (32, 64, 96)
    batch: int = 64
    lr: float = 2e-3
    labels: bool = False
    guidance: float = 0.0


PAPER = Recipe()
V = replace(PAPER, predict="v")
THIN = replace(V, channels=(16, 48, 96))
SHORT = replace(THIN, batch=32)
TOLD = replace(SHORT, labels=True)
LADDER = {
    "as in chapters 03 to 05": PAPER,
    "predict v": V,
    "thin where images are large": THIN,
    "batches of 32": SHORT,
    "told the label": TOLD,
    "guided, w = 1": replace(TOLD, guidance=1.0),
}
FIELDS = ["recipe", "seconds", "seed", "n", "steps", "images", "fid", "fid_test", "read"]


def fit(of: Recipe, images: Tensor, labels: Tensor, seconds: float, seed: int) -> tuple[Denoiser, int]:
    "Train for so long, from building the network on; return the denoiser of the average, and the steps."
    begun, step = time.perf_counter(), 0
    torch.manual_seed(seed)
    net = prepare(UNet(channels=of.channels, n_classes=NULL + 1 if of.labels else None))
    denoise = Denoiser(net, SCHED, of.predict)
    ema = EMA(net)
    opt = torch.optim.AdamW(net.parameters(), lr=of.lr, weight_decay=0.01, fused=True)
    while (done := (time.perf_counter() - begun) / seconds) < 1:
        i = torch.randint(len(images), (of.batch,))
        x0, t = to_unit(images[i]), sample_t(SCHED, of.batch)
        given = {"y": drop_labels(labels[i], NULL)} if of.labels else {}
        loss = simple_loss(denoise, x0, t, torch.randn(x0.shape), **given).mean()
        opt.param_groups[0]["lr"] = of.lr * warmup_cosine(done)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        ema.update(net)
        step += 1
    return replace(denoise, net=ema.model), step


def drawn(denoise: Denoiser, of: Recipe, n: int, seed: int) -> tuple[Tensor, Tensor]:
    "Digits, 8 bits a pixel, and what was ordered."
    g, times, ordered = torch.Generator().manual_seed(seed), spaced_times(SCHED.T, 50), torch.arange(n) % 10
    parts = [
        sample(
            guided(denoise, y, NULL, of.guidance) if of.labels else denoise,
            (len(y), 1, 28, 28), times=times, generator=g, device="cpu",
        )
        for y in ordered.split(50)
    ]  # fmt: skip
    return to_unit(to_uint8(torch.cat(parts))), ordered


class Judge:
    "Real digits, seen by the packaged classifier."

    def __init__(self, root: str | None):
        self.net, data = digit_classifier(), digits()
        real = to_unit(data.images)
        self.reference = features(self.net, real[REFERENCE])
        self.held_out, self.labels = real[HELD_OUT], data.labels[HELD_OUT]
        self.test = features(self.net, to_unit(mnist(root, False).images)) if root else None

    def __call__(self, images: Tensor, ordered: Tensor | None) -> dict[str, str]:
        "FID, FID against the test set, share read as ordered; empty where there is nothing to compare with."
        seen = features(self.net, images)
        with torch.no_grad():
            read = self.net(images).argmax(1)
        return {
            "fid": f"{fid(seen, self.reference):.3f}",
            "fid_test": "" if self.test is None else f"{fid(seen, self.test):.3f}",
            "read": "" if ordered is None else f"{(read == ordered).double().mean():.4f}",
        }


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def keep(path: Path, row: dict[str, str]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as f:
        writer = csv.DictWriter(f, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def train_all(args: argparse.Namespace) -> None:
    data, judge = digits(), Judge(args.mnist)
    floor = judge(judge.held_out[: args.n], judge.labels[: args.n])
    print(f"real digits, held out: {floor}; {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in args.only or LADDER:
        of = LADDER[name]
        for seed in range(args.seeds):
            key = {"recipe": name, "seconds": f"{args.seconds:g}", "seed": str(seed), "n": str(args.n)}
            if any(all(r[k] == v for k, v in key.items()) for r in rows(args.csv)):
                continue
            denoise, steps = fit(of, data.images, data.labels, args.seconds, seed)
            images, ordered = drawn(denoise, of, args.n, seed)
            found = judge(images, ordered if of.labels else None)
            keep(args.csv, key | {"steps": str(steps), "images": str(steps * of.batch)} | found)
            print(
                f"{name}, {args.seconds:g} s, seed {seed}: {steps:,} steps of {of.batch}, {found}", flush=True
            )
            args.out.mkdir(parents=True, exist_ok=True)
            file = f"{name.replace(' ', '-').replace(',', '')}-{args.seconds:g}s-{seed}.png"
            save_images(images[:100], args.out / file, columns=10)


def spread(values: list[str], form: str) -> str:
    numbers = [float(v) for v in values if v]
    if not numbers:
        return ""
    text = format(mean(numbers), form)
    return f"{text} ± {format(stdev(numbers), form)}" if len(numbers) > 1 else text


def table(path: Path) -> None:
    "Mean and standard deviation over the seeds."
    print("| recipe | seconds | images seen | FID | FID, test set | read as ordered |")
    print("|---|---|---|---|---|---|")
    found = rows(path)
    for name, seconds, n in dict.fromkeys((r["recipe"], r["seconds"], r["n"]) for r in found):
        of = [r for r in found if (r["recipe"], r["seconds"], r["n"]) == (name, seconds, n)]
        images = mean(int(r["images"]) for r in of)
        scores = [
            spread([r[k] for r in of], f) for k, f in (("fid", ".2f"), ("fid_test", ".2f"), ("read", ".1%"))
        ]
        print(f"| {name} | {seconds} | {images:,.0f} | " + " | ".join(scores) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=list(LADDER), action="append", help="this recipe alone")
    parser.add_argument("--seconds", type=float, default=120, help="of training (default: 120)")
    parser.add_argument("--seeds", type=int, default=3, help="0, 1, ... (default: 3)")
    parser.add_argument("--n", type=int, default=1000, help="digits to judge (default: 1000)")
    parser.add_argument("--mnist", metavar="FOLDER", help="judge by the test set there, too")
    parser.add_argument("--csv", type=Path, default=Path(__file__).parent / "results/board.csv")
    parser.add_argument("--out", type=Path, default=Path("out/board"), help="for pictures")
    parser.add_argument("--table", action="store_true", help="print the rows there are, and train nothing")
    args = parser.parse_args()
    if not args.table:
        train_all(args)
    table(args.csv)


if __name__ == "__main__":
    main()
