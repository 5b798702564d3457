"""How a command fails: in one line, with a status, and never with a traceback."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from ddpm_abc.cli.console import note, one_line, quiet, say
from ddpm_abc.run.settings import ConfigError

if TYPE_CHECKING:
    from ddpm_abc.distributed import Team


class Refused(click.UsageError):
    "A value that is wrong: exit status 2."

    def __init__(
        self,
        error: object,  # what is wrong: a message, or the exception that holds it
    ):
        super().__init__(words(error), click.get_current_context(silent=True))


class Failed(Refused):
    "Something that went wrong on the way: exit status 1."

    exit_code = 1


def flag(
    setting: str,  # its name in Python
) -> str:  # the option, with its dashes
    "How a setting is typed: --batch-size for batch_size."
    return f"--{setting.replace('_', '-')}"


def words(
    error: object,  # an exception, or a message
) -> str:  # one line; the name of the exception's type, if it says nothing
    "What an error says, in one line and with flags for settings."
    text = error.spelled(flag) if isinstance(error, ConfigError) else str(error)
    return one_line(text) or type(error).__name__


@contextmanager
def noting(
    action: Literal["always", "default"] = "default",  # always: say a warning each time that it comes
) -> Iterator[None]:  # a context manager
    "Each warning of the library is a note, at once; the same one is said once, or always."

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        note(message)

    with warnings.catch_warnings():
        warnings.simplefilter(action, UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def refusing() -> Iterator[None]:  # a context manager
    "What the library has against a value is said in one line, with status 2; each warning is a note."
    try:
        with noting("always"):
            yield
    except ConnectionError as e:  # another process is gone, or a server
        raise Failed(e) from e
    except (ValueError, RuntimeError, OSError) as e:
        raise Refused(e) from e


@contextmanager
def refusing_first(
    team: Team,  # the processes, all of which call this
) -> Iterator[None]:  # a context manager
    "The same in many processes: the first one goes first, and if it refuses, all do."
    from ddpm_abc.distributed import FirstFailed, first_goes_first

    try:
        with first_goes_first(team), refusing():
            yield
    except FirstFailed as e:  # why, the first one says
        raise Refused(e) from e


def report(
    error: click.ClickException,  # one of click's own, or what a command has raised
) -> int:  # exit status
    "Print the one line of an error. What is wrong for all, the first process says."
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "ddpm-abc"
    if quiet():
        if not isinstance(error, Failed):
            return error.exit_code
        where += f" (process {os.environ['RANK']})"
    say(f"{where}: error: {one_line(_reworded(error))}", error=True)
    return error.exit_code


def _reworded(error: click.ClickException) -> str:
    "What click has against the arguments, as everything else here says it."
    if isinstance(error, click.NoSuchOption):
        return f"unrecognized arguments: {error.option_name}"
    if isinstance(error, click.BadOptionUsage):
        takes_none = "not take" in error.message
        return f"{error.option_name} {'takes no value' if takes_none else 'needs a value'}"
    if isinstance(error, click.MissingParameter) and error.param is not None and error.ctx is not None:
        example = getattr(error.ctx.command, "example", "")
        return f"{error.param.human_readable_name} is missing: give it as in `{example}`"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{error.param.opts[0]} {error.message}"
    return error.message
