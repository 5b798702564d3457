"""Malformed input, through the public functions and the command line: each must end in a documented error.

    python benchmarks/malformed.py            # 10,000 of them: some minutes on one core
    python benchmarks/malformed.py 500 --seed 1

Files of every kind of damage, files that lie and are sealed with a right digest, images, numbers, names. What turns out
to be valid after all is not counted, and made up for. Ends with status 1 after a traceback, an error of another kind,
or a hang, and shows the input.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from safetensors.torch import load as read_tensors

from ddpm_abc import checkpoint, cli, data, forward, plot, sampling, schedule, training, unet

SECONDS = 30  # more is a hang
NET = {"size": 28, "channels": (16, 16)}
HUGE = [10**9, 2**62, 2**63, 2**64, 10**30, 10**400]
VALUES: list[Any] = [None, True, "", "16", "\ud800", "\0", "x" * 10_000, -1, 0, 1.5, -0.0, 1e308, float("inf"), [], [[]], {}, {"a": 1}, [None], ["a"], [-8], [16, 17], [2**31, 2**31], [10**9], [8] * 500, *HUGE]
WORDS = ["", " ", "-", "--", "-1", "0", "+0", "00", "1.5", "1e3", "nan", "inf", "-inf", "1,000", "٣", "１６", "0x10", "\x00", "\n", "\udcff", "é", "a" * 5000, "9" * 30, "9" * 5000, "../..", "/dev/null", "/dev/zero", "/proc/self/mem", "None", "[]", "{}", "%s%n", "$(id)", "'; DROP", "🙂", "*"]


class Hang(BaseException):
    "Not an Exception, so that nobody swallows it."


def alarm(*_: object) -> None:
    raise Hang


def command(*args: str) -> int:
    "The exit status of `ddpm-abc`; an error must be one line."
    said, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(err):
        status = cli.main(list(args))
    lines = [line for line in err.getvalue().splitlines() if line.strip() and not line.startswith(("note: ", "training:", "sampling:"))]
    if status and (status not in (1, 2) or len([line for line in lines if ": error: " in line]) != 1 or "Traceback" in err.getvalue()):
        raise AssertionError(f"status {status}, and it said {err.getvalue()[-2000:]!r}")
    return status


# --- files -----------------------------------------------------------------------------------------------------------


class Files:
    "Good files, and a folder for bad ones."

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "images").mkdir()
        for k in range(8):
            Image.new("L", (28, 28), 30 * k).save(folder / "images" / f"{k}.png")
        self.tiny = ["--data", str(folder / "images"), "--channels", "16,16", "--T", "30", "--batch-size", "4", "--device", "cpu", "--steps", "1"]
        command("train", *self.tiny, "--out", str(folder / "good"))
        self.good = {"weights": (folder / "good/weights.safetensors").read_bytes(), "checkpoint": (folder / "good/checkpoint-1.safetensors").read_bytes()}
        self.parts = {}
        for kind, content in self.good.items():
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            self.parts[kind] = json.loads(header["__metadata__"]["ddpm_abc"]), read_tensors(content)

    def damaged(self, rng: random.Random) -> bytes:
        content = bytearray(self.good[rng.choice(["weights", "checkpoint"])])
        header = int.from_bytes(content[:8], "little")
        kind = rng.randrange(6)
        if kind == 0:
            return rng.randbytes(rng.choice([0, 1, 8, 9, 100, 5000]))
        if kind == 1:
            return bytes(content[: rng.randrange(len(content))])
        if kind == 2:  # a header's length that lies
            return rng.choice([0, 1, 2**31, 2**63, len(content), len(content) - 8, header - 1, header + 1]).to_bytes(8, "little") + content[8:]
        if kind == 3:
            return bytes(content) + rng.randbytes(rng.randrange(1, 50))
        for _ in range(rng.choice([1, 3, 30])):
            content[rng.randrange(header if kind == 4 else len(content))] = rng.randrange(256)
        return bytes(content)

    def lying(self, rng: random.Random) -> tuple[str, bytes]:
        "A file with a right digest, and nonsense inside."
        kind = rng.choice(["weights", "checkpoint"])
        said, tensors = json.loads(json.dumps(self.parts[kind][0])), dict(self.parts[kind][1])
        said["sha256"] = "0" * 64
        if rng.random() < 0.7:
            place = said
            key = rng.choice(["kind", "net", "sched", "format"] if kind == "weights" else ["kind", "net", "sched", "info", "state", "format"])
            while isinstance(place[key], dict) and place[key] and rng.random() < 0.9:
                place = place[key]
                key = rng.choice(list(place))
            if rng.random() < 0.3:
                del place[key]
            else:
                place[key] = rng.choice(VALUES)
        else:
            name = rng.choice(list(tensors))
            v = tensors[name]
            tensors[name] = rng.choice([v.to(torch.int8), v.double() if v.dtype == torch.uint8 else v.bool(), v[None], torch.full_like(v, float("nan")) if v.is_floating_point() else v[:-1], v.flatten()[:0]])
            if rng.random() < 0.3:
                tensors[rng.choice(["opt.9999.step", "opt.x.step", "extra", "net", "", "opt.0.step.y", "ema.\ud800".encode("utf-8", "replace").decode()])] = tensors.pop(name)
        try:
            text = json.dumps(said)
        except (ValueError, RecursionError):
            text = "[" * 10_000
        return kind, checkpoint._seal(safetensors.torch.save({name: v.contiguous() for name, v in tensors.items()}, {"ddpm_abc": text}))


def try_file(files: Files, rng: random.Random) -> Callable[[], object]:
    kind, content = files.lying(rng) if rng.random() < 0.6 else (rng.choice(["weights", "checkpoint"]), files.damaged(rng))
    path = files.folder / "bad.safetensors"
    path.write_bytes(content)
    way = rng.randrange(4)
    if way == 0 and kind == "weights":
        return lambda: checkpoint.load_weights(path)
    if way == 0:
        net = unet.UNet(**NET)
        return lambda: checkpoint.load_checkpoint(path, net, torch.optim.AdamW(net.parameters(), weight_decay=0.01), ema=training.EMA(net), generator=torch.Generator())
    if way == 1 and kind == "weights":
        return lambda: command("sample", "--weights", str(path), "--n", "1", "--steps", "1", "--device", "cpu", "--out", str(files.folder / "drawn"))
    out = files.folder / "resumed"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    path.rename(out / "checkpoint-1.safetensors")
    return lambda: command("train", "--steps", "2", "--out", str(out), "--resume", "--device", "cpu")


# --- images ----------------------------------------------------------------------------------------------------------


def try_images(files: Files, rng: random.Random) -> Callable[[], object]:
    "A folder with one picture that is none, is too deep, or has lost its way."
    folder = files.folder / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(files.folder / "images/0.png", folder)
    ending, form = rng.choice([("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("gif", "GIF"), ("webp", "WEBP"), ("tif", "TIFF"), ("png", "PPM"), ("png", "EPS")])
    held = io.BytesIO()
    Image.fromarray(np.frombuffer(rng.randbytes(40 * 30 * 3), np.uint8).reshape(30, 40, 3)).save(held, form)
    content = bytearray(held.getvalue())
    kind = rng.randrange(5)
    if kind == 0:
        content = content[: rng.randrange(len(content))]
    elif kind == 1:
        for _ in range(rng.choice([1, 5, 100])):
            content[rng.randrange(min(len(content), 200))] = rng.randrange(256)
    elif kind == 2:
        content = bytearray(rng.randbytes(rng.randrange(200)))
    elif kind == 3:
        content = content[: rng.randrange(8, 30)] + rng.randbytes(20) + content[40:]
    else:
        held = io.BytesIO()
        Image.fromarray(np.zeros((9, 9), rng.choice([np.uint16, np.float32, np.int32]))).save(held, "TIFF")
        content, ending = bytearray(held.getvalue()), "tiff"
    if rng.random() < 0.1:
        (folder / "0.png").unlink()
        content, ending = content, rng.choice(["txt", "pt", "png~"])
    (folder / f"1.{ending}").write_bytes(content)
    if rng.random() < 0.5:
        return lambda: data.folder(folder, size=rng.choice([28, 8]), channels=rng.choice([1, 3]))
    return lambda: command("train", "--data", str(folder), "--channels", "16,16", "--T", "30", "--batch-size", "1", "--steps", "1", "--device", "cpu", "--out", str(files.folder / f"out-{rng.random()}"))


# --- functions -------------------------------------------------------------------------------------------------------

DOCUMENTED = (ValueError, TypeError, RuntimeError, IndexError, FloatingPointError)


def try_function(files: Files, rng: random.Random) -> Callable[[], object]:
    sched = schedule.linear_schedule(50, 0.002, 0.4)
    net = unet.UNet(size=8, channels=(16,))
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor([1, 50])
    number = rng.choice([-1, 0, 51, 10**9, -(2**40), 2**62, float("nan"), float("inf"), 1.5])
    wrong_t = rng.choice([torch.tensor([0, 51]), torch.tensor([-1, 5]), torch.tensor([1.0, 2.0]), torch.tensor([1, 2, 3]), torch.zeros(2, 1, dtype=torch.long), torch.tensor([2**40, 1])])
    wrong_x = rng.choice([torch.zeros(2, 3, 8, 8), torch.zeros(8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(3, 1, 8, 8), torch.zeros(2, 1, 8, 8, 1)])
    bad_x = torch.full((2, 1, 8, 8), float(rng.choice(["nan", "inf"])))
    return rng.choice([
        lambda: schedule.linear_schedule(rng.choice([0, -1, 1.5, "10", None, True, float("nan")])),
        lambda: schedule.linear_schedule(10, *rng.choice([(0, 0.1), (0.2, 0.1), (-1, 0.1), (0.1, 1), (float("nan"), 0.1), (0.1, float("inf"))])),
        lambda: schedule.cosine_schedule(10, rng.choice([-1.0, float("nan"), float("inf")])),
        lambda: schedule.schedule_from_beta(rng.choice([torch.zeros(3), torch.ones(3), torch.rand(3, 3), torch.zeros(0), torch.tensor([float("nan")]), torch.tensor(0.5), torch.full((900,), 0.9)])),
        lambda: checkpoint.build_schedule({"kind": rng.choice(["linear", "cosine", "x", None, 3]), rng.choice(["T", "s", "beta_max", "kind2"]): rng.choice([v for v in VALUES if v not in (1.5, True, 0)])}),
        lambda: forward.q_sample(sched, x, wrong_t, x), lambda: forward.q_sample(sched, x, t, wrong_x), lambda: forward.q_mean_var(sched, x.to(torch.uint8), t),
        lambda: forward.predict_x0(sched, x, wrong_t, x), lambda: forward.predict_eps(sched, x, torch.tensor([0, 1]), x), lambda: forward.q_posterior(sched, x, x, torch.tensor([0, 0])),
        lambda: net(wrong_x, t), lambda: net(x, wrong_t if wrong_t.shape != (2,) else t.float()), lambda: net(x, t, t), lambda: unet.UNet(n_classes=2, **NET)(torch.zeros(2, 1, 28, 28), t, torch.tensor([0, 2])),
        lambda: unet.UNet(**{rng.choice(["channels", "size", "groups", "blocks", "in_channels"]): rng.choice([0, -1, (), (3,), (16, 7), (16,) * 9, "a"])}),
        lambda: unet.timestep_embedding(t, rng.choice([0, 1, 2, 3, 5, -4])), lambda: unet.pick_device(rng.choice([w for w in WORDS if w])),
        lambda: data.to_unit(x), lambda: next(data.batches(x, 1)), lambda: next(data.batches(x.to(torch.uint8), rng.choice([0, -1, 3, 10**9]))), lambda: next(data.batches(x.to(torch.uint8), 1, start=-1)),
        lambda: data.load(rng.choice([w for w in WORDS if w not in ("../..", " ")])), lambda: data.folder(rng.choice(["nowhere", "/dev/null", "a" * 5000]), size=28), lambda: data.folder(files.folder / "images", size=rng.choice([0, -5])), lambda: data.folder(files.folder / "images", channels=rng.choice([0, 2, 4])),
        lambda: training.EMA(net, rng.choice([1.0, -0.1, 2, float("nan")])), lambda: next(training.train(net, sched, [bad_x], torch.optim.SGD(net.parameters(), lr=0.1))), lambda: training.eps_loss(net, sched, x, wrong_t, x),
        lambda: sampling.strided_times(50, rng.choice([0, -1, 51, 10**9])), lambda: sampling.sample(net, sched, (1, 1, 8, 8), times=rng.choice([[0, 50], [60, 0], [5, 5, 0], [5], [], [50, -1]])), lambda: sampling.sample(net, sched, (1, 2, 8, 8)),
        lambda: sampling.ddpm_step(sched, x, x, 5, 4, x, variance=rng.choice(["", "beta2", None])),
        lambda: plot.tile(rng.choice([x[0], torch.zeros(0, 1, 2, 2), torch.zeros(1, 2, 2, 2)])), lambda: plot.tile(x, columns=0), lambda: plot.plot_loss([]), lambda: plot.plot_loss([1.0], window=0), lambda: plot.animate([]), lambda: plot.animate([np.zeros((3, 3))]),
        lambda: plot.plot_loss_by_t(wrong_t, torch.zeros(3), 50) if wrong_t.shape != (3,) else plot.plot_loss_by_t(t, torch.zeros(3), 50),
        lambda: checkpoint.save_weights(files.folder / "w.safetensors", net, {"kind": "linear", "T": 1000}, note=rng.choice([object(), float("nan"), {1, 2}, b"x"])),
        lambda: checkpoint.save_weights(files.folder / "w.safetensors", net, {"kind": "linear", "T": number if number != 10**9 else 0}), lambda: checkpoint.pretrained(rng.choice(WORDS)),
    ])  # fmt: skip


# --- the command line ------------------------------------------------------------------------------------------------


def try_command(files: Files, rng: random.Random) -> Callable[[], object]:
    out, bare = files.folder / f"out-{rng.random()}", WORDS
    drawn = ["--weights", str(files.folder / "good/weights.safetensors"), "--steps", "1", "--device", "cpu"]
    which = rng.random()
    if which < 0.2:
        args = ["sample", *drawn, "--n", "1", "--out", str(out)]
        flags = ["--weights", "--label", "--guidance", "--n", "--steps", "--seed", "--device", "--out"]
    elif which < 0.3:
        args = ["evaluate", *drawn, "--n", "100", "--keep", f"{out}-kept"]
        flags = ["--weights", "--guidance", "--data", "--n", "--steps", "--keep", "--seed", "--device"]
    else:
        args, bare = ["train", *files.tiny, "--out", str(out)], [*WORDS, *["--labels", "--resume"] * 10]
        flags = ["--data", "--root", "--steps", "--minutes", "--batch-size", "--lr", "--schedule", "--T", "--predict", "--channels", "--weights", "--seed", "--device", "--out"]
    for _ in range(rng.choice([1, 1, 2, 4])):
        flag, word = rng.choice(flags), rng.choice(WORDS)
        if rng.random() < 0.2:
            word = {"--channels": rng.choice(["1000000000", "16,16,16,16", "8,8", "16,", "99999999,8"]), "--T": "1", "--lr": "1e300", "--batch-size": "9", "--n": "10001", "--device": "cuda:9", "--weights": str(files.folder / "good/checkpoint-1.safetensors"), "--label": "7", "--guidance": "1", "--keep": str(files.folder / "good/weights.safetensors")}.get(flag, word)
        if flag == "--out" and word in ("", " ", "../..") or (flag, word) in {("--steps", "9" * 12)}:
            continue
        kind = rng.random()
        if kind < 0.75 and flag in args:
            args[args.index(flag) + 1] = word
        elif kind < 0.85:
            args += [flag, word]
        elif kind < 0.9:
            args.append(rng.choice(bare))
        elif kind < 0.95:
            args.append(f"--{rng.choice(WORDS)}")
        else:
            args[rng.randrange(len(args))] = word
    if "--steps" not in args:
        args += ["--steps", "1"]
    return lambda: command(*args)


TRIES = [try_file, try_images, try_function, try_command, try_command]


def malformed(n: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    "Counts by kind of n documented errors, and what went wrong."
    rng, files = random.Random(seed), Files(folder)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    before = os.getcwd()
    os.chdir(folder)  # some words are good names of folders
    handler = signal.signal(signal.SIGALRM, alarm)
    try:
        while counts.total() - counts["valid after all"] < n:
            make = rng.choice(TRIES)
            state = rng.getstate()
            attempt = make(files, rng)
            signal.alarm(SECONDS)
            try:
                refused = attempt()
                counts["an error line" if isinstance(refused, int) and refused in (1, 2) and make is not try_function else "valid after all"] += 1
            except DOCUMENTED as e:
                if "command" in [f.name for f in frames(e)] or not str(e).strip():
                    wrong.append(f"{make.__name__}: {type(e).__name__} past the command line, or without a word: {e}")
                counts[type(e).__name__] += 1
            except (Exception, Hang) as e:
                counts["another error"] += 1
                again = random.Random()
                again.setstate(state)
                wrong.append(f"{make.__name__}, as input {counts.total()}: {type(e).__name__}: {e}; at {[f'{f.name}:{f.line}' for f in frames(e)][-3:]}")
            finally:
                signal.alarm(0)
            plot.plt.close("all")
            for out in folder.glob("out-*"):
                shutil.rmtree(out, ignore_errors=True)
    finally:
        os.chdir(before)
        signal.signal(signal.SIGALRM, handler)
    return counts, wrong


def frames(e: BaseException) -> Iterator[Any]:
    import traceback

    yield from traceback.extract_tb(e.__traceback__)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int, nargs="?", default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as tmp:
        counts, wrong = malformed(wanted.n, wanted.seed, Path(tmp))
    for line in wrong[:30]:
        print(line[:600])
    valid = counts.pop("valid after all", 0)
    print(f"malformed: {counts.total():,} inputs, {counts.total() - len(wrong):,} documented errors ({', '.join(f'{v:,} {k}' for k, v in sorted(counts.items()))}), {len(wrong)} others or hangs; {valid:,} more were valid after all")
    sys.exit(bool(wrong))
