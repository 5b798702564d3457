"""`ddpm-abc train`."""
from __future__ import annotations
from typing import Any

import click

from ddpm_abc.cli.options import Command, options, typed
from ddpm_abc.run.config import TrainConfig

_RESUME = """go on from the newest whole checkpoint in --out, with the settings that its run began with; --steps and
--minutes stay if neither is given; --device and --root must be given again, and --data if the folder has moved"""


@click.command("train", cls=Command, example="ddpm-abc train --data digits --steps 4000 --out out")
@options(TrainConfig)
@click.option("--resume", is_flag=True, help=_RESUME)
def command(resume: bool, **given: Any) -> int:
    "Train a network, and write its weights, checkpoints and the loss."
    asked = typed(given)
    config=TrainConfig(**asked, given=frozenset(asked))
    print(config)
    return 0
