"""`ragecho worker`."""

from typing import Annotated

import typer

from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.settings import load_settings

app = App()


@app.command()
def worker(
    *,
    queues: Annotated[str | None, typer.Option(metavar="A,B", help="Only these queues, comma separated.")] = None,
) -> int:
    """Run a worker alone."""
    from ragecho.platform.settings import Settings
    from ragecho.roles.worker import run

    names = None if queues is None else tuple(name.strip() for name in queues.split(",") if name.strip())
    if names == ():
        raise BadUse("--queues names no queue; leave it out to work on all.")
    return run(load_settings(Settings), queues=names)
