"""Command groups: imported only when used, and shown as plain, grouped help.

The help is written by Typer's plain formatter. Its rich one takes 0.3 seconds to import, on every `--help`.
"""

import importlib
import importlib.util
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, override

import typer
from typer.core import TyperCommand, TyperGroup

_HEADING = re.compile(r"^(\S[^:\n]*:)(?=$| )", re.MULTILINE)
# What Typer writes for a Python type that has no name of its own here, and what a person reads.
_TYPE = re.compile(r"<(?:list\[)?(\w+)(?: range)?\]?>")
_TYPE_NAMES = {"str": "TEXT", "Path": "PATH"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: `module` holds an `App` called `app`. `is_optional` hides it where the module does not exist."""

    name: str
    module: str
    help: str
    panel: str
    is_optional: bool = False

    @property
    def exists(self) -> bool:
        """Whether the command's module is installed."""
        return not self.is_optional or importlib.util.find_spec(self.module) is not None


def _with_headings(text: str) -> str:
    """Return the help with bold headings where a person reads it on a terminal that shows them."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return _HEADING.sub("\x1b[1m\\1\x1b[0m", text)


def _write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Write arguments, then options under the heading that each names."""
    panels: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            is_argument = parameter.param_type_name == "argument"
            default = "Arguments" if is_argument else "Options"
            name = _argument_name(record[0]) if is_argument else _TYPE.sub(_type_name, record[0])
            panels[getattr(parameter, "rich_help_panel", None) or default].append((name, record[1]))
    for name in sorted(panels, key=lambda name: (name != "Arguments", name != "Options")):
        with formatter.section(name):
            formatter.write_dl(panels[name])


def _type_name(found: re.Match[str]) -> str:
    return _TYPE_NAMES.get(found[1], "N")


def _argument_name(text: str) -> str:
    name, _, kind = text.partition(" ")
    return f"{name.upper()} {_TYPE.sub('', kind)}".rstrip()


class Command(TyperCommand):
    """A command whose help groups its options."""

    @override
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [
            piece.upper().translate({ord("{"): None, ord("}"): None}) for piece in super().collect_usage_pieces(ctx)
        ]

    @override
    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self, ctx, formatter)

    @override
    def get_help(self, ctx: Any) -> str:
        return _with_headings(super().get_help(ctx))


class Group(TyperGroup):
    """A group whose help groups its commands; called alone it shows that help."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            print(self.get_help(ctx))
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    @override
    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            line = (command.help or "").strip().partition("\n")[0]
            panels[command.rich_help_panel or "Commands"].append((name, line))
        for title, rows in panels.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    @override
    def get_help(self, ctx: Any) -> str:
        return _with_headings(super().get_help(ctx))


class LazyGroup(Group):
    """The group over `entries`, a class attribute of the subclass that names them."""

    entries: Sequence[Entry] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for entry in self.entries:
            if entry.exists:
                # What the overview shows. Their help is repeated here; a test holds it equal to the command's own.
                self.add_command(TyperCommand(entry.name, help=entry.help, rich_help_panel=entry.panel))

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        entry = next((entry for entry in self.entries if entry.name == name), None)
        return name, (load(entry) if entry else command), rest


def load(entry: Entry) -> Any:
    """Return the real command of `entry`."""
    command = typer.main.get_command(importlib.import_module(entry.module).app)
    command.name = entry.name
    return command


class App(typer.Typer):
    """A `typer.Typer` that makes commands and groups of ours. With `help` it is a group, else a single command."""

    def __init__(self, *, help: str | None = None, cls: type[Group] = Group, has_completion: bool = False) -> None:  # noqa: A002 - Typer's own name
        given: dict[str, Any] = {"help": help} if help else {}
        super().__init__(
            cls=cls,
            add_completion=has_completion,
            rich_markup_mode=None,
            context_settings={"help_option_names": ["-h", "--help"]},
            **given,
        )
        if help:
            # A callback makes it a group even with one command.
            self.callback()(_nothing)

    @override
    def command[F: Callable[..., Any]](self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        return super().command(name, **{"cls": Command, **options})


def _nothing() -> None:
    pass
