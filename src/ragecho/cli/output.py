"""What commands print: data on stdout, progress on stderr; colours and boxes only where a person looks at a terminal."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

READY, FAILED, WAITING, SAME = "green", "red", "yellow", "blue"
# What a folded column needs to be readable.
FLEXIBLE_WIDTH = 24
_MARKS = {
    "ready": ("✓", READY),
    "succeeded": ("✓", READY),
    "active": ("✓", READY),
    "failed": ("✗", FAILED),
    "dead": ("✗", FAILED),
    "duplicate": ("=", SAME),
    "cancelled": ("-", "dim"),
    "archived": ("-", "dim"),
}
# Control characters (an escape sequence in a document must not reach the terminal) and overrides of the text direction.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """Return text that cannot steer a terminal: control characters other than newline and tab are shown as `�`."""
    return _UNPRINTABLE.sub("�", str(text).replace("\r\n", "\n"))


def out() -> Console:
    """Return the console of stdout. Made anew each time, since tests and pipes replace the stream."""
    return Console(highlight=False, markup=False, emoji=False)


def err() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def emit_json(data: Any) -> None:
    """Print `data` as JSON."""
    print(json.dumps(data, ensure_ascii=False, indent=2, default=str))


def say(*parts: str | Text | tuple[str, str], indent: int = 0) -> None:
    """Print one paragraph on stdout: wrapped and styled on a terminal, one unbroken line elsewhere."""
    console = out()
    text = Text.assemble(*(part if isinstance(part, Text | tuple) else (part, "") for part in parts))
    if not console.is_terminal:
        print("\n".join(" " * indent + line if line else "" for line in text.plain.split("\n")))
        return
    from rich.padding import Padding

    console.print(Padding(text, (0, 0, 0, indent)))


def note(message: str, style: str = "dim") -> None:
    """Print a remark on stderr."""
    err().print(Text(message, style=style), soft_wrap=True)


def status_mark(status: str) -> Text:
    """Return a status with its mark and colour."""
    mark, style = _MARKS.get(status, ("…", WAITING))
    return Text(f"{mark} {printable(status)}", style=style)


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, flexible: str, optional: Sequence[str] = ()
) -> None:
    """Print rows under headings; elsewhere than on a terminal as aligned plain columns without cutting anything.

    On a terminal the `flexible` column takes the room that is left and is folded, and where too little is left the
    `optional` columns are given up, in their order.
    """
    cells = [[cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row] for row in rows]
    console = out()
    if not cells:
        note(empty)
        return
    if not console.is_terminal:
        _plain_table(columns, [[cell.plain for cell in row] for row in cells])
        return
    widths = {
        name: max(len(name), *(cell.cell_len for cell in column))
        for name, column in zip(columns, zip(*cells, strict=True), strict=True)
    }
    shown = _fitting(widths, flexible, optional, console.width)
    table = Table(box=None, header_style="bold dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in shown:
        table.add_column(name, overflow="fold", no_wrap=name != flexible)
    for row in cells:
        table.add_row(*(cell for name, cell in zip(columns, row, strict=True) if name in shown))
    console.print(table)


def _fitting(widths: Mapping[str, int], flexible: str, optional: Sequence[str], room: int) -> list[str]:
    shown = list(widths)
    for name in optional:
        fixed = sum(widths[other] + 2 for other in shown if other != flexible)
        if fixed + min(widths[flexible], FLEXIBLE_WIDTH) <= room:
            break
        shown.remove(name)
    return shown


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list | tuple):
        return printable(", ".join(map(str, value)) or "-")
    return printable(value).replace("\n", " ")


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line."""
    shown = [(name, value) for name, value in fields if value not in (None, "", (), [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        text = value if isinstance(value, Text) else Text(_cell(value))
        say((f"{name.ljust(width)}  ", "dim"), text)


def short_time(value: str | None) -> str | None:
    """Return an RFC 3339 time as a person reads it, in the local time zone."""
    if not value:
        return None
    try:
        return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return value


def human_size(size_bytes: int | None) -> str | None:
    """Return a size as a person reads it."""
    if size_bytes is None:
        return None
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":  # noqa: PLR2004 - the unit's own factor
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return None


def counted(number: int, noun: str) -> str:
    """Return `1 page`, `2 pages`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@contextmanager
def waiting(message: str, *, is_shown: bool = True) -> Iterator[None]:
    """Show a spinner on stderr meanwhile, if that is a terminal."""
    console = err()
    if not (is_shown and console.is_terminal):
        yield
        return
    with console.status(Text(message, style="dim")):
        yield


def progress_bar(*, is_shown: bool = True) -> Progress:
    """Return a progress display on stderr; it shows nothing elsewhere than on a terminal."""
    console = err()
    return Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not (is_shown and console.is_terminal),
    )


def stdout_is_terminal() -> bool:
    """Return whether a person reads stdout as it is printed."""
    return sys.stdout.isatty()
