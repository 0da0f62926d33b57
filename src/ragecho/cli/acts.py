"""The audit log as commands show it: which acts are asked for, and how a page of them is printed."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.output import short_time
from ragecho.cli.paging import show_page

if TYPE_CHECKING:
    from ragecho_sdk import AuditEvent, Page

RequestId = Annotated[str | None, typer.Option(help="Only of this request.")]
Actor = Annotated[str | None, typer.Option(help="Only by this person, key or program.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, included.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, not included.")]


def show_acts(page: "Page[AuditEvent]", as_json: bool) -> None:
    """Print one page of the audit log."""
    show_page(
        page,
        ("TIME", "ACTION", "TARGET", "BY", "REASON"),
        lambda e: (short_time(e.at), e.action, e.target_id, e.actor_email or e.actor_id, e.reason),
        as_json=as_json,
        empty="Nothing yet.",
        flexible="REASON",
        optional=("TARGET",),
    )
