"""`ragecho keys`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, short_time, show_fields
from ragecho.cli.paging import Limit, Offset, show_page

if TYPE_CHECKING:
    from ragecho_sdk import ApiKey as Key

app = App(help="List, create, rotate and revoke API keys.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys ls` shows it.")]
Days = Annotated[int | None, typer.Option("--expires-days", metavar="N", min=1, help="Days until it ends.")]


@app.command("ls")
def list_keys(
    *,
    mine: Annotated[bool, typer.Option("--mine", help="Only one's own.")] = False,
    limit: Limit = 50,
    offset: Offset = 0,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the workspace's keys without their secrets."""
    with connect(server, api_key, workspace) as echo:
        page = echo.keys.list(mine=mine or None, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "NAME", "PREFIX", "SCOPES", "EXPIRES", "USED", "REVOKED"),
        lambda k: (
            k.id,
            k.name,
            k.prefix,
            k.scopes,
            short_time(k.expires_at),
            short_time(k.last_used_at),
            short_time(k.revoked_at),
        ),
        as_json=as_json,
        empty="No keys.",
        flexible="NAME",
        optional=("PREFIX", "USED", "EXPIRES"),
    )


@app.command("create")
def create_key(
    *,
    scopes: Annotated[str, typer.Option(metavar="A,B", help="What it may do: read, write, admin.")] = "read",
    name: Annotated[str, typer.Option(help="What to call it in lists.")] = "key",
    expires_days: Days = None,
    service_account: Annotated[str | None, typer.Option(metavar="ID", help="The program that it acts for.")] = None,
    workspace_only: Annotated[
        bool, typer.Option("--workspace-only", help="Let it act in this workspace only, not in the organisation.")
    ] = False,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Create a key; it is shown this once and never gets more than you have."""
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    with connect(server, api_key, workspace) as echo:
        made = echo.keys.create(
            wanted,
            name=name,
            expires_in_days=expires_days,
            service_account_id=service_account,
            workspace_only=workspace_only or None,
        )
    _show(made, as_json)


@app.command("rotate")
def rotate_key(
    key: Id,
    *,
    overlap: Annotated[int, typer.Option(metavar="SECONDS", min=0, help="How long the old one still answers.")] = 0,
    expires_days: Days = None,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key by a new one, shown this once."""
    with connect(server, api_key, workspace) as echo:
        _show(echo.keys.rotate(key, overlap_seconds=overlap, expires_in_days=expires_days), as_json)


@app.command("revoke")
def revoke_key(key: Id, *, workspace: WorkspaceName = None, server: Server = None, api_key: ApiKey = None) -> None:
    """Revoke a key; it fails from the next request on."""
    with connect(server, api_key, workspace) as echo:
        echo.keys.revoke(key)
    note(f"Revoked {key}.")


def _show(key: "Key", as_json: bool) -> None:
    if as_json:
        emit_json(key.raw)
        return
    show_fields(
        [
            ("id", key.id),
            ("key", key.key),
            ("name", key.name),
            ("scopes", key.scopes),
            ("expires", short_time(key.expires_at)),
            ("replaces", key.replaces),
        ]
    )
    note("Keep the key: it is not shown again.")
