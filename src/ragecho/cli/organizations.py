"""`ragecho organizations`."""

from typing import Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, short_time, show_table
from ragecho.cli.paging import Limit, Offset, note_rest

app = App(help="List and rename organisations, and show the audit log.")


@app.command("ls")
def list_organizations(
    *,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the organisations that you are in."""
    with connect(server, api_key, None) as echo:
        page = echo.organizations.list(limit=limit, offset=offset)
    if as_json:
        emit_json(page.raw)
        return
    rows = [(o.id, o.name, o.role, "suspended" if o.is_suspended else "active") for o in page]
    show_table(("ID", "NAME", "ROLE", "STATE"), rows, empty="None.", flexible="NAME", optional=("STATE",))
    note_rest(page)


@app.command("rename")
def rename_organization(
    organization: Annotated[str, typer.Argument(metavar="ID", help="The organisation's id.")],
    name: Annotated[str, typer.Argument(help="The name that people see.")],
    *,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Rename the organisation."""
    with connect(server, api_key, None) as echo:
        renamed = echo.organizations.rename(organization, name)
    if as_json:
        emit_json(renamed.raw)
        return
    note(f"It is called {renamed.name} now.")


@app.command("log")
def show_log(
    *,
    action: Annotated[str | None, typer.Option(help="Only this one (member.removed) or kind (member).")] = None,
    request_id: Annotated[str | None, typer.Option(help="Only of this request.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only by this person, key or program.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, included.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339, not included.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show everything that was done in the organisation, newest first."""
    filters = {"action": action, "request_id": request_id, "actor": actor, "from": since, "to": until}
    with connect(server, api_key, None) as echo:
        page = echo.audit.list(**filters, limit=limit, offset=offset)
    if as_json:
        emit_json(page.raw)
        return
    rows = [(short_time(e.at), e.action, e.target_id, e.actor_email or e.actor_id, e.reason) for e in page]
    show_table(
        ("TIME", "ACTION", "TARGET", "BY", "REASON"),
        rows,
        empty="Nothing yet.",
        flexible="REASON",
        optional=("TARGET",),
    )
    note_rest(page)
