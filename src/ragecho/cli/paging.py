"""What commands that list share: how many, from where, and the remark that there are more."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragecho.cli.output import note

if TYPE_CHECKING:
    from ragecho_sdk import Page

Limit = Annotated[int, typer.Option(metavar="N", min=1, help="How many.")]
Offset = Annotated[int, typer.Option(metavar="N", min=0, help="How many to leave out first.")]


def note_rest(page: "Page[Any]") -> None:
    """Say that a list goes on."""
    if page.total > page.offset + len(page):
        note(f"{len(page)} of {page.total} shown; see --limit and --offset.")
