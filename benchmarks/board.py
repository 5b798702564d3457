"""The board: what digits are worth after so many seconds of training from nothing, recipe by recipe.

    python benchmarks/board.py --pace          # how long a step of each takes; on an idle machine
    python benchmarks/board.py                 # three trainings of 120 seconds of each
    python benchmarks/board.py --only "+ muon" --seconds 600
    python benchmarks/board.py --table         # writes board.md from the rows there are

The protocol. Data: the 10,000 bundled digits, of MNIST's training set. Time: a training of S seconds has as
many steps as two idle cores take in S seconds, by the pace that was measured there, so that it can be
repeated to the bit, and on a busy machine. The learning rate follows the steps to their end, so each time is
a training of its own. Drawn: N digits by the noise of the seed, in 50 steps of the recipe's own sampler with
its averaged weights; 0 to 9 in turn where the network is told the label. Judge: the FID of chapter 06 against
its 3,000 reference digits, and the share that its classifier reads as the digit that was ordered. The judge's
digits are among the bundled ones; so with --mnist FOLDER there is a second FID, against MNIST's test set,
which no recipe has seen.

Each row goes to a CSV file when it is finished, and a row that is there is not measured again. To enter a
recipe, add it to ENTRIES: whatever takes the digits and returns a Contender of contenders.py.
"""

import argparse
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from board_page import page
from contenders import BATCH, NULL, PEERS, TUNED, TUNED_BATCH, Contender, count, in_turn, missing
from kept import keep, matching, rows
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from ddpm_abc.classifier import HELD_OUT, REFERENCE, digit_classifier, features
from ddpm_abc.data import Images, digits, labelled_batches, mnist, to_uint8, to_unit
from ddpm_abc.device import has_fast_bf16, prepare
from ddpm_abc.guidance import drop_labels, guided
from ddpm_abc.metrics import fid
from ddpm_abc.muon import Muon
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.plot import save_images
from ddpm_abc.sampling import sample, spaced_times
from ddpm_abc.schedule import cosine_schedule
from ddpm_abc.training import EMA, draw_batch, train, warmup_cosine
from ddpm_abc.unet import UNet

RESULTS = Path(__file__).parent / "results"
SCHED, STEPS = cosine_schedule(), 50  # reverse steps


def times_at(u: Tensor) -> Tensor:
    "The times at these places of 1..T, as shares of T in [0, 1]."
    return (u * SCHED.T).long().clamp(max=SCHED.T - 1) + 1


def middle_t(n: int, g: torch.Generator) -> Tensor:
    "Times whose share of T is logit-normal: more in the middle, as in section 3.1 of Esser et al. 2024."
    return times_at(torch.randn(n, generator=g).sigmoid())


def stratified_t(n: int, g: torch.Generator) -> Tensor:
    "Times one from each of n equal parts of 1..T, so that each batch has some of every kind."
    return times_at((torch.arange(n) + torch.rand(n, generator=g)) / n)


@dataclass(frozen=True)
class Recipe:
    "A recipe of this library; the defaults are those of chapters 03 to 05."

    predict: str = "eps"
    channels: tuple[int, ...] = (32, 64, 96)
    batch: int = BATCH
    optimizer: type[Optimizer] = torch.optim.AdamW
    lr: float = 2e-3
    labels: bool = False
    times: Callable[[int, torch.Generator], Tensor] | None = None  # how they are drawn; uniformly if None

    def contender(self, data: Images, seed: int = 0) -> Contender:
        "A network, its training and its sampler."
        net = prepare(UNet(channels=self.channels, n_classes=NULL + 1 if self.labels else None), "cpu")
        denoise, ema, progress = Denoiser(net, SCHED, self.predict), EMA(net), 0.0
        g = torch.Generator().manual_seed(seed)

        def drawn(x0: Tensor, y: Tensor):
            given = {"y": drop_labels(y, NULL, generator=g)} if self.labels else {}
            batch = draw_batch(SCHED, x0, g, given)
            return replace(batch, t=self.times(len(x0), g)) if self.times else batch

        batches = labelled_batches(data.images, data.labels, self.batch, seed=seed)
        opt = self.optimizer(net.parameters(), lr=self.lr, weight_decay=0.01)
        loop = train(
            denoise, (drawn(x0, y) for x0, y in batches), opt,
            ema=ema, lr_factor=lambda _: warmup_cosine(progress),
        )  # fmt: skip

        def step(done: float) -> None:
            nonlocal progress
            progress = done
            next(loop)

        def draw(n: int, steps: int, w: float = 1.0) -> Tensor:
            averaged = replace(denoise, net=ema.model)
            told = guided(averaged, in_turn(n), NULL, w) if self.labels else averaged
            return sample(told, (n, 1, 28, 28), times=spaced_times(SCHED.T, steps), device="cpu")

        return Contender(count(net), step, draw)


