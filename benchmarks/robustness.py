"""A training run that nothing can lose: each claim is put to the test on real, small trainings.

    python benchmarks/robustness.py all            # everything in full: some minutes on one core
    python benchmarks/robustness.py kills 100      # one of them: kills, damage, steps, full, starts, pickles
    python benchmarks/robustness.py kills 6 --seed 1
    python benchmarks/robustness.py all --quick    # a few of each, as the tests do

Prints the figures of each. Ends with status 1 if a claim does not hold. Needs Linux: trainings run in forked
processes, which share the imports and so start at once, and each is the real `ddpm-abc train`.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: no threads in the process that forks

import argparse  # noqa: E402
import contextlib  # noqa: E402
import hashlib  # noqa: E402
import random  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tarfile  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
import zipfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from pickle import dumps, loads  # noqa: E402

import matplotlib  # noqa: E402

matplotlib.use("agg")

import matplotlib.pyplot  # noqa: E402, F401 (this and others are imported once, for all forks)
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torchvision.datasets  # noqa: E402, F401
from PIL import Image  # noqa: E402

from ddpm_abc import data, plot  # noqa: E402, F401
from ddpm_abc.cli import main, sample, train  # noqa: E402, F401
from ddpm_abc.muon import Muon  # noqa: E402
from ddpm_abc.parameterization import Denoiser  # noqa: E402
from ddpm_abc.run import run as running  # noqa: E402
from ddpm_abc.schedule import cosine_schedule  # noqa: E402
from ddpm_abc.storage import checkpoints, load_checkpoint, load_weights, read_metadata  # noqa: E402
from ddpm_abc.storage.format import _read_sealed  # noqa: E402
from ddpm_abc.training import EMA  # noqa: E402
from ddpm_abc.unet import UNet  # noqa: E402

STEPS = 24
TINY = ["--channels", "16,16", "--T", "50", "--batch-size", "8", "--device", "cpu"]
SCHED = cosine_schedule(50)  # that of such a training


class Child:
    "`ddpm-abc` with these arguments, in a process of its own."

    def __init__(self, *args: object, save_every: int = 2, prepare: Callable[[], object] = lambda: None):
        self.read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                os.dup2(write, 1)
                os.dup2(write, 2)
                os.set_inheritable(1, True)
                sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
                sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
                running.SAVE_EVERY = save_every
                prepare()
                status = main([str(a) for a in args])
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)
        os.close(write)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def running(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def end(self) -> tuple[int, str]:
        "Its exit status, -9 for one that was killed, and what it said, less the progress bar."
        said = b""
        while piece := os.read(self.read, 1 << 16):
            said += piece
        os.close(self.read)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        lines = said.decode(errors="replace").replace("\r", "\n").splitlines()
        return status, "\n".join(line for line in lines if line.strip() and not line.startswith("training:"))


def images(folder: Path, n: int = 40) -> Path:
    "A data set of its own: n small pictures."
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(n):
        Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{k:02}.png")
    return folder


def fingerprint(out: Path) -> str:
    "A hash of all that the newest checkpoint holds of a run, and of the weights file."
    metadata, tensors = _read_sealed(checkpoints(out)[0], "checkpoint")
    h = hashlib.sha256(repr({**metadata.state, "where": None}).encode())
    for name in sorted(tensors):
        h.update(name.encode() + tensors[name].numpy().tobytes())
    h.update((out / "weights.safetensors").read_bytes())
    return h.hexdigest()


def leftovers(out: Path) -> list[str]:
    return [p.name for p in out.glob(".*.tmp")] if out.is_dir() else []


def whole_run(tmp: Path, steps: int = STEPS, **kwargs) -> tuple[list[object], str, float]:
    "The arguments of a training, the fingerprint of its end if nothing happens to it, and how long it took."
    args = ["train", *TINY, "--data", images(tmp / "images"), "--steps", steps]
    begun = time.monotonic()
    status, said = Child(*args, "--out", tmp / "whole", **kwargs).end()
    if status != 0:
        raise SystemExit(f"the training itself failed: {said}")
    return args, fingerprint(tmp / "whole"), time.monotonic() - begun


def kills(n: int, rng: random.Random, tmp: Path) -> tuple[str, bool]:
    "SIGKILL at random moments. From the second on, two of five wait for a file that is being written."
    args, want, seconds = whole_run(tmp)
    midwrite = unsaved = unreadable = failed = different = left = 0
    for k in range(n):
        out = tmp / f"killed-{k}"
        while True:  # until one was killed before its end, and in the two of five before its file was whole
            child = Child(*args, "--out", out)
            time.sleep(rng.uniform(0, seconds))
            while k % 5 < 2 and child.running() and not leftovers(out):
                pass
            if child.running():
                child.kill()
            if child.end()[0] == -signal.SIGKILL and (k % 5 >= 2 or leftovers(out)):
                break
            shutil.rmtree(out)
        midwrite += bool(leftovers(out))
        unsaved += not checkpoints(out)
        status, said = Child(*args, "--out", out, *["--resume"] * bool(checkpoints(out))).end()
        failed += status != 0
        unreadable += "SKIPPED" in said
        left += bool(leftovers(out))
        different += status != 0 or fingerprint(out) != want
        shutil.rmtree(out)
    good = failed == unreadable == different == left == 0 and midwrite >= 0.3 * n
    killed = f"{n} runs killed, {midwrite} of them in mid-write, {unsaved} before the first save"
    resumed = f"{n - failed} resumed, {unreadable} unreadable checkpoints, {left} leftovers"
    return f"{killed}; {resumed}, {different} ends that differ by a bit", good


def damage(n: int, rng: random.Random, tmp: Path) -> tuple[str, bool]:
    "Bits flipped and files cut short, half of them in the header. Control: undamaged, they load."
    whole_run(tmp)
    out = tmp / "whole"
    accepted = {"bit flips": 0, "truncations": 0}
    for source, loads_it in (
        (checkpoints(out)[0], resume_in_python),
        (out / "weights.safetensors", load_weights),
    ):
        good = source.read_bytes()
        header = 8 + int.from_bytes(good[:8], "little")
        path = tmp / source.name
        path.write_bytes(good)
        read_metadata(path)
        loads_it(path)
        for kind in accepted:
            for k in range(n):
                i = rng.randrange(header if k % 2 else len(good))
                bad = bytearray(good) if kind == "bit flips" else good[:i]
                if isinstance(bad, bytearray):
                    bad[i] ^= 1 << rng.randrange(8)
                path.write_bytes(bad)
                for read in (read_metadata, loads_it):
                    try:
                        read(path)
                    except (RuntimeError, ValueError):
                        continue
                    accepted[kind] += 1
    done = f"{n} bit flips and {n} truncations of a checkpoint, and as many of a weights file"
    return f"{done}; accepted: {accepted}", not any(accepted.values())


def resume_in_python(path: Path) -> int:
    net = UNet(channels=(16, 16))
    denoise, opt = Denoiser(net, SCHED, "v"), Muon(net.parameters(), weight_decay=0.01)
    return load_checkpoint(path, denoise, opt, ema=EMA(net), generator=torch.Generator())


def steps(n: int, rng: random.Random, tmp: Path) -> tuple[str, bool]:
    "A resume from every step of n epochs of five steps."
    total = 5 * n

    def keep_all() -> None:
        running.keep_last = lambda path: None

    args, want, _ = whole_run(tmp, total, save_every=1, prepare=keep_all)
    whole, ends = tmp / "whole", []
    for k in range(1, total):
        out = tmp / f"from-{k}"
        out.mkdir()
        shutil.copy(whole / f"checkpoint-{k}.safetensors", out)
        shutil.copy(whole / "loss.csv", out)
        status, said = Child(*args, "--out", out, "--resume").end()
        there = f"going on from {out}/checkpoint-{k}.safetensors" in said
        ends.append(status == 0 and there and fingerprint(out) == want)
    good = all(ends) and len(ends) == total - 1
    return f"{len(ends)} resumes, one from each step of {n} epochs; {sum(ends)} ends equal to the bit", good


def full(n: int, rng: random.Random, tmp: Path) -> tuple[str, bool]:
    "A disk that is full, at n sizes of what still fits (RLIMIT_FSIZE)."
    args, _, _ = whole_run(tmp)
    whole = tmp / "whole"
    # The next may be a little smaller: it notes the seconds of training, with as many digits as they have.
    size = checkpoints(whole)[0].stat().st_size - 1024
    bad, messages = [], set()
    for k in range(n):
        limit = size * k // max(1, n - 1)
        out = tmp / f"full-{k}"
        shutil.copytree(whole, out)
        before = {p.name: p.read_bytes() for p in checkpoints(out)}

        def fill(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        status, said = Child(*args[:-1], STEPS + 4, "--out", out, "--resume", prepare=fill).end()
        last, newest = said.splitlines()[-1], checkpoints(out)[0]
        clear = last.startswith("ddpm-abc train: error: cannot write ") and "Traceback" not in said
        clear &= f"The newest checkpoint is {newest}" in last
        intact = {p.name: p.read_bytes() for p in checkpoints(out)} == before
        intact &= read_metadata(newest).state["step"] == STEPS
        messages.add(last.replace(str(out), "OUT"))
        if status != 1 or not clear or not intact or leftovers(out):
            bad.append((limit, status, said, leftovers(out)))
    for message in sorted(messages):
        print(f"    {message}")
    well = f"{n - len(bad)} ended with a clear message, the old checkpoints whole and no temporary file"
    return f"{n} trainings on a full disk; {well} {bad or ''}", not bad


def starts(n: int, rng: random.Random, tmp: Path) -> tuple[str, bool]:
    "n simultaneous starts on one folder; then its owner is killed, and n more go on from there."
    args = ["train", *TINY, "--data", images(tmp / "images"), "--steps", 10**9, "--out", tmp / "out"]
    counts, again = [], []
    for resume in ([], ["--resume"]):
        at = time.monotonic() + 0.5

        def wait(at: float = at) -> None:
            while time.monotonic() < at:
                pass

        children = [Child(*args, *resume, prepare=wait) for _ in range(n)]
        while sum(c.running() for c in children) > 1:
            time.sleep(0.05)
        time.sleep(1)
        owners = [c for c in children if c.running()]
        counts.append(len(owners))
        for c in children:
            if c in owners:
                while not checkpoints(tmp / "out"):
                    time.sleep(0.05)
                c.kill(signal.SIGTERM if resume else signal.SIGKILL)
            again.append(c.end())
    refused = [said for status, said in again if status == 2]
    named = sum("another run is at work" in said for said in refused)
    statuses = sorted({status for status, _ in again})
    good = counts == [1, 1] and len(refused) == named == 2 * n - 2 and statuses == [-9, 2, 143]
    good &= not (tmp / "out/.lock").exists()
    owners_of = f"{counts[0]} owner; it was killed, {n} more starts: {counts[1]} owner"
    outcome = f"{named} refused with the reason, exit statuses {statuses}"
    return f"{n} simultaneous starts: {owners_of}; {outcome}", good


class Bomb:
    "What a pickle may do when it is read."

    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


def corpus(crater: Path, folder: Path) -> list[Path]:
    "Files that make a crater when they are unpickled, in every wrapping that a network may come in."
    bombs = [
        Bomb(os.mkdir, str(crater)),
        Bomb(eval, f"__import__('os').mkdir({str(crater)!r})"),
        Bomb(exec, f"import os; os.mkdir({str(crater)!r})"),
        Bomb(os.system, f"mkdir {crater}"),
    ]
    every = []

    def add(name: str, content: bytes) -> None:
        every.append(folder / name)
        every[-1].write_bytes(content)

    for i, bomb in enumerate(bombs):
        for protocol in range(6):
            add(f"{i}-{protocol}.pkl", dumps({"state_dict": bomb}, protocol))
            add(f"{i}-{protocol}-bare.safetensors", dumps(bomb, protocol))
        for zipped in (True, False):
            every.append(folder / f"{i}-torch-{zipped}.pt")
            torch.save({"model": bomb}, every[-1], _use_new_zipfile_serialization=zipped)
        np.save(folder / f"{i}.npy", np.array([bomb], dtype=object))
        np.savez(folder / f"{i}.npz", images=np.array([bomb], dtype=object))
        every += [folder / f"{i}.npy", folder / f"{i}.npz"]
        payload = dumps(bomb)
        with zipfile.ZipFile(folder / f"{i}.zip", "w") as z:
            z.writestr("archive/data.pkl", payload)
        with tarfile.open(folder / f"{i}.tar", "w") as t:
            (folder / "pickle").write_bytes(payload)
            t.add(folder / "pickle")
        every += [folder / f"{i}.zip", folder / f"{i}.tar"]
        (folder / "pickle").unlink()
        add(f"{i}-header.safetensors", len(payload).to_bytes(8, "little") + payload)
        add(f"{i}-brace.safetensors", b"\x80\x04" + b"\x8c\x03abc"[:6] + b"{" + payload)
    return every


TARGETS = (  # where a reader would look
    "checkpoint-7.safetensors",
    "mnist/MNIST/processed/training.pt",
    "mnist/MNIST/processed/test.pt",
    "mnist/MNIST/raw/t10k-images-idx3-ubyte",
    "pictures/a.png",
)


def pickles(n: int, rng: random.Random, tmp: Path) -> tuple[str, bool]:
    "Hostile pickles by every way in. Control: Python's own reader of pickles does run them."
    crater = tmp / "crater"
    (tmp / "corpus").mkdir()
    every = corpus(crater, tmp / "corpus")
    live = 0
    for path in every:
        if path.suffix == ".pkl":
            loads(path.read_bytes())
            live += crater.exists()
            shutil.rmtree(crater, ignore_errors=True)
    if live != sum(p.suffix == ".pkl" for p in every):
        raise SystemExit("the corpus is not live")
    run, accepted, executed, tried = tmp / "run", 0, 0, 0
    run.mkdir()
    for path in every:
        shutil.rmtree(run)
        (run / "mnist/MNIST/raw").mkdir(parents=True)
        (run / "mnist/MNIST/processed").mkdir()
        (run / "pictures").mkdir()
        for target in TARGETS:
            shutil.copy(path, run / target)
        for name in ("train-images", "train-labels", "t10k-labels"):
            (run / f"mnist/MNIST/raw/{name}-idx{'3' if 'images' in name else '1'}-ubyte").touch()
        ways: list[Callable[[], object]] = [
            lambda path=path: load_weights(path),
            lambda path=path: read_metadata(path),
            lambda path=path: resume_in_python(path),
            lambda: data.image_folder(run / "pictures"),
            lambda: data.mnist(run / "mnist"),
            lambda: data.mnist(run / "mnist", train=False),
            lambda path=path: quiet("sample", "--weights", path, "--out", run / "out"),
            lambda: quiet("train", "--out", run, "--resume"),
        ]
        for way in ways:
            tried += 1
            with contextlib.suppress(RuntimeError, ValueError):
                accepted += way() != 2
            executed += crater.exists()
            shutil.rmtree(crater, ignore_errors=True)
    done = f"{len(every)} hostile files, {tried} attempts to read them"
    return f"{done}: {executed} executions, {accepted} accepted", executed == accepted == 0


def quiet(*args: object) -> int:
    "`ddpm-abc` in this process, without what it says."
    out, err = sys.stdout, sys.stderr
    with open(os.devnull, "w") as sys.stdout, open(os.devnull, "w") as sys.stderr:
        try:
            return main([str(a) for a in args])
        finally:
            sys.stdout, sys.stderr = out, err


CLAIMS = {  # what is done, how often in full, how often in the tests
    "kills": (kills, 100, 3),
    "damage": (damage, 300, 20),
    "steps": (steps, 2, 1),
    "full": (full, 20, 3),
    "starts": (starts, 20, 4),
    "pickles": (pickles, 1, 1),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("claim", choices=["all", *CLAIMS])
    parser.add_argument("n", type=int, nargs="?", help="how many; each claim has its own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few of each")
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    held = []
    for name, (claim, often, seldom) in CLAIMS.items():
        if wanted.claim in ("all", name):
            with tempfile.TemporaryDirectory() as folder:
                figures, good = claim(
                    wanted.n or (seldom if wanted.quick else often), random.Random(wanted.seed), Path(folder)
                )
            held.append(good)
            print(f"{name}: {figures}{'' if good else '  FAILED'}", flush=True)
    sys.exit(not all(held))
