"""`ddpm-abc evaluate`: digits of a trained network, judged by real ones."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_abc.cli.console import note, say
from ddpm_abc.cli.drawing import DrawConfig, draw_images, drawing_of
from ddpm_abc.cli.errors import Refused, refusing
from ddpm_abc.cli.options import Command, options, typed
from ddpm_abc.run.settings import Choice, Flag, Name, Whole, setting, shown

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_abc.run.draw import Drawing

_DATA = """what to compare with: digits, 3,000 of the bundled ones, or mnist, the 10,000 images of the test
set, downloaded"""
_N = "how many digits, from 100 to as many as they are compared with; compare only figures of the same N"
_CACHE = """keep the digits there as they come, an .npz of 8 bits a pixel, and go on from there if it is
begun: for a run of hours"""
_COMPILE = """compile the network first, with torch.compile: worth its minute for a run of hours, and
needs a C++ compiler"""


@dataclass(frozen=True)
class EvaluateConfig(DrawConfig):
    "What `evaluate` is told."

    data: str = setting("digits", Choice(("digits", "mnist")), _DATA)
    root: str = setting("data", Name("FOLDER"), "where mnist is, or will be downloaded to")
    n: int = setting(1000, Whole(100, 10_000), _N)
    cache: str | None = setting(None, Name("FILE"), _CACHE, otherwise="keep none")
    compile: bool = setting(False, Flag(), _COMPILE, otherwise="not compiled")


@click.command(
    "evaluate", cls=Command, example="ddpm-abc evaluate --weights out/weights.safetensors --n 1000"
)
@options(EvaluateConfig)
def command(**given: Any) -> int:
    "Draw digits with a trained network, and judge them by real ones."
    return evaluate(EvaluateConfig(**typed(given)))


def evaluate(config: EvaluateConfig) -> int:  # exit status
    "Draw digits, and print how they compare with real ones."
    from ddpm_abc.run.draw import read_kept
    from ddpm_abc.run.setup import check_writable
    from ddpm_abc.unet import describe, prepare

    with refusing():
        drawing = drawing_of(config)
        _check(config, drawing)
        real = _real(config)
        kept = None
        if config.cache:
            check_writable(Path(config.cache).parent)
            kept = read_kept(config.cache, drawing.of, config.n)
    net = prepare(drawing.net, config.device)
    say(describe(net))
    if config.compile:
        net.compile()
    digits, stopped = _digits(config, drawing, kept)
    if stopped:
        return _stopped(config, len(digits), stopped)
    _judge(config, digits, *real)
    return 0


def _check(config: EvaluateConfig, drawing: Drawing) -> None:
    "That this command can judge what these weights draw."
    from ddpm_abc.classifier import HELD_OUT
    from ddpm_abc.run.setup import device_of

    net = drawing.net.config
    if (net["in_channels"], net["size"]) != (1, 28):
        drawn = f"{net['in_channels']}x{net['size']}x{net['size']}"
        raise Refused(f"{config.weights} draws images of {drawn}: this command judges digits of 1x28x28")
    _check_origin(config.weights, drawing.found.info)
    compiler = any(map(shutil.which, ("g++", "clang++", "c++", "cl")))
    if config.compile and device_of(config.device).type == "cpu" and not compiler:
        raise Refused("--compile needs a C++ compiler, such as g++: install one, or leave --compile out")
    if config.data == "digits" and config.n > len(HELD_OUT):
        most = f"at most {len(HELD_OUT)} with --data digits"
        raise Refused(f"--n must be {most}, got {config.n}: use --data mnist")


def _check_origin(name: str, info: dict[str, Any]) -> None:
    "That weights were trained on digits, if they say what they were trained on."
    run, data = info.get("run"), info.get("data")
    trained_on = run.get("data") if isinstance(run, dict) else None
    if trained_on in ("digits", "mnist"):
        return
    text = shown(data if isinstance(data, str) else trained_on)
    if text.startswith(("digits", "MNIST")):
        return
    if trained_on is not None or text.startswith(("folder ", "Fashion-MNIST")):
        remedy = "give weights trained on digits or mnist"
        raise Refused(f"{name} was trained on {text}, and this command judges digits: {remedy}")
    note(f"{name} does not say that it was trained on digits, and this command judges digits")


def _real(config: EvaluateConfig) -> tuple[Tensor, Tensor | None]:
    "Digits to compare with: those of training, and those of the test set if they are asked for."
    from ddpm_abc import data

    if config.data == "digits":
        return data.to_unit(data.digits().images), None
    train, test = (data.to_unit(data.mnist(config.root, part).images) for part in (True, False))
    return train, test


def _digits(config: EvaluateConfig, drawing: Drawing, kept: Tensor | None) -> tuple[Tensor, int]:
    "The digits to judge, 8 bits a pixel as the real ones have; and the signal that ended it, or 0."
    import torch

    from ddpm_abc.data import to_uint8
    from ddpm_abc.run.draw import write_kept

    parts = [] if kept is None else [kept]
    before = sum(map(len, parts))

    def keep(first: int, x: Tensor) -> None:
        parts.append(to_uint8(x))
        if config.cache:
            write_kept(config.cache, torch.cat(parts), drawing.of)

    done, stopped = draw_images(drawing, config.n - before, before, keep)
    if before:
        say(f"{done:,} images are new, and {before:,} are from {config.cache}")
    return torch.cat(parts) if parts else torch.empty(0), stopped


def _stopped(config: EvaluateConfig, done: int, signal: int) -> int:
    where = (
        f"kept in {config.cache}; the same command goes on"
        if config.cache
        else "lost; --cache FILE keeps them"
    )
    say(f"stopped: {done} of {config.n} digits are drawn, and {where}", error=True)
    return 128 + signal


def _judge(config: EvaluateConfig, digits: Tensor, train: Tensor, test: Tensor | None) -> None:
    from ddpm_abc.classifier import CLASSIFIER_SHA256, HELD_OUT
    from ddpm_abc.data import to_unit
    from ddpm_abc.metrics import evaluate, fid_and_floor, reference_digits, table

    generated, n = to_unit(digits), config.n
    seen = f"seen by the classifier with sha256 {CLASSIFIER_SHA256[:12]}..."
    if test is None:
        reference = reference_digits(train)
        floor = evaluate(train[HELD_OUT[:n]], reference)
        say(table({"real digits, held out": floor, "these weights": evaluate(generated, reference)}))
        say(f"{seen}, against 3,000 of the bundled digits; chapter 06 explains each column")
        return
    fid, lowest = fid_and_floor(generated, train, test)
    say(f"FID of {n:,} digits against the 10,000 of MNIST's test set: {fid:.3f}")
    ratio = fid / lowest
    say(f"the same of {n:,} real digits of the training set, the floor: {lowest:.3f}; ratio {ratio:.2f}")
    say(f"{seen}; chapter 06 explains FID and its floor")
