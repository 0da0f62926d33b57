"""What commands that list share: how many, from where, how a page is printed, and the remark that there are more."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.output import emit_json, note, show_table

if TYPE_CHECKING:
    from ragecho_sdk import Page

MAX_LIMIT = 200  # the server's own bound

Limit = Annotated[int, typer.Option(metavar="N", min=1, max=MAX_LIMIT, help="How many.")]
Offset = Annotated[int, typer.Option(metavar="N", min=0, help="How many to leave out first.")]


def show_page[T](
    page: "Page[T]",
    columns: Sequence[str],
    row: Callable[[T], Sequence[object]],
    *,
    as_json: bool,
    empty: str,
    flexible: str,
    optional: Sequence[str] = (),
) -> None:
    """Print one page of a list: as JSON, or as `show_table` does with a `row` of each item, and say that it goes on."""
    if as_json:
        emit_json(page.raw)
        return
    show_table(columns, [row(item) for item in page], empty=empty, flexible=flexible, optional=optional)
    if page.total > page.offset + len(page):
        note(f"{len(page)} of {page.total} shown; see --limit and --offset.")
