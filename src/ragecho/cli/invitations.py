"""`ragecho invitations`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server
from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, short_time, show_fields
from ragecho.cli.paging import Limit, Offset, show_page

if TYPE_CHECKING:
    from ragecho_sdk import Invitation

app = App(help="Invite people into the organisation.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The invitation's id, as `invitations ls` shows it.")]
Days = Annotated[int | None, typer.Option(metavar="N", min=1, help="Days that it holds; default the server's.")]
Mail = Annotated[bool, typer.Option("--mail/--no-mail", help="Send a mail; the link is shown in any case.")]


@app.command("ls")
def list_invitations(
    *,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Text in the address.")] = None,
    status: Annotated[str | None, typer.Option(help="pending, accepted, revoked or expired.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the organisation's invitations."""
    with connect(server, api_key, None) as echo:
        page = echo.invitations.list(q=query, status=status, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "EMAIL", "ROLE", "STATUS", "EXPIRES"),
        lambda i: (i.id, i.email, i.role, i.status, short_time(i.expires_at)),
        as_json=as_json,
        empty="No invitations.",
        flexible="EMAIL",
        optional=("EXPIRES", "ROLE"),
    )


@app.command("create")
def create_invitation(
    email: Annotated[str, typer.Argument(help="Whom to invite.")],
    *,
    role: Annotated[str, typer.Option(help="In the organisation: member, admin or owner.")] = "member",
    workspace: Annotated[
        list[str] | None, typer.Option("--workspace", "-w", metavar="NAME=ROLE", help="As default=reader; repeatable.")
    ] = None,
    days: Days = None,
    mail: Mail = True,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Invite an address; the link to accept it is shown this once."""
    roles = dict(_role_there(text) for text in workspace or [])
    with connect(server, api_key, None) as echo:
        made = echo.invitations.create(email, role=role, workspaces=roles, expires_in_days=days, send_mail=mail)
    _show(made, as_json)


@app.command("resend")
def resend_invitation(
    invitation: Id,
    *,
    days: Days = None,
    mail: Mail = True,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a new link for an invitation; earlier ones end."""
    with connect(server, api_key, None) as echo:
        _show(echo.invitations.resend(invitation, expires_in_days=days, send_mail=mail), as_json)


@app.command("revoke")
def revoke_invitation(invitation: Id, *, server: Server = None, api_key: ApiKey = None) -> None:
    """Revoke an invitation that is not taken up."""
    with connect(server, api_key, None) as echo:
        echo.invitations.revoke(invitation)
    note(f"Revoked {invitation}.")


def _role_there(text: str) -> tuple[str, str]:
    name, _, role = text.partition("=")
    if not name or not role:
        raise BadUse("--workspace: write the workspace and the role there, like default=reader.")
    return name, role


def _show(invitation: "Invitation", as_json: bool) -> None:
    if as_json:
        emit_json(invitation.raw)
        return
    show_fields(
        [
            ("id", invitation.id),
            ("email", invitation.email),
            ("role", invitation.role),
            ("expires", short_time(invitation.expires_at)),
            ("link", invitation.accept_url),
        ]
    )
    note("Keep the link: it is not shown again.")
