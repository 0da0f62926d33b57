"""The options that client commands share; apart from the client, so that commands without one start without httpx."""

from typing import Annotated

import typer

_PANEL = "Connection"

Server = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="URL", help="Address of the Echo server (RAGECHO_SERVER).", rich_help_panel=_PANEL
    ),
]
ApiKey = Annotated[
    str | None, typer.Option("--api-key", metavar="KEY", help="API key (RAGECHO_API_KEY).", rich_help_panel=_PANEL)
]
WorkspaceName = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="WORKSPACE",
        help="Workspace, by id or slug (RAGECHO_WORKSPACE); default the key's own.",
        rich_help_panel=_PANEL,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
