"""`ragecho whoami`."""

from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.lazy import App

app = App()


@app.command()
def whoami(
    *, workspace: WorkspaceName = None, server: Server = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Show who the commands act as, and in which workspaces."""
    from ragecho.cli.connection import connect
    from ragecho.cli.output import emit_json, show_fields

    with connect(server, api_key, workspace) as echo:
        me = echo.me()
        address = echo.connection.server
    if as_json:
        emit_json(me.raw)
        return
    program = f"API key {me.api_key_id}" if me.api_key_id else f"client {me.client_id}"
    show_fields(
        [
            ("user", me.user.email if me.user else program),
            ("name", me.user.name if me.user else None),
            ("server", address),
            ("organization", f"{me.organization.name} ({me.organization.role})" if me.organization else None),
            ("workspaces", [f"{one.slug} ({one.role or 'none'})" for one in me.workspaces]),
            ("scopes", me.scopes),
        ]
    )
