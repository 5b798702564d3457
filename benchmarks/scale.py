"""One training, computed by one process or by many: is it the same run, and what does it lose when one dies?

    python benchmarks/scale.py all               # all but the last three in full: about an hour on two cores
    python benchmarks/scale.py kills 50          # one: exact, curves, kills, sizes, ends, ...
    python benchmarks/scale.py all --quick       # a few of each, as the tests do
    python benchmarks/scale.py speed             # on an idle machine: nothing else may run beside it
    python benchmarks/scale.py model             # the same, and so is the next
    python benchmarks/scale.py links             # as root: it makes two network namespaces, and removes them

Prints the figures of each. Ends with status 1 if a claim does not hold. Needs Linux: the processes are forks
of this one, which share the imports and so start at once. Each has the environment that torchrun would give
it and is the real `ddpm-abc train`; torchrun would also end the others when one fails, which these have to
notice themselves.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: no threads in the process that forks

import argparse  # noqa: E402
import ctypes  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager, nullcontext  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import matplotlib  # noqa: E402

matplotlib.use("agg")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from robustness import Child, fingerprint, images, leftovers  # noqa: E402

from ddpm_abc import distributed  # noqa: E402
from ddpm_abc.cli import evaluate as evaluating  # noqa: E402
from ddpm_abc.parameterization import Denoiser  # noqa: E402
from ddpm_abc.run import draw as drawing  # noqa: E402
from ddpm_abc.run import opening  # noqa: E402
from ddpm_abc.run import run as running  # noqa: E402
from ddpm_abc.run.log import read_losses  # noqa: E402
from ddpm_abc.schedule import cosine_schedule  # noqa: E402
from ddpm_abc.storage import checkpoints, save_weights  # noqa: E402
from ddpm_abc.storage.format import _read_sealed  # noqa: E402
from ddpm_abc.unet import UNet  # noqa: E402

torch.optim.AdamW([torch.zeros(1)])  # imports the rest of torch
TINY = ["--channels", "16,16", "--T", "50", "--batch-size", "8", "--device", "cpu", "--preview", "0"]
Check = tuple[str, bool]


class Started:
    "`ddpm-abc` in one process, or in many as torchrun starts them."

    def __init__(
        self,
        n: int,
        *args: object,
        save_every: int = 2,
        prepare: Callable[[], object] = lambda: None,
        enter: Callable[[int], dict[str, str]] | None = None,
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
                if enter:
                    os.environ.update(enter(where["RANK"]))
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
    for size in (2, 4)[:n]:
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
        f"kills: {n} runs of {' and '.join(map(str, want))} processes lost one of them, {midwrite} while a "
        f"file was written, {unsaved} before the first save; the others ended within {max(waits):.1f} s; "
        f"{n - failed} went on, {lost} from an earlier step than the newest checkpoint's, {different} ends "
        "that differ by a bit"
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

    statuses, said = Started(2, *args, "--steps", 12, "--out", tmp / "nan", prepare=spoilt).end()
    newest = checkpoints(tmp / "nan")[0].name
    stops = (
        statuses == [1, 1]
        and said.count("the loss is not finite at t = ") == 2
        and newest == "checkpoint-4.safetensors"
    )

    def vanished() -> None:
        if os.environ["RANK"] == "0":
            opening._new = lambda *args: os.kill(os.getpid(), signal.SIGKILL)

    gone = Started(2, *args, "--steps", 12, "--out", tmp / "gone", prepare=vanished).end()
    tells = gone[0] == [-9, 1] and "another of the 2 processes ended" in gone[1]
    text = (
        f"ends: {2 * n} signals to the second of 2 processes, {right} runs saved once, by the first; a loss"
    )
    text += f" there that is no number: {'both ended before the step' if stops else f'{statuses}, {said}'}"
    return (
        f"{text}; the first killed as it begins: {'the second says so' if tells else gone}",
        right == 2 * n and stops and tells,
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


def heard(said: str) -> str:
    "Without progress bars, and without what the clock says."
    lines = [line for line in said.splitlines() if not re.match("(sampling|measuring):", line)]
    return re.sub(r"\b\d+ s\b", "", "\n".join(lines))


def judged(n: int, rng: random.Random, tmp: Path) -> Check:
    "Images drawn and judged, and bits of a quarter as many, by 1 to 3 processes; how such a drawing ends."
    torch.manual_seed(0)
    net = UNet(channels=(16, 16))
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    save_weights(tmp / "w", Denoiser(net, cosine_schedule(30)), data="digits", steps=7)
    these = ["evaluate", "--weights", tmp / "w", "--device", "cpu"]
    args = [*these, "--n", n, "--steps", 30]

    def small() -> None:
        drawing.SAMPLE_CHUNK = 8

    def drawn_only() -> None:
        small()
        evaluating._judge_digits = lambda *args: None

    def images_of(name: str) -> bytes:
        with np.load(tmp / name) as f:
            return f["images"].tobytes()

    alike, sizes = [], (1, 2, 3) if n > 100 else (1, 3)
    for size in sizes:
        drawn = good(size, *args, "--cache", tmp / f"{size}.npz", prepare=small)
        bits = good(size, *these, "--bits", "--n", n // 4)
        alike.append((heard(drawn), images_of(f"{size}.npz"), heard(bits)))
    same = alike.count(alike[0]) == len(sizes)

    def cut_short(number: int) -> tuple[list[int], str]:
        started = Started(2, *args, "--cache", tmp / "cut.npz", prepare=small)
        while all(started.running()) and not (tmp / "cut.npz").exists():
            time.sleep(0.005)
        started.kill(1, number)
        return started.end()

    goes_on = []
    for number, size, ends, words in (
        (signal.SIGTERM, 3, [143, 143], f"of {n} images are drawn, and kept in"),
        (signal.SIGKILL, 1, [1, -9], "another of the 2 processes ended"),
    ):
        statuses, said = cut_short(number)
        part = len(images_of("cut.npz"))
        good(size, *args, "--cache", tmp / "cut.npz", prepare=drawn_only)
        good_end = statuses == ends and said.count(words) == 1 and part < len(alike[0][1])
        goes_on.append(good_end and images_of("cut.npz") == alike[0][1])
        (tmp / "cut.npz").unlink()

    def spoilt() -> None:
        if os.environ["RANK"] == "1":
            drawing.seeded_noise = lambda generators: lambda x: x.fill_(float("nan"))

    statuses, said = Started(2, *args, prepare=spoilt).end()
    stops = statuses == [1, 1] and "not finite" in said and "another of the 2 processes ended" in said
    refused = Started(2, *args, "--n", 5000).end()
    stops &= refused[0] == [2, 2] and refused[1].count("error: ") == 1
    counts = ", ".join(map(str, sizes))
    text = f"judged: {n} images by {counts} processes: images and figures {'equal' if same else 'differ'}"
    return (
        f"{text}; SIGTERM, then SIGKILL of one of 2: {sum(goes_on)} went on to the same images; images "
        f"there that are no numbers: {'both ended' if stops else f'{statuses}, {said}'}",
        same and all(goes_on) and stops,
    )


def timed(tmp: Path, threads: int = 1, bucket: int = distributed.BUCKET) -> Callable[[], None]:
    "What to do before a training whose images a second, time in communication and median step are wanted."

    def ready() -> None:
        torch.set_num_threads(threads)
        distributed.BUCKET = bucket
        spent, ends, receive, steps = [0.0], [], distributed._Bucket.receive, running.steps

        def waited(self, size: int) -> None:
            begun = time.perf_counter()
            receive(self, size)
            spent[0] += time.perf_counter() - begun

        def counted(run, *signals):
            for done in steps(run, *signals):
                ends.append(time.perf_counter())
                yield done
            if run.team.rank == 0:
                seen = {
                    "rate": run.step * run.config.batch_size / run.seconds,
                    "waited": spent[0] / run.seconds,
                    "step": statistics.median(np.diff(ends)[2:]),
                    "buckets": [sum(p.nbytes for p in b.params) for b in distributed._buckets(run.net)],
                }
                (tmp / "seen").write_text(json.dumps(seen))

        distributed._Bucket.receive, running.steps = waited, counted

    return ready


def trained(n: int, tmp: Path, steps: int, batch: int = 64, enter=None, **how: int) -> dict[str, Any]:
    "What was seen of a training on digits."
    shutil.rmtree(tmp / "out", ignore_errors=True)
    args = ["train", "--data", "digits", "--device", "cpu", "--preview", 0, "--timeout", 120]
    args += ["--steps", steps, "--batch-size", batch, "--out", tmp / "out"]
    good(n, *args, prepare=timed(tmp, **how), enter=enter, save_every=10**6)
    return json.loads((tmp / "seen").read_text())


def speed(rounds: int, rng: random.Random, tmp: Path) -> Check:
    "Images a second of 1 process with 2 threads and of 2 processes with 1, in turns; and the time waited."
    seen: dict[str, list[float]] = {"1 process, 2 threads": [], "2 processes, 1 thread each": []}
    waits = []
    for _ in range(rounds):
        for name, n, threads in (("1 process, 2 threads", 1, 2), ("2 processes, 1 thread each", 2, 1)):
            found = trained(n, tmp, 60, threads=threads)
            seen[name].append(found["rate"])
        waits.append(found["waited"])  # of the two processes
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


def ring(n: int, tmp: Path) -> tuple[float, float]:
    "Bytes a second and seconds a hop of an all-reduce among n processes that do nothing else."

    def measured() -> None:
        with distributed.joined(60) as team:
            for size in SIZES:
                x, took = torch.zeros(size // 4), []
                for _ in range(23):
                    begun = time.perf_counter()
                    dist.all_reduce(x)
                    took.append(time.perf_counter() - begun)
                seconds[size] = statistics.median(took[3:])
            if team.rank == 0:
                (tmp / "ring").write_text(json.dumps(list(seconds.values())))

    seconds: dict[int, float] = {}
    good(n, "--version", prepare=measured)
    took = json.loads((tmp / "ring").read_text())
    hop = took[0] / (2 * (n - 1))
    listed = ", ".join(f"{size / 2**20:g} MiB {1e3 * s:.2f} ms" for size, s in zip(SIZES, took, strict=True))
    print(f"ring: an all-reduce among {n} processes: {listed}")
    return 2 * (n - 1) / n * SIZES[-1] / (took[-1] - took[0]), hop


SIZES = [2**10, 2**20, 2**22, 2**24]  # bytes


def beside(name: str, predicted: float, seen: dict[str, Any]) -> float:
    "Print images a second of a batch of 64, predicted and measured; return how far they are apart."
    want, got = 64 / predicted, 64 / seen["step"]
    print(f"{name}: {want:.1f} images/s predicted, {got:.1f} measured, {want / got - 1:+.0%}", flush=True)
    return abs(want / got - 1)


def model(steps: int, rng: random.Random, tmp: Path) -> Check:
    "Images a second of 2 and 4 processes, predicted from one process and from a bare all-reduce of two."
    batches = [64, 32, 16]
    alone = [trained(1, tmp, steps, batch)["step"] for batch in batches]
    each, fixed = np.polyfit(batches, alone, 1)
    print(f"model: a step of one process: {1e3 * fixed:.1f} ms and {1e3 * each:.2f} ms an image")
    bandwidth, hop = ring(2, tmp)
    print(f"model: {bandwidth / 1e9:.2f} GB/s, {1e6 * hop:.0f} microseconds a hop")
    cores, far = len(os.sched_getaffinity(0)), []
    for n in (2, 4):
        seen = trained(n, tmp, steps)
        compute = (fixed + each * 64 / n) * max(1, n / cores)
        predicted = distributed.step_seconds(n, compute, seen["buckets"], bandwidth, hop)
        off = beside(f"model: {n} processes on {cores} cores", predicted, seen)
        if n <= cores:  # more than that wait for each other's turn, of which the model knows nothing
            far.append(off)
    worst = max(far, default=0.0)
    return f"model: with a core for each process at most {worst:.0%} from what was measured", worst < 0.25


@contextmanager
def linked(rate: float) -> Iterator[Callable[[int], dict[str, str]]]:
    "Two network namespaces, and a link of so many bits a second between them. Gives the way into each."
    names = [f"ddpm-abc-{os.getpid()}-{k}" for k in range(2)]

    def do(command: str) -> None:
        subprocess.run(command.split(), check=True, capture_output=True, text=True)

    def enter(rank: int) -> dict[str, str]:
        with open(f"/run/netns/{names[rank]}") as f:
            if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0x40000000):  # CLONE_NEWNET
                raise OSError(ctypes.get_errno(), "setns")
        return {"MASTER_ADDR": "10.0.0.1", "GLOO_SOCKET_IFNAME": "wire"}

    made = []
    try:
        for name in names:
            do(f"ip netns add {name}")
            made.append(name)
        do(f"ip -n {names[0]} link add wire type veth peer name wire netns {names[1]}")
        burst = max(32_000, int(rate / 8 / 1000))  # bytes that pass at once: of a millisecond
        for k, name in enumerate(names):
            do(f"ip -n {name} addr add 10.0.0.{k + 1}/24 dev wire")
            do(f"ip -n {name} link set lo up")
            do(f"ip -n {name} link set wire up")
            shape = f"tbf rate {rate:.0f} burst {burst} latency 500ms"
            do(f"tc -n {name} qdisc add dev wire root {shape}")
        yield enter
    finally:
        for name in made:
            do(f"ip netns del {name}")


def links(steps: int, rng: random.Random, tmp: Path) -> Check:
    "Images a second of two processes with a slow link between them, predicted from one process and the rate."
    alone, far = trained(1, tmp, max(20, steps), 32)["step"], []
    print(f"links: one process computes 32 images in {1e3 * alone:.0f} ms")
    compute = alone * max(1, 2 / len(os.sched_getaffinity(0)))
    for rate, bucket in ((1e9, 25), (1e8, 25), (1e7, 25), (1e8, 1)):
        try:
            with linked(rate) as enter:
                seen = trained(2, tmp, steps, enter=enter, bucket=bucket * 2**20)
        except (OSError, subprocess.CalledProcessError) as e:
            return f"links: not measured: {e} {getattr(e, 'stderr', '')}", False
        predicted = distributed.step_seconds(2, compute, seen["buckets"], rate / 8)
        name = f"links: {rate / 1e6:.0f} Mbit/s, buckets of {bucket} MiB ({len(seen['buckets'])} a step)"
        far.append(beside(name, predicted, seen))
    return f"links: at most {max(far):.0%} from what was measured", max(far) < 0.4


CLAIMS = {  # full, quick
    exact: (30, 4),
    curves: (300, 300),
    kills: (50, 1),
    sizes: (20, 2),
    ends: (3, 1),
    stopped: (60, 15),
    buckets: (1, 1),
    judged: (500, 100),
    speed: (5, 1),
    model: (60, 8),
    links: (12, 4),
}
ALONE = ("speed", "model", "links")  # those that nothing may run beside
LONG = ("curves", "buckets")  # those that have no quick form


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
            args.what == "all" and name not in ALONE and not (args.quick and name in LONG)
        ):
            with tempfile.TemporaryDirectory() as folder:
                text, holds = claim(args.n or counts[args.quick], random.Random(args.seed), Path(folder))
            print(text if holds else f"FAILED {text}", flush=True)
            bad += [name] * (not holds)
    sys.exit(f"these claims do not hold: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
