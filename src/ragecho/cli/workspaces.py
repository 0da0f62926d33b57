"""`ragecho workspaces`."""

from typing import Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, short_time, show_fields, show_table, status_mark

app = App(help="List and create workspaces.")


@app.command("ls")
def list_workspaces(
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many.")] = 50,
    offset: Annotated[int, typer.Option(metavar="N", min=0, help="How many to leave out first.")] = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the workspaces that the key may see."""
    with connect(server, api_key, None) as echo:
        page = echo.workspaces.list(limit=limit, offset=offset)
    if as_json:
        emit_json(page.raw)
        return
    rows = [(w.id, w.slug, w.name, status_mark(w.status or "active"), short_time(w.created_at)) for w in page]
    show_table(
        ("ID", "SLUG", "NAME", "STATUS", "CREATED"),
        rows,
        empty="No workspaces.",
        flexible="NAME",
        optional=("CREATED", "STATUS"),
    )


@app.command("create")
def create_workspace(
    slug: Annotated[str, typer.Argument(help="The name in addresses and options: small letters, digits, hyphens.")],
    *,
    name: Annotated[str | None, typer.Option(help="The name that people see; default the slug.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Create a workspace as the server's administrator; on its own machine see `admin workspace create`."""
    with connect(server, api_key, None) as echo:
        workspace = echo.workspaces.create(slug, name=name)
    if as_json:
        emit_json(workspace.raw)
        return
    show_fields([("id", workspace.id), ("slug", workspace.slug), ("name", workspace.name)])
