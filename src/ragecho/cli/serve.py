"""`ragecho serve`."""

from pathlib import Path
from typing import Annotated

import typer

from ragecho.cli.lazy import App
from ragecho.cli.settings import load_settings

app = App()


@app.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on (RAGECHO_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port (RAGECHO_PORT); 0 takes a free one.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of database, files and keys (RAGECHO_DATA_DIR).")
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open", help="Open the browser when it is ready.")] = False,
) -> int:
    """Run everything in one process tree."""
    from ragecho.platform.settings import Settings
    from ragecho.roles.serve import run

    return run(load_settings(Settings, host=host, port=port, data_dir=data_dir), open_browser=is_opened)
