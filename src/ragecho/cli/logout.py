"""`ragecho logout`."""

from ragecho.cli.connection_options import AsJson, Server
from ragecho.cli.lazy import App

app = App()


@app.command()
def logout(*, server: Server = None, as_json: AsJson = False) -> None:
    """Sign out of a server: end the sign-in there and forget it here."""
    from ragecho.cli import logins
    from ragecho.cli.connection import server_of
    from ragecho.cli.output import emit_json, note

    address = server_of(server)
    found = logins.load(address)
    is_revoked = found is not None and logins.revoke(found)
    if found is not None:
        logins.forget(address)
    if as_json:
        emit_json({"server": address, "was_signed_in": found is not None, "is_revoked": is_revoked})
        return
    if found is None:
        note(f"Nobody is signed in to {address}.")
        return
    print(f"Signed out of {address}.")
    if not is_revoked:
        note("The server could not be told: end the sign-in on your account's page there, under devices.")
