"""`ragecho api`."""

import os
from typing import Annotated

import typer

from ragecho.cli.lazy import App
from ragecho.cli.settings import load_settings

app = App()


@app.command()
def api(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on (RAGECHO_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port (RAGECHO_PORT).")] = None,
) -> int:
    """Run the HTTP server alone."""
    from ragecho.platform.settings import Settings
    from ragecho.roles.shares import LISTEN_FD_VARIABLE

    settings = load_settings(Settings, host=host, port=port)
    if settings.api_processes > 1 and LISTEN_FD_VARIABLE not in os.environ:
        from ragecho.roles.api_processes import run_several

        return run_several(settings)
    from ragecho.roles.api import run

    return run(settings)
