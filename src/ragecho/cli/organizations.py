"""`ragecho organizations`."""

from enum import StrEnum
from typing import Annotated

import typer

from ragecho.cli.acts import Actor, RequestId, Since, Until, show_acts
from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note
from ragecho.cli.paging import Limit, Offset, show_page

app = App(help="List and change organisations, and show the audit log.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The organisation's id, as `organizations ls` shows it.")]


class Need(StrEnum):
    """Whether members have to have a second factor."""

    REQUIRED = "required"
    OPTIONAL = "optional"


@app.command("ls")
def list_organizations(
    *,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the organisations that you are in."""
    with connect(server, api_key, None) as echo:
        page = echo.organizations.list(limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "NAME", "ROLE", "STATE", "SECOND FACTOR"),
        lambda o: (
            o.id,
            o.name,
            o.role,
            "suspended" if o.is_suspended else "active",
            Need.REQUIRED if o.require_second_factor else Need.OPTIONAL,
        ),
        as_json=as_json,
        empty="None.",
        flexible="NAME",
        optional=("SECOND FACTOR", "STATE"),
    )


@app.command("rename")
def rename_organization(
    organization: Id,
    name: Annotated[str, typer.Argument(help="The name that people see.")],
    *,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Rename the organisation."""
    with connect(server, api_key, None) as echo:
        renamed = echo.organizations.rename(organization, name)
    if as_json:
        emit_json(renamed.raw)
        return
    note(f"It is called {renamed.name} now.")


@app.command("set-second-factor")
def set_second_factor(
    organization: Id,
    need: Annotated[Need, typer.Argument(help="required or optional.")],
    *,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Decide whether members sign in with a second factor, from their next sign-in on."""
    with connect(server, api_key, None) as echo:
        changed = echo.organizations.require_second_factor(organization, is_required=need is Need.REQUIRED)
    if as_json:
        emit_json(changed.raw)
        return
    note(f"A second factor is {need} in {changed.name}.")


@app.command("log")
def show_log(
    *,
    action: Annotated[str | None, typer.Option(help="Only this one (member.removed) or kind (member).")] = None,
    request_id: RequestId = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show everything that was done in the organisation, newest first."""
    filters = {"action": action, "request_id": request_id, "actor": actor, "from": since, "to": until}
    with connect(server, api_key, None) as echo:
        page = echo.audit.list(**filters, limit=limit, offset=offset)
    show_acts(page, as_json)