class Entry(NamedTuple):
    "What stands on the board."

    build: Callable[[Images, int], Contender]  # of the digits and a seed
    batch: int = BATCH
    labels: bool = False  # whether image k is drawn as digit k mod 10
    guidance: tuple[float, ...] = ()  # w, one row for each; if none, the contender has its own
    paced_by: str = ""  # another entry, if a step is the same work as there

    def rows(self, name: str) -> dict[str, tuple[float, ...]]:
        "What each row is called, and what `draw` is told for it beyond N and the steps."
        return {f"{name}, w = {w:g}": (w,) for w in self.guidance} or {name: ()}


def entry(recipe: Recipe, *guidance: float, paced_by: str = "") -> Entry:
    return Entry(recipe.contender, recipe.batch, recipe.labels, guidance, paced_by)


PAPER = Recipe()
V = replace(PAPER, predict="v")
THIN = replace(V, channels=(16, 48, 96), batch=32)
TOLD = replace(THIN, labels=True)
FASTER = replace(TOLD, lr=3e-3)
WINNER = replace(TOLD, optimizer=Muon)  # the default of `ddpm-abc train`
ENTRIES = {
    "chapters 03 to 05": entry(PAPER),
    "+ v": entry(V, paced_by="chapters 03 to 05"),
    "+ thin, batches of 32": entry(THIN),
    "+ labels": entry(TOLD, 1.0),
    "+ labels, a rate of 0.003": entry(FASTER, 0.6, 1.0, paced_by="+ labels"),
    "+ muon": entry(WINNER, 0.0, 0.2, 0.6, 1.0),
    "+ muon, predicting x0": entry(replace(WINNER, predict="x0"), 0.6, 1.0, paced_by="+ muon"),
    "+ muon, times from the middle": entry(replace(WINNER, times=middle_t), 0.6, paced_by="+ muon"),
    "+ muon, stratified times": entry(replace(WINNER, times=stratified_t), 0.6, paced_by="+ muon"),
}
ENTRIES |= {name: Entry(lambda data, seed, build=build: build(data.images)) for name, build in PEERS.items()}
ENTRIES |= {name: Entry(build, TUNED_BATCH, labels=True) for name, build in TUNED.items()}


class Judge:
    "Real digits, as the packaged classifier sees them."

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


