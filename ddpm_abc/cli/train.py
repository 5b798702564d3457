"""`ddpm-abc train`: a training run from its first step to its last, or to the signal that stops it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from ddpm_abc.cli.console import note, progress, say, watched
from ddpm_abc.cli.errors import Failed, Refused, flag, noting, refusing, words
from ddpm_abc.cli.options import Command, SettingType, options, typed
from ddpm_abc.run.config import LIMITS, RECIPES, DataConfig, NetConfig, ScaleConfig, TrainConfig
from ddpm_abc.run.settings import Choice, as_typed, counted, settings_of
from ddpm_abc.run.signals import noted_signals

if TYPE_CHECKING:
    from ddpm_abc.run.run import Run

_RESUME = """go on from the newest whole checkpoint in --out, with the settings that its run began with;
--steps and --minutes stay if neither is given. Not kept, and to be given again: --device, --root,
--image-cache, --preview, --log, --accumulate and --timeout; and --data if its folder has moved"""
_RECIPE = """several settings at once: paper, those of chapters 03 to 05, or ddpm-cifar10, the paper's own for
CIFAR-10; options that are given besides take precedence (default: none)"""

_STOPPING = "stopping after this step, and saving; a second Ctrl-C ends it at once, and saves nothing more"

_GROUPS = {  # of the help: an option stands in the first one that names it
    "What most people give": ("data", "steps", "minutes", "out", "size", "colour", "recipe", "resume"),
    "Images": settings_of(DataConfig),
    "Network and noise": settings_of(NetConfig),
    "Training": ("batch_size", *TrainConfig.__annotations__),
    "Many processes, little memory": settings_of(ScaleConfig),
}


@click.command(
    "train", cls=Command, groups=_GROUPS, example="ddpm-abc train --data digits --steps 4000 --out out"
)
@options(TrainConfig)
@click.option("--recipe", type=SettingType(Choice(tuple(RECIPES))), help=_RECIPE)
@click.option("--resume", is_flag=True, help=_RESUME)
def command(
    resume: bool,  # go on from the newest checkpoint in --out
    recipe: str | None,  # a name in `RECIPES`, if any
    **given: Any,  # the options by name, None for one that was not typed
) -> int:  # exit status
    "Train a network, and write its weights, checkpoints and the loss."
    asked = RECIPES.get(recipe or "", {}) | typed(given)
    with refusing():
        config = TrainConfig(**asked, given=frozenset(asked))
    return train(config, resume, _again(config))


def train(
    config: TrainConfig,  # what the run is told
    resume: bool,  # go on from the newest checkpoint in its folder
    again: str,  # the command that goes on with it
) -> int:  # exit status
    "Train, save and say what came of it."
    from ddpm_abc.run.opening import RunExists, open_run

    with ExitStack() as stack:
        with refusing():
            try:
                run = stack.enter_context(open_run(config, resume, progress=watched()))
            except RunExists as e:
                raise Refused(
                    f"{e.path} is there already: go on from it with `{again}`, or give another --out"
                ) from e
        _introduce(run)
        return _finished(run) if run.progress() >= 1 else _train_on(run, again)


def _finished(run: Run) -> int:
    from ddpm_abc.run.run import save_average

    try:
        save_average(run)  # it may have been killed after its last checkpoint
    except OSError as e:
        raise Failed(words(e)) from e
    steps = run.config.steps
    than = f", more than --steps {steps}" if steps and run.step > steps else ""
    more = f"to train on, give `{_again(run.config)}` more --steps or --minutes"
    say(f"{run.path} has done its {counted(run.step, 'step')} in {run.seconds:.0f} s{than}; {more}")
    return 0


def _again(config: TrainConfig) -> str:
    "The command that goes on with a run: what its checkpoints do not keep must be given again."
    names = sorted(n for n, s in settings_of(config).items() if not s.kept and n not in (*LIMITS, "out"))
    changed = [n for n in names if getattr(config, n) != settings_of(config)[n].default]
    rest = [word for n in changed for word in (flag(n), as_typed(getattr(config, n)))]
    program = ["ddpm-abc"]
    if n := os.environ.get("LOCAL_WORLD_SIZE"):
        program = ["torchrun", "--nproc-per-node", n, "-m", "ddpm_abc", "--"]  # or --log would be torchrun's
    return shlex.join([*program, "train", "--out", config.out, "--resume", *rest])


def _introduce(run: Run) -> None:
    "Say what was chosen: the data, the network, the device, and where the run begins."
    from ddpm_abc.device import describe
    from ddpm_abc.run.setup import memory_for

    say(run.data.describe())
    for sentence in run.data.notes:
        note(sentence)
    if n := len(run.held):
        say(f"held out, to measure on and not to train on: {n:,} more")
    say(describe(run.net))
    if run.config.labels:
        say(f"the network is told which of the {len(run.data.classes)} classes each image has")
    batch, n = run.config.batch_size, run.team.size
    need = memory_for(run.net, run.config, run.data, n) / 1e6
    each = f" in each of {n} processes" if n > 1 else ""
    say(f"memory: at least {need:,.0f} MB{each} for a step of {counted(batch, 'image')}")
    if run.step:
        say(f"going on from {run.path}")
    elif run.config.init_from:
        say(f"beginning with the weights of {run.config.init_from}")


def _train_on(run: Run, again: str) -> int:
    from ddpm_abc.run.report import write_report
    from ddpm_abc.run.run import draw_run, newest, save_run

    start, before = run.step, run.seconds
    many = "RANK" in os.environ  # torchrun passes Ctrl-C on: no second one is heard
    with noted_signals(once=many, reply="" if many else _STOPPING) as stop:
        try:
            _steps(run, stop)
            n, seconds = run.step - start, run.seconds - before
            save_run(run)
        except (
            OSError,
            FloatingPointError,
            ValueError,
            RuntimeError,
        ) as e:  # the disk, the numbers, the device
            raise Failed(f"{words(e).rstrip('.')}. {newest(run)}") from e
        except (KeyboardInterrupt, SystemExit):  # a second signal
            say(newest(run), error=True)
            raise
        if run.team.rank:
            return 128 + run.stopped if run.stopped and run.progress() < 1 else 0
        try:
            with noting():
                drawn = draw_run(run)
                page = write_report(run) if run.records else None
        except (KeyboardInterrupt, SystemExit):  # a second signal, when all but the pictures is saved
            say(f"{newest(run)}; go on with: {again}", error=True)
            raise
    _report(run, n, seconds, drawn)
    if page:
        say(f"all of it on one page, to open in a browser: {page}")
    elif every := run.config.preview:
        say(f"no report.html: it shows what is measured every {counted(every, 'step')} (--preview)")
    if run.stopped and run.progress() < 1:
        of = f" of {run.config.steps:,}" if run.config.steps else ""
        say(f"stopped after step {run.step:,}{of}; go on with: {again}", error=True)
        return 128 + run.stopped  # 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP
    return 0


def _steps(run: Run, stop: Sequence[int]) -> None:
    "Train until the steps or the time are used up, or until one of the processes is told to stop."
    from ddpm_abc.run.run import steps

    with noting(), progress(run.config.steps, "training", run.step) as bar:
        for _ in steps(run, stop):
            if run.losses:
                bar.set_postfix(loss=f"{fmean(run.losses[-100:]):.4f}", refresh=False)
            bar.update()


def _report(run: Run, n: int, seconds: float, drawn: bool) -> None:
    last = run.losses[-max(1, min(500, len(run.losses) // 10)) :]
    batch, seconds = run.config.batch_size, max(seconds, 1e-3)
    speed = f"{n * batch / seconds:.0f} images/s"
    loss = f"mean training loss of the last {len(last)}: {fmean(last):.4f}"
    remark = f"(predicting zero gives about 1 at most; seed {run.config.seed}, weights not averaged)"
    done = f"{counted(n, 'step')} of {counted(batch, 'image')} in {seconds:.0f} s"
    say(f"{done}, {speed}; {loss} {remark}")
    say(f"averaged weights, to sample from and to share: {run.out / 'weights.safetensors'}")
    say(f"checkpoint, to go on from: {run.path}")
    picture = f"{run.out / 'loss.png'} and " if drawn else ""
    say(f"loss of each step: {picture}{run.out / 'loss.csv'}")
