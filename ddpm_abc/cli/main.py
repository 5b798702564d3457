"""The group of commands, and `main`, which runs one of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module

import click

from ddpm_abc import __version__
from ddpm_abc.cli.console import say
from ddpm_abc.cli.errors import report

COMMANDS = ("demo", "train", "sample", "evaluate", "export")  # each in a module of its name
SHARED = ("train", "sample", "evaluate")  # those that many processes can share


class Group(click.Group):
    "The commands, each imported when it is asked for."

    def list_commands(
        self,
        ctx: click.Context,  # not looked at: the names are always the same
    ) -> list[str]:  # in the order of the help
        "The names of all commands."
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # not looked at
        cmd_name: str,  # a name in `COMMANDS`, or any other word
    ) -> click.Command | None:  # None for another word
        "The command of that name, from its module."
        return import_module(f"ddpm_abc.cli.{cmd_name}").command if cmd_name in COMMANDS else None

    def resolve_command(
        self,
        ctx: click.Context,  # of the group
        args: list[str],  # the words from the command's name on
    ) -> tuple[str | None, click.Command | None, list[str]]:
        "The command's name, the command, and the rest of the words; an error names all commands."
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            known = f"{', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}"
            raise click.UsageError(f"unknown command {args[0]!r}: use {known}", ctx)
        if args[0] not in SHARED and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            shared = f"{', '.join(SHARED[:-1])} and {SHARED[-1]}"
            alone = f"{args[0]} is for one process: start it without torchrun, which is for {shared}"
            raise click.UsageError(alone, ctx)
        return super().resolve_command(ctx, args)


@click.group(
    "ddpm-abc",
    cls=Group,
    invoke_without_command=True,
    context_settings={"max_content_width": 100},
    epilog="""Start with `ddpm-abc demo`: it trains for some minutes, then draws digits.
    Each command explains itself: `ddpm-abc train --help`.""",
)
@click.version_option(__version__, prog_name="ddpm-abc", message="%(prog)s %(version)s")
@click.pass_context
def group(
    ctx: click.Context,  # knows whether a command was named
) -> None:
    "Train a small diffusion model (DDPM) and draw images with it."
    if ctx.invoked_subcommand is None:
        say(ctx.get_help(), error=True)
        ctx.exit(2)


def main(
    argv: Sequence[str] | None = None,  # words after the program's name; None: those that were typed
) -> int:  # exit status: 0 done, 1 failed on the way, 2 a wrong value, 128 and its number after a signal
    """Run `ddpm-abc`. No wrong value, no full disk and no Ctrl-C ends in a traceback.

    The status is 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP.
    """
    arguments = None if argv is None else list(argv)
    try:
        return group.main(arguments, prog_name="ddpm-abc", standalone_mode=False) or 0
    except click.ClickException as e:
        return report(e)
    except (KeyboardInterrupt, click.Abort):
        say("stopped", error=True)
        return 130
    except SystemExit as e:  # a second signal, or the shell's question for completions
        return int(e.code or 0)
