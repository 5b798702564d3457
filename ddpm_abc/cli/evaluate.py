"""`ddpm-abc evaluate`: images of a trained network, judged by real ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_abc.cli.console import note, say, watched
from ddpm_abc.cli.drawing import DrawConfig, draw_images, drawing_of, on_own_device
from ddpm_abc.cli.errors import Refused, flag, refusing_first
from ddpm_abc.cli.options import Command, options, typed
from ddpm_abc.run.config import CACHE, IMAGE_CACHE, ROOT, TIMEOUT
from ddpm_abc.run.settings import Flag, Name, Number, Whole, counted, setting, shown

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_abc.distributed import Team
    from ddpm_abc.inception import Inception
    from ddpm_abc.run.draw import Drawing
    from ddpm_abc.run.judge import Real

_DATA = """what to compare with: a folder of images that the network did not see, or the folder that it was
trained on, of which some were held out. For a network that draws digits: digits, 3,000 of the bundled ones,
or mnist, the 10,000 of the test set, downloaded"""
_N = """how many images, from 20 to 10000; with {data} digits at most 3000, and for a classifier that is
trained here at most half of the training images; compare only scores of the same N"""
_FEATURES = """which network's features are compared: classifier, packaged for digits, and for other images
trained here on their classes; or inception, that of published FIDs, which needs pip install "ddpm_abc[fid]"
and downloads its weights (95 MB) into {root}, or reads them from FILE with inception:FILE"""
_CACHE = """keep the drawn images in this .npz file, and go on from it next time: worthwhile for a run of
hours"""
_COMPILE = """compile the network first, with torch.compile: worth its minute for a run of hours, and
needs a C++ compiler"""

_BITS = """draw nothing; measure the bound on -log2 p of {n} real images, in bits per dimension (chapter 11);
{data} says which images"""
_OF_DRAWING = ("guidance", "sampler", "steps", "eta", "features", "cache", "compile")  # not for --bits


@dataclass(frozen=True)
class EvaluateConfig(DrawConfig):
    "What `evaluate` is told."

    data: str | None = setting(None, Name(), _DATA, otherwise="what the weights were trained on")
    root: str = setting("data", Name("FOLDER"), ROOT)
    image_cache: str = setting("", Name("FOLDER"), IMAGE_CACHE, otherwise=CACHE)
    features: str = setting("classifier", Name(), _FEATURES)
    n: int = setting(1000, Whole(20, 10_000), _N)
    cache: str | None = setting(None, Name("FILE"), _CACHE, otherwise="keep none")
    compile: bool = setting(False, Flag(), _COMPILE, otherwise="not compiled")
    bits: bool = setting(False, Flag(), _BITS, otherwise="draw and judge")
    timeout: float = setting(600.0, Number(0, metavar="S"), TIMEOUT, otherwise="600")


@click.command(
    "evaluate", cls=Command, example="ddpm-abc evaluate --weights out/weights.safetensors --n 1000"
)
@options(EvaluateConfig)
def command(
    **given: Any,  # the options by name, None for one that was not typed
) -> int:  # exit status
    "Draw images with a trained network, and compare them with real ones."
    given = typed(given)
    config = EvaluateConfig(**given)
    if config.bits:
        from ddpm_abc.cli.bits import measure

        if idle := [flag(name) for name in _OF_DRAWING if name in given]:
            raise Refused(f"--bits draws nothing: leave {', '.join(idle)} out")
        return measure(config)
    return evaluate(config)


def evaluate(
    config: EvaluateConfig,  # what to draw, and what to judge it by
) -> int:  # exit status
    "Draw images, and print how they compare with real ones. Of many processes the first one judges."
    from ddpm_abc.distributed import joined, noticing_loss

    with joined(config.timeout) as team, noticing_loss(team, config.timeout):
        with refusing_first(team):
            config = on_own_device(config, team)
            drawing = drawing_of(config)
            judge = None if team.rank else _judge_of(config, drawing)
            kept = None if team.rank else _kept(config, drawing)
        images, stopped = _images(config, drawing, kept, team)
    if team.rank == 0 and stopped:
        _say_stopped(config, len(images))
    elif judge:
        judge(images)
    return 128 + stopped if stopped else 0


def _kept(config: EvaluateConfig, drawing: Drawing) -> Tensor | None:
    "What an earlier run has drawn, if it is to be kept."
    from ddpm_abc.run.pictures import read_kept
    from ddpm_abc.run.setup import check_writable

    if not config.cache:
        return None
    check_writable(Path(config.cache).parent)
    return read_kept(config.cache, drawing.of, config.n)


def _judge_of(config: EvaluateConfig, drawing: Drawing) -> Callable[[Tensor], None]:
    "What takes the images and prints what it finds; all that it needs is read and looked at here."
    from ddpm_abc.run.setup import device_of

    compiler = any(map(shutil.which, ("g++", "clang++", "c++", "cl")))
    if config.compile and device_of(config.device).type == "cpu" and not compiler:
        raise Refused("--compile needs a C++ compiler, such as g++: install one, or leave --compile out")
    info = drawing.found.info
    if inception := _inception_of(config):
        return _judge_own(config, drawing, inception)
    data = config.data or ("digits" if _trained_on(info) in (None, "digits", "mnist") else None)
    if data in ("digits", "mnist"):
        _check_digits(config, drawing, data)
        real = _digits(config, data)
        return lambda images: _judge_digits(images, *real)
    return _judge_own(config, drawing)


def _inception_of(config: EvaluateConfig) -> Inception | None:
    "The network that published FIDs look through, if it is asked for."
    name, colon, path = config.features.partition(":")
    if name == "classifier" and not colon:
        return None
    if name != "inception" or colon and not path:
        told = shown(config.features)
        raise Refused(f"--features must be classifier, inception or inception:FILE, got {told}")
    from ddpm_abc.inception import Inception
    from ddpm_abc.run.setup import device_of

    return Inception(path, config.root, progress=watched()).to(device_of(config.device))


def _trained_on(info: dict[str, Any]) -> str | None:
    "The data set of the run that made the weights, if they say so."
    run, text = info.get("run"), str(info.get("data", ""))
    if isinstance(run, dict) and isinstance(run.get("data"), str):
        return run["data"]
    return text if text.startswith(("folder ", "Fashion-MNIST")) else None


def _check_digits(config: EvaluateConfig, drawing: Drawing, data: str) -> None:
    "That what these weights draw can be judged by digits."
    from ddpm_abc.classifier import HELD_OUT

    if (shape := drawing.net.image_shape) != (1, 28, 28):
        drawn = "x".join(map(str, shape))
        raise Refused(
            f"{config.weights} draws images of {drawn}, and digits are 1x28x28: give another --data"
        )
    _check_origin(config.weights, drawing.found.info)
    if data == "digits" and config.n > len(HELD_OUT):
        raise Refused(
            f"--n must be at most {len(HELD_OUT)} with --data digits, got {config.n}: use --data mnist"
        )


def _check_origin(name: str, info: dict[str, Any]) -> None:
    "That weights were trained on digits, if they say what they were trained on."
    was, text = _trained_on(info), str(info.get("data", ""))
    if was in ("digits", "mnist") or text.startswith(("digits", "MNIST")):
        return
    if was is not None:
        what = shown(text or was)
        raise Refused(
            f"{name} was trained on {what}, which digits cannot judge: leave --data out, or name others"
        )
    note(f"{name} does not say that it was trained on digits, and is judged by digits")


def _digits(config: EvaluateConfig, name: str) -> tuple[Tensor, Tensor | None]:
    "Digits to compare with: those of training, and those of the test set if they are asked for."
    from ddpm_abc import data

    if name == "digits":
        return data.to_unit(data.digits().in_memory()), None
    train, test = (data.to_unit(data.mnist(config.root, part).in_memory()) for part in (True, False))
    return train, test


def _images(config: EvaluateConfig, drawing: Drawing, kept: Tensor | None, team: Team) -> tuple[Tensor, int]:
    "The images to judge, 8 bits a pixel as the real ones have; and the signal that ended it, or 0."
    import torch

    from ddpm_abc.device import describe, prepare
    from ddpm_abc.run.pictures import write_kept

    net = prepare(drawing.net, config.device)
    say(describe(net))
    if config.compile:
        net.compile()
    parts = [torch.empty(0, *net.image_shape, dtype=torch.uint8, device="cpu") if kept is None else kept]
    before = int(team.pooled(torch.tensor([len(parts[0])], device="cpu"))[0][0])  # the first process's

    def keep(first: int, images: Tensor) -> None:
        if team.rank:
            return
        parts.append(images)
        if config.cache:
            write_kept(config.cache, torch.cat(parts), drawing.of)

    done, stopped = draw_images(drawing, config.n - before, before, keep, team=team)
    if before:
        say(f"{counted(done, 'image')} drawn now, and {before:,} from {config.cache}")
    return torch.cat(parts), stopped


def _say_stopped(config: EvaluateConfig, done: int) -> None:
    where = (
        f"kept in {config.cache}; the same command goes on"
        if config.cache
        else "lost; --cache FILE keeps them"
    )
    say(f"stopped: {done} of {config.n} images are drawn, and {where}", error=True)


def _judge_digits(digits: Tensor, train: Tensor, test: Tensor | None) -> None:
    from ddpm_abc.classifier import CLASSIFIER_SHA256, HELD_OUT
    from ddpm_abc.data import to_unit
    from ddpm_abc.metrics import evaluate, fid_and_floor, reference_digits, table

    generated, n = to_unit(digits), len(digits)
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


def _judge_own(
    config: EvaluateConfig, drawing: Drawing, net: Inception | None = None
) -> Callable[[Tensor], None]:
    "A judge for images that are no digits, or for any through Inception's features."
    from ddpm_abc.run.judge import FEWEST, LARGEST, can_compare, can_measure, real_for

    where = {"root": config.root, "image_cache": config.image_cache}
    real = real_for(drawing.found.info, config.weights, config.data, **where, progress=watched())
    say(real.held.describe().replace("data:", "compared with:"))
    for sentence in real.held.notes:
        note(sentence)
    drawn, held = drawing.net.image_shape, tuple(real.held.images.shape[1:])
    if drawn != held:
        shapes = ["x".join(map(str, shape)) for shape in (drawn, held)]
        raise Refused(f"{config.weights} draws images of {shapes[0]}, and those of --data are {shapes[1]}")
    if real.train is None:
        theirs = f"in {shown(_trained_on(drawing.found.info))}, to look for copies among, are gone or changed"
        raise Refused(f"the images that {config.weights} was trained on, {theirs}: put them back")
    n, m = len(real.train), len(real.held)
    if net and not can_compare(real, config.n):
        need = f"{config.n + 1} images of the training, and there are {n}; 20 held out, and there are {m}"
        raise Refused(f"--n {config.n} needs {need}: give a smaller --n, or other --data")
    if not can_measure(real, config.n, net):
        need = f"2 classes or more, {max(FEWEST, 2 * config.n)} images to train on and 20 held out"
        here = f"here {len(real.train.classes)}, {n:,} and {m:,}"
        each = f"from 8x8 to {LARGEST:,} numbers each"
        note(f"no FID: its judge is trained on the same images, and needs {need} ({here}), {each}")
        if can_compare(real, config.n):
            note("--features inception needs no classes, and takes any size")
    return lambda images: _say_judgement(images, real, net)


def _say_judgement(images: Tensor, real: Real, net: Inception | None) -> None:
    from ddpm_abc.metrics import table
    from ddpm_abc.run.judge import judge

    found = judge(images, real, net=net)
    share = f"{found.near_copies:.1%} of the {len(images):,} images"
    among = counted(found.looked_through, "training image")
    among = f"of {among} looked through, and of {len(real.held):,} held out"
    if len(real.held) < 100:
        among += ", so few that the two nearest of them alone set the limit"
    say(f"near copies: {share} lie closer to a training image than 99% of those held out ({among})")
    if found.report is None or found.floor is None:
        return
    say(table({"real, of the training": found.floor, "these weights": found.report}))
    if net:
        from ddpm_abc.inception import INCEPTION_SHA256

        say(f"seen by Inception-v3, 2,048 features, weights with sha256 {INCEPTION_SHA256[:12]}...")
        if (few := min(len(images), len(real.held))) <= 2048:
            note(f"2,048 features of {few:,} images give too large a FID: read it beside its floor")
    else:
        seen = f"a classifier trained on {found.looked_through - len(images):,} of the training images"
        knows = "does not know all the classes of those held out"
        if found.accuracy is not None:
            knows = f"knows the class of {found.accuracy:.1%} of those held out"
        say(f"seen by {seen}; it {knows}")
    say("compare only figures of the same images and N; chapter 06 explains each column")
