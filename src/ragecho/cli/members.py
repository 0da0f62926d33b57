"""`ragecho members`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, short_time, show_fields
from ragecho.cli.paging import Limit, Offset, show_page

if TYPE_CHECKING:
    from ragecho_sdk import Member

app = App(help="List, change, suspend and remove the organisation's people.")

User = Annotated[str, typer.Argument(metavar="USER", help="The person's id, as `members ls` shows it.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the audit log.")]


@app.command("ls")
def list_members(
    *,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Text in name or address.")] = None,
    role: Annotated[str | None, typer.Option(help="owner, admin or member.")] = None,
    suspended: Annotated[bool | None, typer.Option(help="Only who is (not) suspended.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the organisation's people."""
    with connect(server, api_key, None) as echo:
        page = echo.members.list(q=query, role=role, suspended=suspended, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "EMAIL", "NAME", "ROLE", "STATE", "SINCE"),
        lambda m: (m.user_id, m.email, m.name, m.role, _state(m), short_time(m.created_at)),
        as_json=as_json,
        empty="Nobody.",
        flexible="EMAIL",
        optional=("SINCE", "NAME", "STATE"),
    )


@app.command("show")
def show_member(user: User, *, server: Server = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Show one person."""
    with connect(server, api_key, None) as echo:
        _show(echo.members.get(user), as_json)


@app.command("set-role")
def set_role(
    user: User,
    role: Annotated[str, typer.Argument(help="owner, admin or member.")],
    *,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Change a member's role in the organisation."""
    with connect(server, api_key, None) as echo:
        _show(echo.members.set_role(user, role), as_json)


@app.command("suspend")
def suspend(
    user: User, *, reason: Reason = None, server: Server = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Suspend a membership, from the person's next request on."""
    with connect(server, api_key, None) as echo:
        _show(echo.members.suspend(user, reason=reason), as_json)


@app.command("reactivate")
def reactivate(
    user: User, *, reason: Reason = None, server: Server = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Let a suspended member in again."""
    with connect(server, api_key, None) as echo:
        _show(echo.members.reactivate(user, reason=reason), as_json)


@app.command("rm")
def remove(user: User, *, server: Server = None, api_key: ApiKey = None) -> None:
    """Remove a person from the organisation, its workspaces and groups."""
    with connect(server, api_key, None) as echo:
        echo.members.remove(user)
    note(f"Removed {user}.")


def _state(member: "Member") -> str:
    if member.disabled:
        return "disabled"
    return "suspended" if member.suspended_at else "active"


def _show(member: "Member", as_json: bool) -> None:
    if as_json:
        emit_json(member.raw)
        return
    show_fields(
        [
            ("id", member.user_id),
            ("email", member.email),
            ("name", member.name),
            ("role", member.role),
            ("state", _state(member)),
        ]
    )