def machine() -> str:
    "What the pace depends on."
    with open("/proc/cpuinfo") as f:
        cpu = next(
            (line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine()
        )
    # without, too, where it would not pay
    bf16 = "with" if has_fast_bf16(torch.device("cpu")) else "without"
    return f"{os.cpu_count()} cores of {cpu} {bf16} bfloat16"


def measure_pace(names: list[str], path: Path, rounds: int, seconds: float) -> None:
    "Seconds a step, the median of rounds in which the entries take turns."
    data = digits()
    contenders = {name: ENTRIES[name].build(data, 0) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds + 1):  # the first warms up
        for name, c in contenders.items():
            begun, n = time.perf_counter(), 0
            while (taken := time.perf_counter() - begun) < seconds:
                c.step(0.5)
                n += 1
            found[name] += [taken / n] * (k > 0)
    for name, paces in found.items():
        spread = f"{min(paces):.4f} to {max(paces):.4f}"
        keep(
            path,
            {
                "machine": machine(),
                "entry": name,
                "pace": f"{median(paces):.4f}",
                "rounds": rounds,
                "range": spread,
            },
        )
        rate = ENTRIES[name].batch / median(paces)
        print(f"{name}: {1e3 * median(paces):.1f} ms a step, {rate:.0f} images/s", flush=True)


def drawn(contender: Contender, n: int, seed: int, told: tuple[float, ...]) -> Tensor:
    "N images, 8 bits a pixel; fifty at a time, so that digits 0 to 9 stay in turn."
    torch.manual_seed(seed)
    begins = tqdm(range(0, n, 50), "drawing", mininterval=10)
    parts = [contender.draw(min(50, n - i), STEPS, *told) for i in begins]
    return to_unit(to_uint8(torch.cat(parts)))


def steps_in(seconds: float, name: str, machine: str, paces: Path) -> int:
    "So many steps of an entry fit into the time, at the pace that was measured last."
    paced = ENTRIES[name].paced_by or name
    found = matching(paces, {"machine": machine, "entry": paced})
    if not found:
        raise SystemExit(f"no pace of {paced!r} on {machine!r}: run with --pace on that machine, idle")
    return int(seconds / float(found[-1]["pace"]))


def train_all(args: argparse.Namespace, names: list[str]) -> None:
    data, judge = digits(), Judge(args.mnist)
    floor = judge(judge.held_out[: args.n], judge.labels[: args.n])
    print(f"real digits, held out: {floor}; {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in names:
        of, steps = ENTRIES[name], steps_in(args.seconds, name, args.machine, args.paces)
        for seed in range(args.seeds):
            known = {"machine": args.machine, "seconds": f"{args.seconds:g}", "n": args.n, "seed": seed}
            rows_of = of.rows(name)
            wanted = [
                row
                for row, told in rows_of.items()
                if set(told) <= set(args.w or told) and not matching(args.csv, known | {"entry": row})
            ]
            if not wanted:
                continue
            torch.manual_seed(seed)
            contender = of.build(data, seed)
            for step in tqdm(range(steps), f"{name}, seed {seed}", mininterval=10):
                contender.step(step / steps)
            for row in wanted:
                images = drawn(contender, args.n, seed, rows_of[row])
                scores = judge(images, in_turn(args.n) if of.labels else None)
                head = {"machine": args.machine, "entry": row} | known
                keep(args.csv, found := head | {"steps": steps, "images": steps * of.batch} | scores)
                print(found, flush=True)
                file = "-".join([*re.findall(r"[\w.]+", row), f"{args.seconds:g}s", f"{seed}.png"])
                args.out.mkdir(parents=True, exist_ok=True)
                save_images(images[:100], args.out / file, columns=10)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=list(ENTRIES), action="append", help="this entry alone")
    parser.add_argument("--seconds", type=float, default=120, help="of training (default: 120)")
    parser.add_argument("--seeds", type=int, default=3, help="0, 1, ... (default: 3)")
    parser.add_argument("--w", type=float, action="append", help="where labels are told: this guidance alone")
    parser.add_argument("--n", type=int, default=1000, help="digits to judge (default: 1000)")
    parser.add_argument("--mnist", metavar="FOLDER", help="judge by the test set there, too")
    parser.add_argument("--pace", action="store_true", help="measure the pace, and train nothing")
    parser.add_argument("--rounds", type=int, default=5, help="of measuring the pace (default: 5)")
    parser.add_argument("--machine", default=machine(), help="whose pace counts (default: this one's)")
    parser.add_argument("--csv", type=Path, default=RESULTS / "board.csv")
    parser.add_argument("--paces", type=Path, default=RESULTS / "board_pace.csv")
    parser.add_argument("--out", type=Path, default=Path("out/board"), help="for pictures")
    parser.add_argument("--page", type=Path, default=Path(__file__).with_suffix(".md"), help="for the table")
    parser.add_argument(
        "--table", action="store_true", help="write the table of the rows there are, and train nothing"
    )
    args = parser.parse_args()
    left_out = tuple(missing())  # of the peers
    names = args.only or [name for name in ENTRIES if not name.startswith(left_out)]
    if args.pace:
        measure_pace([n for n in names if not ENTRIES[n].paced_by], args.paces, args.rounds, 3.0)
        return
    if not args.table:
        train_all(args, names)
    args.page.parent.mkdir(parents=True, exist_ok=True)
    args.page.write_text(page(rows(args.csv)), encoding="utf-8")
    print(f"the table is in {args.page}")


if __name__ == "__main__":
    main()
