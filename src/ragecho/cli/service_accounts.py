"""`ragecho service-accounts`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, show_fields
from ragecho.cli.paging import Limit, Offset, show_page

if TYPE_CHECKING:
    from ragecho_sdk import ServiceAccount

app = App(help="List, create and change the accounts of programs.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The account's id, as `service-accounts ls` shows it.")]
WorkspaceRole = Annotated[
    str | None, typer.Option("--role", help="In the workspace, else in every one: reader, editor or admin.")
]
OrganizationRole = Annotated[
    str | None, typer.Option("--organization-role", help="Without a workspace: member or admin.")
]


@app.command("ls")
def list_accounts(
    *,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Text in name or description.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List service accounts."""
    with connect(server, api_key, None) as echo:
        page = echo.service_accounts.list(q=query, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "NAME", "WORKSPACE", "ROLE", "ACTIVE"),
        lambda a: (
            a.id,
            a.name,
            a.workspace_id or "all",
            a.workspace_role or a.organization_role,
            "no" if a.disabled else "yes",
        ),
        as_json=as_json,
        empty="No service accounts.",
        flexible="NAME",
        optional=("WORKSPACE", "ACTIVE"),
    )


@app.command("create")
def create_account(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    *,
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="Id or slug; without it, it is the organisation's.")
    ] = None,
    role: WorkspaceRole = None,
    organization_role: OrganizationRole = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Create a program's account; `keys create --service-account ID` makes its keys."""
    with connect(server, api_key, None) as echo:
        made = echo.service_accounts.create(
            name,
            workspace=workspace,
            workspace_role=role,
            organization_role=organization_role,
            description=description,
        )
    _show(made, as_json)


@app.command("change")
def change_account(
    account: Id,
    *,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    role: WorkspaceRole = None,
    organization_role: OrganizationRole = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    disabled: Annotated[bool | None, typer.Option("--disable/--enable", help="Whether its keys fail.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Rename, describe or disable an account or change its roles; its keys follow at once."""
    with connect(server, api_key, None) as echo:
        changed = echo.service_accounts.update(
            account,
            name=name,
            workspace_role=role,
            organization_role=organization_role,
            description=description,
            disabled=disabled,
        )
    _show(changed, as_json)


@app.command("rm")
def delete_account(account: Id, *, server: Server = None, api_key: ApiKey = None) -> None:
    """Delete an account with its keys."""
    with connect(server, api_key, None) as echo:
        echo.service_accounts.delete(account)
    note(f"Deleted {account}.")


def _show(account: "ServiceAccount", as_json: bool) -> None:
    if as_json:
        emit_json(account.raw)
        return
    show_fields(
        [
            ("id", account.id),
            ("name", account.name),
            ("description", account.description),
            ("workspace", account.workspace_id),
            ("role", account.workspace_role),
            ("organization role", account.organization_role),
            ("active", "no" if account.disabled else "yes"),
        ]
    )
