"""`ragecho admin`: what is done on the machine that holds the data folder or the database's address, without a server."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ragecho.cli.connection_options import AsJson
from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, short_time, show_fields, show_table
from ragecho.cli.settings import load_settings
from ragecho.kernel.authorization import Scope
from ragecho.platform.settings import Settings

app = App(help="Create administrators and API keys on this machine.")
keys = App(help="Create, list and revoke API keys.")
spaces = App(help="Create workspaces.")
app.add_typer(keys, name="api-key")
app.add_typer(spaces, name="workspace")

MIN_PASSWORD_CHARACTERS = 12


@app.command("create")
def create_administrator(
    *,
    email: Annotated[str, typer.Option(metavar="EMAIL", help="Address to sign in with.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin; else none is set.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create an administrator."""
    from ragecho.roles import admin

    if "@" not in email.strip("@"):
        raise BadUse("--email: this is no e-mail address.")
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    if password is not None and len(password) < MIN_PASSWORD_CHARACTERS:
        raise BadUse(f"the password needs at least {MIN_PASSWORD_CHARACTERS} characters.")
    _show(admin.create_administrator(load_settings(Settings), email=email, password=password), as_json)


@keys.command("create")
def create_api_key(
    *,
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="Workspace, by id or slug.")] = "default",
    scopes: Annotated[str, typer.Option(metavar="A,B", help="What it may do: read, write, admin.")] = "read,write",
    name: Annotated[str, typer.Option(help="What to call it in lists.")] = "cli",
    expires_days: Annotated[int | None, typer.Option(min=1, help="Days until it ends; default never.")] = None,
    workspace_only: Annotated[
        bool, typer.Option("--workspace-only", help="Even with the scope admin, let it administer this workspace only.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create an API key; it is shown this once."""
    from ragecho.roles import admin

    created = admin.create_api_key(
        load_settings(Settings),
        workspace=workspace,
        scopes=_scopes(scopes),
        name=name,
        expires_in_days=expires_days,
        is_workspace_only=workspace_only,
    )
    _show(created, as_json)
    if not as_json:
        note("Keep the key: it is not shown again. Clients read it from RAGECHO_API_KEY.")


@keys.command("ls")
def list_api_keys(
    *,
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="Workspace, by id or slug.")] = "default",
    as_json: AsJson = False,
) -> None:
    """List a workspace's keys without their secrets."""
    from ragecho.roles import admin

    found = [_plain(key) for key in admin.list_api_keys(load_settings(Settings), workspace=workspace)]
    if as_json:
        emit_json({"items": found, "total": len(found)})
        return
    rows = [
        (
            key.get("id"), key.get("name"), key.get("scopes"), short_time(key.get("created_at")),
            short_time(key.get("expires_at")), short_time(key.get("last_used_at")), short_time(key.get("revoked_at")),
        )
        for key in found
    ]  # fmt: skip
    show_table(
        ("ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "USED", "REVOKED"),
        rows,
        empty="No keys.",
        flexible="NAME",
        optional=("USED", "CREATED", "EXPIRES"),
    )


@keys.command("revoke")
def revoke_api_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")]) -> None:
    """Revoke a key; it fails from the next request on."""
    from ragecho.roles import admin

    admin.revoke_api_key(load_settings(Settings), key_id=key_id)
    note(f"Revoked {key_id}.")


@spaces.command("create")
def create_workspace(
    slug: Annotated[str, typer.Argument(help="The name in addresses and options: small letters, digits, hyphens.")],
    *,
    name: Annotated[str | None, typer.Option(help="The name that people see; default the slug.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a workspace."""
    from ragecho.roles import admin

    made = admin.create_workspace(load_settings(Settings), slug=slug, name=name)
    if as_json:
        emit_json(_plain(made))
        return
    show_fields([("id", made.id), ("slug", made.slug), ("name", made.name), ("status", made.status)])


def _scopes(text: str) -> tuple[Scope, ...]:
    try:
        scopes = tuple(dict.fromkeys(Scope(name.strip()) for name in text.split(",") if name.strip()))
    except ValueError as error:
        raise BadUse(f"--scopes: {error}; known are {', '.join(Scope)}.") from None
    if not scopes:
        raise BadUse(f"--scopes names no scope; known are {', '.join(Scope)}.")
    return scopes


def _plain(value: Any) -> dict[str, Any]:
    """Return a frozen value as JSON-like data; times and ids as text, sets and tuples of scopes as sorted lists."""

    def simple(item: Any) -> Any:
        if isinstance(item, tuple | list | set | frozenset):
            return sorted(map(str, item))
        if hasattr(item, "isoformat"):
            return item.isoformat()
        return item if item is None or isinstance(item, bool | int | float) else str(item)

    return {name: simple(item) for name, item in asdict(value).items()}


def _show(value: Any, as_json: bool) -> None:
    data = _plain(value)
    if as_json:
        emit_json(data)
        return
    show_fields(
        (name.removesuffix("_id").removesuffix("_at"), short_time(item) if name.endswith("_at") else item)
        for name, item in data.items()
    )
