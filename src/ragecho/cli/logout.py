"""`ragecho logout`."""

from ragecho.cli.connection_options import Server
from ragecho.cli.lazy import App

app = App()


@app.command()
def logout(*, server: Server = None) -> None:
    """Sign out of a server: end the sign-in there and forget it here."""
    from ragecho.cli import logins
    from ragecho.cli.connection import server_of
    from ragecho.cli.output import note

    address = server_of(server)
    found = logins.load(address)
    if found is None:
        note(f"Nobody is signed in to {address}.")
        return
    is_revoked = logins.revoke(found)
    logins.forget(address)
    print(f"Signed out of {address}.")
    if not is_revoked:
        note("The server could not be told: end the sign-in on your account's page there, under devices.")
