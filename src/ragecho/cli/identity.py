"""`ragecho identity`: the identity service alone, its clients and its keys."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, override

import typer

from ragecho.cli.connection_options import AsJson
from ragecho.cli.errors import BadUse
from ragecho.cli.identity_providers import domain, provider
from ragecho.cli.lazy import App, Group
from ragecho.cli.output import emit_json, note, short_time, show_fields, show_table
from ragecho.cli.settings import load_settings
from ragecho.platform.settings import Settings

if TYPE_CHECKING:
    from ragecho.roles.identity import ClientShown


class _RunsAlone(Group):
    """A group that does something without a command, too."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super(Group, self).parse_args(ctx, args)


app = App(cls=_RunsAlone)
client = App(help="Create, list, show and remove the applications that sign in here.")
keys = App(help="Rotate the signing keys.")
app.add_typer(client, name="client")
app.add_typer(keys, name="keys")
app.add_typer(provider, name="provider")
app.add_typer(domain, name="domain")

ClientId = Annotated[str, typer.Argument(metavar="CLIENT_ID", help="The client's id.")]


@app.callback(invoke_without_command=True)
def identity(
    context: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on (RAGECHO_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port (RAGECHO_PORT).")] = None,
) -> None:
    """Run the identity service alone, or manage its clients and keys."""
    if context.invoked_subcommand is not None:
        return
    from ragecho.roles.identity import run

    raise typer.Exit(run(load_settings(Settings, host=host, port=port)))


@client.command("create")
def create_client(
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What people see when they sign in.")],
    redirect_uri: Annotated[
        list[str] | None, typer.Option(metavar="URI", help="Where codes go; repeat for several.")
    ] = None,
    post_logout_redirect_uri: Annotated[
        list[str] | None, typer.Option(metavar="URI", help="Where a browser may go after signing out.")
    ] = None,
    scopes: Annotated[
        str, typer.Option(metavar="A,B", help="What it may ask for; default everything, for people to decide.")
    ] = "",
    audience: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Whom its tokens are for: the service that checks them, or 'echo', Echo's own API (the default);"
            " repeat for several, of which the first is the default.",
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="It can keep no secret: in a browser or on a device.")
    ] = False,
    native: Annotated[bool, typer.Option("--native", help="It runs on the person's own machine.")] = False,
    device: Annotated[bool, typer.Option("--device", help="It may sign in with a code on another device.")] = False,
    service: Annotated[bool, typer.Option("--service", help="It acts for itself, without a person.")] = False,
    workspace: Annotated[
        str, typer.Option("--workspace", "-w", help="Where a service acts, by id or slug.")
    ] = "default",
    service_account: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Whom a service acts as: a service account's roles, as long as it is enabled."
        ),
    ] = None,
    backchannel_logout_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="Where it is told that somebody signed out.")
    ] = None,
    env: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a working configuration into this file (mode 0600).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a client; its secret is shown, or written, this once."""
    from ragecho.roles import identity as role

    wanted = [scope for scope in scopes.replace(",", " ").split() if scope]
    settings = load_settings(Settings)
    if service:
        if redirect_uri or public or native or device:
            raise BadUse("--service needs no redirect URI, and is neither --public, --native nor --device.")
        made = role.create_service_client(
            settings,
            name=name,
            scopes=wanted,
            workspace=workspace,
            audiences=audience or [],
            service_account=service_account,
        )
    else:
        if service_account:
            raise BadUse("--service-account goes with --service.")
        made = role.create_client(
            settings,
            name=name,
            redirect_uris=redirect_uri or [],
            post_logout_redirect_uris=post_logout_redirect_uri or [],
            scopes=wanted,
            audiences=audience or [],
            is_public=public,
            is_native=native,
            has_device_flow=device,
            backchannel_logout_uri=backchannel_logout_uri,
        )
    _tell(made, env=env, as_json=as_json)


@client.command("rotate-secret")
def rotate_secret(
    client_id: ClientId,
    *,
    env: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the configuration into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replace a client's secret; the old one ends now."""
    from ragecho.roles import identity as role

    _tell(role.rotate_secret(load_settings(Settings), client_id), env=env, as_json=as_json)


@client.command("ls")
def list_clients(*, as_json: AsJson = False) -> None:
    """List the clients without their secrets."""
    from ragecho.roles import identity as role

    found = [_plain(one) for one in role.list_clients(load_settings(Settings))]
    if as_json:
        emit_json({"items": found, "total": len(found)})
        return
    rows = [
        (one["client_id"], one["name"], one["kind"], " ".join(one["grant_types"]), short_time(one["created_at"]))
        for one in found
    ]
    show_table(
        ("CLIENT ID", "NAME", "KIND", "GRANTS", "CREATED"),
        rows,
        empty="No clients.",
        flexible="NAME",
        optional=("CREATED", "GRANTS"),
    )


@client.command("show")
def show_client(client_id: ClientId, *, as_json: AsJson = False) -> None:
    """Show a client without its secret."""
    from ragecho.roles import identity as role

    _tell(role.show_client(load_settings(Settings), client_id), env=None, as_json=as_json)


@client.command("rm")
def remove_client(client_id: ClientId) -> None:
    """Remove a client; what it was given ends now."""
    from ragecho.roles import identity as role

    role.delete_client(load_settings(Settings), client_id)
    note(f"Removed {client_id}.")


@keys.command("rotate")
def rotate() -> None:
    """Let the published next keys sign from now on; tokens signed before stay valid."""
    from ragecho.roles import identity as role

    role.rotate_signing_keys(load_settings(Settings))
    note("The next keys sign from now on; new next ones are published.")


def _tell(made: "ClientShown", *, env: Path | None, as_json: bool) -> None:
    data = _plain(made)
    if env is not None:
        from ragecho.cli.env_file import update_env_file

        update_env_file(env, configuration_of(made))
        data.pop("secret", None)
        data["env"] = str(env)
    if not made.secret:
        data.pop("secret", None)
    if as_json:
        emit_json(data)
        return
    show_fields(
        (name.removesuffix("_at"), short_time(value) if name == "created_at" else _text(value))
        for name, value in data.items()
    )
    if made.secret and env is None:
        note("Keep the secret: it is not shown again.")


def configuration_of(made: "ClientShown") -> dict[str, str]:
    """Return what an application is configured with, as environment variables."""
    found = {
        "ECHO_ISSUER": made.issuer,
        "ECHO_CLIENT_ID": made.client_id,
        "ECHO_AUDIENCE": made.audience,
    }
    if made.secret:
        found["ECHO_CLIENT_SECRET"] = made.secret
    if made.redirect_uris:
        found["ECHO_REDIRECT_URI"] = made.redirect_uris[0]
    return found


def _plain(made: "ClientShown") -> dict[str, Any]:
    found = asdict(made)
    for name, value in found.items():
        if isinstance(value, tuple):
            found[name] = list(value)
        elif hasattr(value, "isoformat"):
            found[name] = value.isoformat()
    return found


def _text(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else value
