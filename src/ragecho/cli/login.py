"""`ragecho login`."""

from typing import Annotated

import typer

from ragecho.cli.connection_options import AsJson, Server
from ragecho.cli.lazy import App

app = App()


@app.command()
def login(
    *,
    server: Server = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser here.")] = True,
    as_json: AsJson = False,
) -> None:
    """Sign in to a server in the browser, on this or any other device."""
    from ragecho.cli import device_flow, logins
    from ragecho.cli.connection import server_of, signed_in_client
    from ragecho.cli.output import emit_json, err, note, waiting

    address = server_of(server)
    metadata = device_flow.discover(address)
    begun = device_flow.begin(metadata)
    # On stderr: the answer for programs is on stdout.
    err().print(f"Open {begun.page}\nand enter the code {begun.code}", soft_wrap=True)
    if browser and _open(begun.address):
        note("The page was opened in your browser: compare the code there.")
    with waiting("Waiting for you to sign in", is_shown=not as_json):
        made = device_flow.wait(begun, metadata, address)
    before = logins.load(address)
    path = logins.save(made)
    if before is not None:
        logins.revoke(before)
    with signed_in_client(address) as echo:
        me = echo.me()
    if as_json:
        emit_json({"server": address, "user": me.raw.get("user"), "file": str(path)})
        return
    name = me.user.email if me.user else me.client_id
    print(f"Signed in to {address} as {name}.")


def _open(address: str) -> bool:
    import sys
    import webbrowser

    if not sys.stderr.isatty():
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
