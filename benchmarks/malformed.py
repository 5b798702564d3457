"""Malformed input, through the public functions and the command line: each must end in a documented error.

    python benchmarks/malformed.py            # 10,000 of them: some minutes on one core
    python benchmarks/malformed.py 500 --seed 1

Files of every kind of damage, files that lie and are sealed with a right digest, images, numbers, names. What
turns out to be valid after all is not counted, and made up for. Ends with status 1 after a traceback, an
error of another kind, or a hang, and shows the input.
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

import matplotlib.pyplot as plt
import numpy as np
import safetensors.torch
import torch
from PIL import Image
from safetensors.torch import load as read_tensors

from ddpm_abc import cli, data, forward, plot, sampling, schedule, storage, training, unet
from ddpm_abc.device import pick_device
from ddpm_abc.parameterization import Denoiser
from ddpm_abc.run import config, settings
from ddpm_abc.storage.format import _seal

SECONDS = 30  # more is a hang
NET: dict[str, Any] = {"size": 28, "channels": (16, 16)}
HUGE = [10**9, 2**62, 2**63, 2**64, 10**30, 10**400]
VALUES: list[Any] = [
    None,
    True,
    "",
    "16",
    "\ud800",
    "\0",
    "x" * 10_000,
    -1,
    0,
    1.5,
    -0.0,
    1e308,
    float("inf"),
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    ["a"],
    [-8],
    [16, 17],
    [2**31, 2**31],
    [10**9],
    [8] * 500,
    *HUGE,
]
WORDS = [
    "",
    " ",
    "-",
    "--",
    "-1",
    "0",
    "+0",
    "00",
    "1.5",
    "1e3",
    "nan",
    "inf",
    "-inf",
    "1,000",
    "\u0663",
    "\uff11\uff16",
    "0x10",
    "\x00",
    "\n",
    "\udcff",
    "\u00e9",
    "a" * 5000,
    "9" * 30,
    "9" * 5000,
    "../..",
    "/dev/null",
    "/dev/zero",
    "/proc/self/mem",
    "None",
    "[]",
    "{}",
    "{out}",
    "%s%n",
    "$(id)",
    "'; DROP",
    "\U0001f642",
    "*",
    "$\\foo$",
    "--out",
    "\x1b[2J",
]


class Hang(BaseException):
    "Not an Exception, so that nobody swallows it."


def alarm(*_: object) -> None:
    raise Hang


def command(*args: str) -> int:
    "The exit status of `ddpm-abc`; an error must be one line."
    said, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(err):
        status = cli.main(list(args))
    lines = [
        line for line in err.getvalue().splitlines() if line.startswith("ddpm-abc") and ": error: " in line
    ]
    if status and (status not in (1, 2) or len(lines) != 1 or "Traceback" in err.getvalue()):
        raise AssertionError(f"status {status}, and it said {err.getvalue()[-2000:]!r}")
    return status


# --- files --------------------------------------------------------------------------------------------------


class Files:
    "Good files, and a folder for bad ones."

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "images").mkdir()
        for k in range(8):
            image = Image.new("L", (28, 28), 30 * k)
            image.paste(30 * k + 40, (0, 0, 28, 14))
            image.save(folder / "images" / f"{k}.png")
        small = ["--channels", "16,16", "--T", "30", "--batch-size", "4", "--device", "cpu", "--steps", "1"]
        self.tiny = ["--data", str(folder / "images"), *small]
        command("train", *self.tiny, "--out", str(folder / "good"))
        good = {"weights": "weights.safetensors", "checkpoint": "checkpoint-1.safetensors"}
        self.good = {kind: (folder / "good" / name).read_bytes() for kind, name in good.items()}
        digits = Denoiser(
            unet.UNet(channels=(16, 16)), schedule.cosine_schedule(30)
        )  # such as `evaluate` takes
        storage.save_weights(folder / "digits.safetensors", digits, data="digits")
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
            n = len(content)
            length = rng.choice([0, 1, 2**31, 2**63, n, n - 8, header - 1, header + 1])
            return length.to_bytes(8, "little") + content[8:]
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
            both = ["kind", "net", "predicts", "sched", "format"]
            key = rng.choice(both if kind == "weights" else [*both, "info", "state"])
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
            other = v.double() if v.dtype == torch.uint8 else v.bool()
            spoilt = torch.full_like(v, float("nan")) if v.is_floating_point() else v[:-1]
            tensors[name] = rng.choice([v.to(torch.int8), other, v[None], spoilt, v.flatten()[:0]])
            if rng.random() < 0.3:
                odd = "ema.\ud800".encode("utf-8", "replace").decode()
                names = ["opt.9999.step", "opt.x.step", "extra", "net", "", "opt.0.step.y", odd]
                tensors[rng.choice(names)] = tensors.pop(name)
        try:
            text = json.dumps(said)
        except (ValueError, RecursionError):
            text = "[" * 10_000
        tensors = {name: v.contiguous() for name, v in tensors.items()}
        return kind, _seal(safetensors.torch.save(tensors, {"ddpm_abc": text}))


def try_file(files: Files, rng: random.Random) -> Callable[[], object]:
    lying = rng.random() < 0.6
    kind, content = files.lying(rng) if lying else (rng.choice(["weights", "checkpoint"]), files.damaged(rng))
    path = files.folder / "bad.safetensors"
    path.write_bytes(content)
    way = rng.randrange(5)
    if way == 0 and kind == "weights":
        return lambda: storage.load_weights(path)
    if way == 0:
        denoise = Denoiser(unet.UNet(**NET), schedule.cosine_schedule(30))
        opt = torch.optim.AdamW(denoise.net.parameters(), weight_decay=0.01)
        ema = training.EMA(denoise.net)
        return lambda: storage.load_checkpoint(path, denoise, opt, ema=ema, generator=torch.Generator())
    if way == 1 and kind == "weights":
        few = ["--n", "1", "--steps", "1", "--device", "cpu"]
        return lambda: command("sample", "--weights", str(path), *few, "--out", str(files.folder / "drawn"))
    if way == 2 and kind == "weights":
        few = [*files.tiny[:2], "--batch-size", "4", "--device", "cpu", "--steps", "1"]
        return lambda: command(
            "train", "--init-from", str(path), *few, "--out", str(files.folder / "out-begun")
        )
    out = files.folder / "resumed"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    path.rename(out / "checkpoint-1.safetensors")
    return lambda: command("train", "--steps", "2", "--out", str(out), "--resume", "--device", "cpu")


# --- images -------------------------------------------------------------------------------------------------


def try_images(files: Files, rng: random.Random) -> Callable[[], object]:
    "A folder with one picture that is none, is too deep, or has lost its way."
    folder = files.folder / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(files.folder / "images/0.png", folder)
    kinds = "png:PNG jpg:JPEG bmp:BMP gif:GIF webp:WEBP tif:TIFF png:PPM png:EPS"
    ending, form = rng.choice(kinds.split()).split(":")
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
        return lambda: data.image_folder(folder, size=rng.choice([28, 8]), channels=rng.choice([1, 3]))
    out = str(files.folder / f"out-{rng.random()}")
    return lambda: command("train", *files.tiny, "--data", str(folder), "--batch-size", "1", "--out", out)


# --- functions ----------------------------------------------------------------------------------------------

DOCUMENTED = (ValueError, TypeError, RuntimeError, IndexError, FloatingPointError)


def try_function(files: Files, rng: random.Random) -> Callable[[], object]:
    kinds = [
        try_schedule,
        try_process,
        try_network,
        try_data,
        try_training,
        try_sampling,
        try_plot,
        try_storage,
        try_config,
    ]
    return rng.choice(kinds)(files, rng)


def parts(rng: random.Random) -> tuple[Any, Any, torch.Tensor, torch.Tensor, Any, Any]:
    "A schedule, a network, images and times that are good, and images and times that are not."
    sched, net = schedule.linear_schedule(50, 0.002, 0.4), unet.UNet(size=8, channels=(16,))
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor([1, 50])
    times = [[0, 51], [-1, 5], [1.0, 2.0], [1, 2, 3], [2**40, 1]]
    wrong_t = rng.choice([*map(torch.tensor, times), torch.zeros(2, 1, dtype=torch.long)])
    shapes = [(2, 3, 8, 8), (8, 8), (3, 1, 8, 8), (2, 1, 8, 8, 1)]
    wrong_x = rng.choice([*map(torch.zeros, shapes), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
    return sched, net, x, t, wrong_x, wrong_t


def try_schedule(files: Files, rng: random.Random) -> Callable[[], object]:
    length = rng.choice([0, -1, 1.5, "10", None, True, float("nan")])
    ends = rng.choice([(0, 0.1), (0.2, 0.1), (-1, 0.1), (0.1, 1), (float("nan"), 0.1), (0.1, float("inf"))])
    s = rng.choice([-1.0, float("nan"), float("inf")])
    odd = [torch.zeros(3), torch.rand(3, 3), torch.zeros(0), torch.tensor([float("nan")]), torch.tensor(0.5)]
    beta = rng.choice(odd)
    kind, key = (
        rng.choice(["linear", "cosine", "betas", "x", None, 3]),
        rng.choice(["T", "s", "beta_max", "kind2"]),
    )
    value = rng.choice([v for v in VALUES if v not in (1.5, True, 0)])
    return rng.choice(
        [
            lambda: schedule.linear_schedule(length),
            lambda: schedule.linear_schedule(10, *ends),
            lambda: schedule.cosine_schedule(10, s),
            lambda: schedule.schedule_from_beta(beta),
            lambda: schedule.build_schedule({"kind": kind, key: value}),
            lambda: schedule.build_schedule(value),
        ]
    )


def try_process(files: Files, rng: random.Random) -> Callable[[], object]:
    sched, net, x, t, wrong_x, wrong_t = parts(rng)
    zero = torch.tensor([0, 0])
    return rng.choice(
        [
            lambda: forward.q_sample(sched, x, wrong_t, x),
            lambda: forward.q_sample(sched, x, t, wrong_x),
            lambda: forward.q_mean_var(sched, x.to(torch.uint8), t),
            lambda: forward.predict_x0(sched, x, wrong_t, x),
            lambda: forward.predict_eps(sched, x, torch.tensor([0, 1]), x),
            lambda: forward.q_posterior(sched, x, x, zero),
            lambda: Denoiser(net, sched, rng.choice(["", "noise", "x"])),
            lambda: Denoiser(net, sched)(x, zero),
            lambda: Denoiser(lambda x, t: x[:1], sched)(x, 1),
        ]
    )


def try_network(files: Files, rng: random.Random) -> Callable[[], object]:
    sched, net, x, t, wrong_x, wrong_t = parts(rng)
    key = rng.choice(["channels", "size", "groups", "blocks", "in_channels"])
    value = rng.choice([0, -1, (), (3,), (16, 7), (16,) * 9, "a"])
    dim, device = rng.choice([0, 1, 2, 3, 5, -4]), rng.choice([w for w in WORDS if w])
    odd_t = wrong_t if wrong_t.shape != (2,) else t.float()
    labelled = unet.UNet(n_classes=2, **NET)
    return rng.choice(
        [
            lambda: net(wrong_x, t),
            lambda: net(x, odd_t),
            lambda: net(x, t, t),
            lambda: labelled(torch.zeros(2, 1, 28, 28), t),
            lambda: labelled(torch.zeros(2, 1, 28, 28), t, torch.tensor([0, 2])),
            lambda: unet.UNet(**{key: value}),
            lambda: unet.timestep_embedding(t, dim),
            lambda: pick_device(device),
        ]
    )


def try_data(files: Files, rng: random.Random) -> Callable[[], object]:
    x, images = torch.zeros(2, 1, 8, 8), files.folder / "images"
    size, name = rng.choice([0, -1, 3, 10**9]), rng.choice([w for w in WORDS if w not in ("../..", " ")])
    path, color = rng.choice(["nowhere", "/dev/null", "a" * 5000]), rng.choice([*WORDS, None, 3])
    return rng.choice(
        [
            lambda: data.to_unit(x),
            lambda: next(data.batches(x, 1)),
            lambda: next(data.batches(x.to(torch.uint8), size)),
            lambda: next(data.batches(x.to(torch.uint8), 1, start=-1)),
            lambda: data.load(name),
            lambda: data.image_folder(path, size=28),
            lambda: data.image_folder(images, size=rng.choice([0, -5])),
            lambda: data.image_folder(images, channels=rng.choice([0, 2, 4])),
            lambda: data.image_folder(images, background=color),
        ]
    )


def try_training(files: Files, rng: random.Random) -> Callable[[], object]:
    sched, net, x, t, wrong_x, wrong_t = parts(rng)
    denoise, opt = Denoiser(net, sched), torch.optim.SGD(net.parameters(), lr=0.1)
    bad = torch.full((2, 1, 8, 8), float(rng.choice(["nan", "inf"])))
    other = torch.optim.SGD(unet.UNet(size=8, channels=(16,)).parameters(), lr=0.1)
    return rng.choice(
        [
            lambda: training.EMA(net, rng.choice([1.0, -0.1, 2, float("nan")])),
            lambda: next(training.train(denoise, [bad], opt)),
            lambda: next(training.train(denoise, [x], other)),
            lambda: next(training.train(denoise, [x.to(torch.uint8)], opt)),
            lambda: training.simple_loss(denoise, x, wrong_t, x),
        ]
    )


def try_sampling(files: Files, rng: random.Random) -> Callable[[], object]:
    sched, net, x, t, wrong_x, wrong_t = parts(rng)
    denoise = Denoiser(net, sched)
    times, steps = rng.choice([[60, 0], [5, 5, 0], [5], [], [50, -1]]), rng.choice([0, -1, 51, 10**9])
    return rng.choice(
        [
            lambda: sampling.spaced_times(50, steps),
            lambda: sampling.sample(denoise, (1, 1, 8, 8), times=times),
            lambda: sampling.sample(denoise, (1, 2, 8, 8)),
            lambda: sampling.image_generators(-1, 2),
            lambda: sampling.sample(denoise, (3, 1, 8, 8), generator=sampling.image_generators(0, 2)),
            lambda: sampling.ddpm_step(sched, x, x, 5, 4, x, variance=rng.choice(["", "beta2", None])),
        ]
    )


def try_plot(files: Files, rng: random.Random) -> Callable[[], object]:
    _, _, x, t, _, wrong_t = parts(rng)
    images = rng.choice([x[0], torch.zeros(0, 1, 2, 2), torch.zeros(1, 2, 2, 2)])
    at, losses = (wrong_t, torch.zeros(3)) if wrong_t.shape != (3,) else (t, torch.zeros(3))
    return rng.choice(
        [
            lambda: plot.tile(images),
            lambda: plot.tile(x, columns=0),
            lambda: plot.plot_loss([]),
            lambda: plot.plot_loss([1.0], window=0),
            lambda: plot.animate([]),
            lambda: plot.animate([np.zeros((3, 3))]),
            lambda: plot.plot_loss_by_t(at, losses, 50),
        ]
    )


def try_storage(files: Files, rng: random.Random) -> Callable[[], object]:
    net, path = unet.UNet(size=8, channels=(16,)), files.folder / "w.safetensors"
    denoise = Denoiser(net, schedule.linear_schedule(50, 0.002, 0.4))
    note, name = rng.choice([object(), float("nan"), {1, 2}, b"x"]), rng.choice(WORDS)
    own = Denoiser(torch.nn.Linear(2, 2), denoise.sched)
    return rng.choice(
        [
            lambda: storage.save_weights(path, denoise, note=note),
            lambda: storage.save_weights(path, own),
            lambda: storage.save_weights(path, net),
            lambda: storage.pretrained(name),
        ]
    )


def try_config(files: Files, rng: random.Random) -> Callable[[], object]:
    name = rng.choice(list(settings.settings_of(config.TrainConfig)))
    value = rng.choice([v for v in VALUES if not isinstance(v, str) or not v.isascii()])
    saved = config.saved_settings(config.TrainConfig())
    if value is None and name in config.LIMITS:
        value = -1
    return rng.choice(
        [
            lambda: config.TrainConfig(**{name: value}),
            lambda: config.read_settings({**saved, name: value}, "a file"),
            lambda: config.read_settings(value, "a file"),
        ]
    )


# --- the command line ---------------------------------------------------------------------------------------


def try_command(files: Files, rng: random.Random) -> Callable[[], object]:
    args, flags, bare = some_command(files, rng)
    for _ in range(rng.choice([1, 1, 2, 4])):
        flag, word = rng.choice(flags), rng.choice(WORDS)
        if rng.random() < 0.2:
            word = near_miss(files, rng, flag) or word
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


def some_command(files: Files, rng: random.Random) -> tuple[list[str], list[str], list[str]]:
    "A command that is good, the options to spoil it with, and words that stand alone."
    out, which = files.folder / f"out-{rng.random()}", rng.random()
    few = ["--steps", "1", "--device", "cpu"]
    if which < 0.2:
        args = [
            "sample",
            "--weights",
            str(files.folder / "good/weights.safetensors"),
            *few,
            "--n",
            "1",
            "--out",
            str(out),
        ]
        flags = "--weights --label --guidance --n --first --format --steps --seed --device --out"
    elif which < 0.3:
        weights = ["--weights", str(files.folder / "digits.safetensors")]
        args = ["evaluate", *weights, *few, "--n", "100", "--cache", f"{out}-kept"]
        flags = "--weights --guidance --data --n --steps --cache --seed --device"
    else:
        args = ["train", *files.tiny, "--out", str(out)]
        flags = """--data --background --root --steps --minutes --batch-size --lr --schedule --T --predict
        --channels
        --init-from --seed --device --out"""
        return args, flags.split(), [*WORDS, *["--labels", "--resume"] * 10]
    return args, flags.split(), WORDS


def near_miss(files: Files, rng: random.Random, flag: str) -> str | None:
    "A value that almost fits."
    checkpoint, weights = (
        str(files.folder / "good" / f"{name}.safetensors") for name in ("checkpoint-1", "weights")
    )
    channels = ["1000000000", "16,1000000000", "16,16,16,16", "8,8", "16,", "99999999,8"]
    return {
        "--channels": rng.choice(channels),
        "--T": "1",
        "--lr": "1e300",
        "--batch-size": "9",
        "--n": "10001",
        "--device": "cuda:9",
        "--weights": checkpoint,
        "--init-from": checkpoint,
        "--label": "7",
        "--guidance": "1",
        "--cache": weights,
        "--background": "#12345",
        "--format": "gif",
    }.get(flag)


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
            attempt = make(files, rng)
            signal.alarm(SECONDS)
            try:
                refused = attempt()
                is_error = make is not try_function and isinstance(refused, int) and refused in (1, 2)
                counts["an error line" if is_error else "valid after all"] += 1
            except DOCUMENTED as e:
                if "command" in [f.name for f in frames(e)] or not str(e).strip():
                    problem = f"{type(e).__name__} past the command line, or without a word"
                    wrong.append(f"{make.__name__}, as input {counts.total()}: {problem}: {e}; at {place(e)}")
                counts[type(e).__name__] += 1
            except (Exception, Hang) as e:
                counts["another error"] += 1
                wrong.append(
                    f"{make.__name__}, as input {counts.total()}: {type(e).__name__}: {e}; at {place(e)}"
                )
            finally:
                signal.alarm(0)
            plt.close("all")
            for out in folder.glob("out-*"):
                shutil.rmtree(out, ignore_errors=True)
    finally:
        os.chdir(before)
        signal.signal(signal.SIGALRM, handler)
    return counts, wrong


def place(e: BaseException) -> list[str]:
    "The innermost calls."
    return [f"{f.name}:{f.line}" for f in frames(e)][-3:]


def frames(e: BaseException) -> Iterator[Any]:
    import traceback

    yield from traceback.extract_tb(e.__traceback__)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("n", type=int, nargs="?", default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as tmp:
        counts, wrong = malformed(wanted.n, wanted.seed, Path(tmp))
    for line in wrong[:30]:
        print(line[:600])
    valid, n = counts.pop("valid after all", 0), counts.total()
    kinds = ", ".join(f"{v:,} {k}" for k, v in sorted(counts.items()))
    print(
        f"malformed: {n:,} inputs, {n - len(wrong):,} documented errors ({kinds}), {len(wrong)} others;",
        end=" ",
    )
    print(f"{valid:,} more were valid after all")
    sys.exit(bool(wrong))
