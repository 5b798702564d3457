"""Options of the commands, made from declared settings: see `ddpm_abc.run.settings`."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from ddpm_abc.cli.errors import Failed, flag
from ddpm_abc.run.settings import Choice, Flag, Kind, as_typed, help_of, option_for, settings_of


class SettingType(click.ParamType):
    "A declared kind of value, as click takes it."

    def __init__(
        self,
        kind: Kind,  # what a setting was declared with
    ):
        self.kind = kind
        self.name = kind.metavar.lower() or "flag"

    def convert(
        self,
        value: Any,  # as it was typed
        param: click.Parameter | None,  # its option, for the message
        ctx: click.Context | None,  # of the command, for the message
    ) -> Any:  # what the setting becomes
        "Read a value; an error says what would be right."
        if value[:2] == "--":
            self.fail(f"needs a value, got {value}", param, ctx)
        try:
            return self.kind.parse(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)

    def shell_complete(
        self,
        ctx: click.Context,  # not looked at
        param: click.Parameter,  # not looked at
        incomplete: str,  # what has been typed of the value
    ) -> list[CompletionItem]:  # words that fit, or an item that asks the shell for its files; or none
        "What the shell may offer after the option: the words of a choice, or names of files or folders."
        if isinstance(self.kind, Choice):
            return [CompletionItem(name) for name in self.kind.names if name.startswith(incomplete)]
        files = {"FILE": "file", "FOLDER": "dir"}
        return (
            [CompletionItem(incomplete, type=files[self.kind.metavar])] if self.kind.metavar in files else []
        )


def options(
    config: Any,  # a dataclass whose fields were declared with `setting`
) -> Callable[[Any], Any]:  # a decorator of the command's function
    "Give a command an option for each setting of a configuration; those that are not typed are None."

    def add(function: Any) -> Any:
        for name, s in reversed(settings_of(config).items()):
            kind: dict[str, Any] = {"type": SettingType(s.kind)}
            spelled = flag(name)
            if isinstance(s.kind, Flag):
                kind, spelled = {"is_flag": True}, f"{spelled}/{flag(s.kind.no)}" if s.kind.no else spelled
            kind["metavar"] = s.kind.metavar or None
            function = click.option(spelled, name, default=None, help=help_of(s, flag), **kind)(function)
        return function

    return add


def typed(
    given: dict[str, Any],  # a value for each option; None for one that was not typed
) -> dict[str, Any]:  # those that are not None
    "The options that were typed."
    return {name: value for name, value in given.items() if value is not None}


def retyped(
    command: str,  # its name, such as sample
    config: Any,  # its settings, as an object of their dataclass
    **changed: Any,  # settings by name that take the place of those
) -> str:  # quoted for a shell; what has its default is not said, unless it is changed
    "The command line that gives these settings, some of them changed; None leaves one out."
    declared = settings_of(config)
    values = {
        name: getattr(config, name) for name, s in declared.items() if getattr(config, name) != s.default
    }
    words = ["ddpm-abc", command]
    for name, value in {**values, **changed}.items():
        kind = declared[name].kind
        if value is None or (isinstance(kind, Flag) and not (value or kind.no)):
            continue
        option = flag(option_for(name, kind, value))
        words += [option] if isinstance(kind, Flag) else [option, as_typed(value)]
    return shlex.join(words)


class Command(click.Command):
    "A command that names what it does not know, and whose troubles on the way are said in one line."

    def __init__(
        self,
        name: str,  # the word that calls it
        *,
        example: str = "",  # a whole command line, for help and messages
        groups: Mapping[str, Iterable[str]] | None = None,  # headings of the help, and the names under each
        **kwargs: Any,  # what every command of click takes
    ):
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "max_content_width": 100}
        self.example, self.groups = example, groups or {}
        epilog = f"\b\nExample:\n  {example}"
        super().__init__(name, **{"context_settings": settings, "epilog": epilog, **kwargs})

    def parse_args(
        self,
        ctx: click.Context,  # of this command, to hold the values
        args: list[str],  # the words after its name
    ) -> list[str]:  # what is left over: nothing, unless a shell asks how a word goes on
        "Read the words after the command; an error says which words it does not know, and what is near."
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as e:
            e.ctx = e.ctx or ctx
            raise
        if ctx.args and not ctx.resilient_parsing:
            known = [name for param in self.params for name in param.opts]
            near = difflib.get_close_matches(ctx.args[0].partition("=")[0], known, 1, 0.75)
            hint = f"; is it {near[0]}?" if near else ""
            raise click.UsageError(f"unrecognized arguments: {' '.join(ctx.args)}{hint}", ctx)
        return rest

    def format_options(
        self,
        ctx: click.Context,  # of this command
        formatter: click.HelpFormatter,  # holds the help written so far
    ) -> None:
        "Write each option under the first heading that names it, and the others under the last."
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        left = {p.name: record for p in options if (record := p.get_help_record(ctx))}
        for heading, names in {**self.groups, "Options": list(left)}.items():
            if found := [left.pop(name) for name in names if name in left]:
                with formatter.section(heading):
                    formatter.write_dl(found)

    def invoke(
        self,
        ctx: click.Context,  # holds the values of the options
    ) -> Any:  # exit status
        "Run the command. Raises `Failed` for what goes wrong on the way."
        try:
            return super().invoke(ctx)
        except (
            OSError,
            FloatingPointError,
            MemoryError,
            RuntimeError,
        ) as e:  # the disk, the numbers, the device
            raise Failed(e) from e
