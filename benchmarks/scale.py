"""One training, computed by one process or by many: is it the same run, and what does it lose when one dies?

    python benchmarks/scale.py all               # everything but `speed` in full: about an hour on two cores
    python benchmarks/scale.py kills 50          # one: exact, curves, kills, sizes, ends, ...
    python benchmarks/scale.py all --quick       # a few of each, as the tests do
    python benchmarks/scale.py speed             # on an idle machine: nothing else may run beside it

Prints the figures of each. Ends with status 1 if a claim does not hold. Needs Linux: the processes are forks
of this one, which share the imports and so start at once. Each has the environment that torchrun would give
it and is the real `ddpm-abc train`; torchrun would also end the others when one fails, which these have to
notice themselves.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: no threads in the process that forks

import argparse  # noqa: E402
import ctypes  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import nullcontext  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import matplotlib  # noqa: E402

matplotlib.use("agg")

import torch  # noqa: E402
from robustness import Child, fingerprint, images, leftovers  # noqa: E402

from ddpm_abc import distributed  # noqa: E402
from ddpm_abc.run import opening  # noqa: E402
from ddpm_abc.run import run as running  # noqa: E402
from ddpm_abc.run.log import read_losses  # noqa: E402
from ddpm_abc.storage import checkpoints  # noqa: E402
from ddpm_abc.storage.format import _read_sealed  # noqa: E402
from ddpm_abc.unet import UNet  # noqa: E402

torch.optim.AdamW([torch.zeros(1)])  # imports the rest of torch
TINY = ["--channels", "16,16", "--T", "50", "--batch-size", "8", "--device", "cpu", "--preview", "0"]
Check = tuple[str, bool]


class Started:
    "`ddpm-abc` in one process, or in many as torchrun starts them."

    def __init__(
        self, n: int, *args: object, save_every: int = 2, prepare: Callable[[], object] = lambda: None
    ):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.children = []
        for rank in range(n):
            where = {"RANK": rank, "WORLD_SIZE": n, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": n}
            where |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}

            def ready(where=where) -> None:
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no child outlives this process
                torch.set_num_threads(1)
                if n > 1:
                    os.environ.update({name: str(value) for name, value in where.items()})
                prepare()

            self.children.append(Child(*args, save_every=save_every, prepare=ready))

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        self.children[rank].kill(number)

    def running(self) -> list[bool]:
        return [child.running() for child in self.children]

    def end(self) -> tuple[list[int], str]:
        "The exit status of each, and what they said, in the order of their ranks."
        ends = [child.end() for child in self.children]
        return [status for status, _ in ends], "\n".join(said for _, said in ends if said)


def good(n: int, *args: object, **kwargs) -> str:
    "What processes say that all end well."
    statuses, said = Started(n, *args, **kwargs).end()
    if any(statuses):
        raise SystemExit(f"a training of {n} processes failed, statuses {statuses}: {said}")
    return said


def double() -> None:
    "All in double precision, from now on, in this process."
    torch.set_default_dtype(torch.float64)
    before = running.labelled_batches
    running.labelled_batches = lambda *args, **kw: ((x.double(), y) for x, y in before(*args, **kw))
    opening.prepare = lambda net, device: net.double()


def single() -> None:
    "All in single precision, whatever the processor has."
    opening.prepare = lambda net, device: net


def apart(a: Path, b: Path) -> float:
    "The largest relative difference between tensors of two newest checkpoints: weights, averages, optimizer."
    one, other = (_read_sealed(checkpoints(out)[0], "checkpoint")[1] for out in (a, b))
    assert one.keys() == other.keys()
    worst = 0.0
    for name, x in one.items():
        if x.is_floating_point() and name.split(".")[0] in ("net", "ema", "opt"):
            worst = max(worst, ((x - other[name]).norm() / x.norm().clamp(min=1e-30)).item())
    return worst


def exact(steps: int, rng: random.Random, tmp: Path) -> Check:
    "Double precision, 1, 2 and 4 processes, and one that takes its batch in parts."
    args = ["train", *TINY, "--data", images(tmp / "images"), "--steps", steps]
    runs = {"1": (1, []), "2": (2, []), "4": (4, []), "1 in 4 parts": (1, ["--accumulate", 4])}
    for name, (n, more) in runs.items():
        good(n, *args, *more, "--out", tmp / name, prepare=double, save_every=1000)
    worst = {name: apart(tmp / "1", tmp / name) for name in runs}
    listed = ", ".join(f"{name}: {far:.1e}" for name, far in worst.items() if name != "1")
    return f"exact: {steps} steps in double precision, relative to 1 process: {listed}", max(
        worst.values()
    ) < 1e-10


def curves(steps: int, rng: random.Random, tmp: Path) -> Check:
    "Single precision: the loss of each step."
    args = ["train", *TINY, "--data", "digits", "--steps", steps]
    losses = {}
    for n in (1, 2, 4):
        good(n, *args, "--out", tmp / str(n), prepare=single, save_every=1000)
        losses[n] = torch.tensor(read_losses(tmp / str(n) / "loss.csv", steps))
    far = {n: ((losses[n] - losses[1]).abs() / losses[1]).max().item() for n in (2, 4)}
    listed = ", ".join(f"{n} processes: {x:.1e}" for n, x in far.items())
    return f"curves: {steps} steps in single precision, largest relative difference of a loss: {listed}", max(
        far.values()
    ) < 1e-2


def kills(n: int, rng: random.Random, tmp: Path) -> Check:
    "SIGKILL of any process at any moment; two of five wait until the first one is writing a file."
    steps, folder = 24, images(tmp / "images")
    args = ["train", *TINY, "--data", folder, "--steps", steps, "--timeout", 60]
    want, seconds = {}, {}
    for size in (2, 4):
        begun = time.monotonic()
        good(size, *args, "--out", tmp / f"whole-{size}")
        want[size], seconds[size] = fingerprint(tmp / f"whole-{size}"), time.monotonic() - begun
    midwrite = unsaved = failed = different = silent = lost = 0
    waits = []
    for k in range(n):
        out, size, rank = tmp / f"killed-{k}", (2, 4)[k % 2], 0
        while True:
            started, rank = Started(size, *args, "--out", out), rng.randrange(size)
            time.sleep(rng.uniform(0, seconds[size]))
            while k % 5 < 2 and all(started.running()) and not leftovers(out):
                pass
            started.kill(rank)
            killed = time.monotonic()
            statuses, said = started.end()
            if statuses[rank] == -signal.SIGKILL and (k % 5 >= 2 or leftovers(out) or rank):
                break
            shutil.rmtree(out, ignore_errors=True)
        waits.append(time.monotonic() - killed)
        others = [status for r, status in enumerate(statuses) if r != rank]
        silent += any(others) and "another of the" not in said and "first process failed" not in said
        midwrite += bool(leftovers(out))
        unsaved += not checkpoints(out)
        before = int(checkpoints(out)[0].stem.split("-")[1]) if checkpoints(out) else 0
        resume = ["--resume"] * bool(before)
        statuses, said = Started(size, *args, "--out", out, *resume).end()
        failed += any(statuses)
        lost += f"checkpoint-{before}." not in said if before else 0
        different += any(statuses) or fingerprint(out) != want[size]
        shutil.rmtree(out)
    text = (
        f"kills: {n} runs of 2 and 4 processes lost one of them, {midwrite} while a file was written, "
        f"{unsaved} before the first save; the others ended within {max(waits):.1f} s; {n - failed} went on, "
        f"{lost} from an earlier step than the newest checkpoint's, {different} ends that differ by a bit"
    )
    return text, not (failed or different or lost or silent)


def sizes(n: int, rng: random.Random, tmp: Path) -> Check:
    "Double precision; the run is stopped and goes on with another number of processes."
    args = ["train", *TINY, "--data", images(tmp / "images")]
    good(1, *args, "--steps", 2 * (n + 1), "--decay", "none", "--out", tmp / "whole", prepare=double)
    chosen, size = [], 1
    for k in range(n + 1):
        size = rng.choice([s for s in (1, 2, 4, 8) if s != size])
        chosen.append(size)
        more = ["--resume"] if k else [*TINY, "--data", tmp / "images", "--decay", "none"]
        said = good(
            size,
            "train",
            *more,
            "--device",
            "cpu",
            "--preview",
            0,
            "--steps",
            2 * (k + 1),
            "--out",
            tmp / "out",
            prepare=double,
        )
        if k and "last digits of the weights may differ" not in said:
            return f"sizes: a run went on with {size} processes and did not say so", False
    far = apart(tmp / "whole", tmp / "out")
    listed = ", ".join(map(str, chosen))
    return (
        f"sizes: {n} changes of the number of processes ({listed}); relative to 1 process: {far:.1e}",
        far < 1e-6,
    )


def ends(n: int, rng: random.Random, tmp: Path) -> Check:
    "How a run of two processes ends: a signal to the second one, or a loss there that is no number."
    args = ["train", *TINY, "--data", images(tmp / "images")]
    whole = 12
    good(2, *args, "--steps", whole, "--out", tmp / "whole")
    right = 0
    for k, number in enumerate([signal.SIGTERM, signal.SIGINT] * n):
        out = tmp / f"out-{k}"
        long = ["--steps", 10**6, "--preview", 2]
        started = Started(2, *args, *long, "--out", out, save_every=10**6)
        while all(started.running()) and not list(out.glob("previews/*.png")):  # both have taken two steps
            time.sleep(0.01)
        started.kill(1, number)
        statuses, said = started.end()
        one = len(checkpoints(out)) == 1
        right += one and statuses == [128 + number] * 2 and said.count("stopped after step") == 1

    def spoilt() -> None:
        before = running._drawn

        def drawn(run, x0, y, *streams):
            bad = run.step == 4 and run.team.rank == 1
            return before(run, x0 * float("nan") if bad else x0, y, *streams)

        running._drawn = drawn

    statuses, said = Started(2, *args, "--steps", whole, "--out", tmp / "nan", prepare=spoilt).end()
    newest = checkpoints(tmp / "nan")[0].name
    stops = (
        statuses == [1, 1]
        and said.count("the loss is not finite at t = ") == 2
        and newest == "checkpoint-4.safetensors"
    )
    text = (
        f"ends: {2 * n} signals to the second of 2 processes, {right} runs saved once, by the first; a loss"
    )
    return (
        f"{text} there that is no number: {'both ended before the step' if stops else f'{statuses}, {said}'}",
        right == 2 * n and stops,
    )


def stopped(seconds: int, rng: random.Random, tmp: Path) -> Check:
    "SIGSTOP: a process that neither answers nor ends."
    patience = min(20, 2 * seconds // 3)
    args = ["train", *TINY, "--data", images(tmp / "images"), "--out", tmp / "out"]
    started = Started(2, *args, "--steps", 10**6, "--timeout", patience)
    while all(started.running()) and not checkpoints(tmp / "out"):
        time.sleep(0.01)
    started.kill(1, signal.SIGSTOP)
    begun = time.monotonic()
    while started.running()[0] and time.monotonic() < begun + seconds:
        time.sleep(0.1)
    ended = time.monotonic() - begun
    time.sleep(max(0, seconds - ended))
    started.kill(1, signal.SIGCONT)
    statuses, said = started.end()
    step = int(checkpoints(tmp / "out")[0].stem.split("-")[1])
    went_on = not any(Started(2, *args, "--steps", step + 4, "--resume").end()[0])
    clear = "did not answer" in said
    text = (
        f"stopped: SIGSTOP for {seconds} s; the other process waits for {patience} s, and ended after "
        f"{ended:.1f}, {'with' if clear else 'without'} a message; the run "
        f"{'went' if went_on else 'did not go'} on from step"
    )
    return f"{text} {step}", ended < seconds and clear and went_on and all(statuses)


def buckets(n: int, rng: random.Random, tmp: Path) -> Check:
    "Six steps, and three steps and three more in a new process's place: are they equal to the bit?"
    from torch.nn.parallel import DistributedDataParallel

    def trained(averaged: Callable[[UNet], Any], rank: int, parts: list[range]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        net = UNet(size=8, channels=(16, 32))
        opt = torch.optim.AdamW(net.parameters(), lr=1e-2)
        for part in parts:
            forward, block = averaged(net)
            for step in part:
                g = torch.Generator().manual_seed(100 * step + rank)
                x, t = torch.randn(4, 1, 8, 8, generator=g), torch.randint(1, 100, (4,), generator=g)
                opt.zero_grad()
                with block():
                    (forward(x, t) - x).square().mean().backward()
                opt.step()
        return list(net.parameters())

    def compared() -> None:
        with distributed.joined(60) as team:
            ways = {
                "theirs": lambda net: (DistributedDataParallel(net), nullcontext),
                "ours": lambda net: (net, lambda: team.averaging(net)),
            }
            for name, way in ways.items():
                runs = [trained(way, team.rank, parts) for parts in ([range(6)], [range(3), range(3, 6)])]
                same = all(map(torch.equal, *runs))
                if team.rank == 0:
                    (tmp / f"{name}-{team.size}").write_text(str(same))

    for size in (2, 4):
        good(size, "--version", prepare=compared)
    same = {path.name: path.read_text() == "True" for path in sorted(tmp.iterdir())}
    listed = ", ".join(f"{name} {'yes' if yes else 'no'}" for name, yes in same.items())
    return f"buckets: a run that goes on is equal to the bit: {listed}", same["ours-2"] and same["ours-4"]


def speed(rounds: int, rng: random.Random, tmp: Path) -> Check:
    "Images a second of 1 process with 2 threads and of 2 processes with 1, in turns; and the time waited."
    args = ["train", "--data", "digits", "--device", "cpu", "--steps", 60, "--preview", 0, "--timeout", 120]
    seen: dict[str, list[float]] = {"1 process, 2 threads": [], "2 processes, 1 thread each": []}
    waits = []

    def threads(k: int) -> Callable[[], None]:
        def ready() -> None:
            torch.set_num_threads(k)
            spent, receive = [0.0], distributed._Bucket.receive

            def timed(self, size: int) -> None:
                begun = time.perf_counter()
                receive(self, size)
                spent[0] += time.perf_counter() - begun

            distributed._Bucket.receive = timed
            steps = running.steps

            def counted(run, *signals):
                yield from steps(run, *signals)
                if run.team.rank == 0:
                    rate = run.step * run.config.batch_size / run.seconds
                    (tmp / "seen").write_text(f"{rate} {spent[0] / run.seconds}")

            running.steps = counted

        return ready

    for k in range(rounds):
        for name, n, each in (("1 process, 2 threads", 1, 2), ("2 processes, 1 thread each", 2, 1)):
            good(n, *args, "--out", tmp / f"{n}-{k}", prepare=threads(each), save_every=1000)
            rate, waited = map(float, (tmp / "seen").read_text().split())
            seen[name].append(rate)
        waits.append(waited)  # of the two processes
    means = {name: statistics.median(rates) for name, rates in seen.items()}
    for name, rates in seen.items():
        spread = f"median of {rounds}; {min(rates):.0f} to {max(rates):.0f}"
        print(f"speed: {name}: {means[name]:.0f} images/s ({spread})")
    ratio = means["2 processes, 1 thread each"] / means["1 process, 2 threads"]
    waited = statistics.median(waits)
    return (
        f"speed: ratio {ratio:.2f}; {waited:.1%} of the time in communication, with waits for the other",
        ratio >= 0.9,
    )


CLAIMS = {  # full, quick
    exact: (30, 4),
    curves: (300, 6),
    kills: (50, 2),
    sizes: (20, 2),
    ends: (3, 1),
    stopped: (60, 15),
    buckets: (1, 1),
    speed: (5, 1),
}


def main() -> None:
    names = [claim.__name__ for claim in CLAIMS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["all", *names])
    parser.add_argument("n", nargs="?", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bad = []
    for claim, counts in CLAIMS.items():
        name = claim.__name__
        if args.what == name or (
            args.what == "all" and name != "speed" and not (args.quick and name == "buckets")
        ):
            with tempfile.TemporaryDirectory() as folder:
                text, holds = claim(args.n or counts[args.quick], random.Random(args.seed), Path(folder))
            print(text if holds else f"FAILED {text}", flush=True)
            bad += [name] * (not holds)
    sys.exit(f"these claims do not hold: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
