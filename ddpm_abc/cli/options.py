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

    def __init__(self, kind: Kind):
        self.kind = kind
        self.name = kind.metavar.lower() or "flag"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value[:2] == "--":
            self.fail(f"needs a value, got {value}", param, ctx)
        try:
            return self.kind.parse(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if isinstance(self.kind, Choice):
            return [CompletionItem(name) for name in self.kind.names if name.startswith(incomplete)]
        files = {"FILE": "file", "FOLDER": "dir"}
        return (
            [CompletionItem(incomplete, type=files[self.kind.metavar])] if self.kind.metavar in files else []
        )


def options(config: Any) -> Callable[[Any], Any]:
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


def typed(given: dict[str, Any]) -> dict[str, Any]:
    "The options that were typed."
    return {name: value for name, value in given.items() if value is not None}


def retyped(command: str, config: Any, **changed: Any) -> str:
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
        name: str,
        *,
        example: str = "",
        groups: Mapping[str, Iterable[str]] | None = None,  # headings of the help, and the names under each
        **kwargs: Any,
    ):
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "max_content_width": 100}
        self.example, self.groups = example, groups or {}
        epilog = f"\b\nExample:\n  {example}"
        super().__init__(name, **{"context_settings": settings, "epilog": epilog, **kwargs})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
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

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        "Write each option under the first heading that names it, and the others under the last."
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        left = {p.name: record for p in options if (record := p.get_help_record(ctx))}
        for heading, names in {**self.groups, "Options": list(left)}.items():
            if found := [left.pop(name) for name in names if name in left]:
                with formatter.section(heading):
                    formatter.write_dl(found)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (
            OSError,
            FloatingPointError,
            MemoryError,
            RuntimeError,
        ) as e:  # the disk, the numbers, the device
            raise Failed(e) from e
