"""`ddpm-abc demo`: a training on the bundled digits, and images drawn with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ddpm_abc.cli.errors import Refused
from ddpm_abc.cli.options import Command, options, retyped, typed
from ddpm_abc.cli.sample import SampleConfig, sample
from ddpm_abc.cli.train import train
from ddpm_abc.run.config import DEVICE, OUT, SEED, OtherSetting, TrainConfig
from ddpm_abc.run.settings import Name, Whole, setting, settings_of, shown

DEMO: dict[str, Any] = {  # steps or minutes, whichever end first
    "data": "digits", "labels": True, "steps": 6000, "minutes": 3, "preview": 200,
}  # fmt: skip
DRAWN: dict[str, Any] = {"n": 100, "in_turn": True, "guidance": 1.0}  # a column for each digit


@dataclass(frozen=True)
class DemoConfig:
    "What `demo` is told."

    seed: int = setting(0, Whole(0, 2**63 - 1, "less than 2^63"), SEED)
    device: str = setting("auto", Name(), DEVICE)
    out: str = setting("out", Name("FOLDER"), OUT)


@click.command("demo", cls=Command, example="ddpm-abc demo --out out")
@options(DemoConfig)
def command(
    **given: Any,  # the options by name, None for one that was not typed
) -> int:  # exit status
    "Train on the bundled digits for at most 3 minutes, then draw new ones, from 0 to 9."
    return demo(DemoConfig(**typed(given)))


def demo(
    config: DemoConfig,  # the seed, the device and the folder; all else is `DEMO` and `DRAWN`
) -> int:  # exit status
    "Train, or go on where the last demo stopped, and draw."
    from ddpm_abc.storage import checkpoints

    common: dict[str, Any] = {"seed": config.seed, "device": config.device, "out": config.out}
    asked = frozenset(settings_of(TrainConfig)) - {"shards"}  # a demo of an earlier release goes on, too
    told = TrainConfig(**DEMO, **common, given=asked)
    again = retyped("demo", config, out=config.out)
    begun = bool(checkpoints(config.out))
    if not begun and any(Path(config.out).glob(f"seed-{config.seed}-[0-9]*.png")):
        raise Refused(
            f"{config.out} holds images that were drawn before: give another --out, or move them away"
        )
    try:
        status = train(told, begun, again)
    except Refused as e:
        if isinstance(e.__cause__, OtherSetting) and e.__cause__.name not in common:
            other = e.__cause__
            was = f"{other.name} {shown(other.before)} instead of {shown(other.got)}"
            raise Refused(f"{config.out} holds another run, with {was}: give another --out") from e
        raise
    weights = str(Path(config.out) / "weights.safetensors")
    return status or sample(SampleConfig(weights=weights, **DRAWN, **common), overwrite=True)
