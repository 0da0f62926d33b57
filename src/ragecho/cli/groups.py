"""`ragecho groups`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server
from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, short_time, show_fields
from ragecho.cli.paging import Limit, Offset, show_page

if TYPE_CHECKING:
    from ragecho_sdk import Group

app = App(help="List, create and change groups of people.")

GroupId = Annotated[str, typer.Argument(metavar="GROUP", help="The group's id, as `groups ls` shows it.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The person's id, as `members ls` shows it.")]


@app.command("ls")
def list_groups(
    *,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Text in name or description.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the organisation's groups."""
    with connect(server, api_key, None) as echo:
        page = echo.groups.list(q=query, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "NAME", "MEMBERS", "DESCRIPTION"),
        lambda g: (g.id, g.name, g.members, g.description),
        as_json=as_json,
        empty="No groups.",
        flexible="NAME",
        optional=("DESCRIPTION",),
    )


@app.command("create")
def create_group(
    name: Annotated[str, typer.Argument(help="The name that people see.")],
    *,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Create a group."""
    with connect(server, api_key, None) as echo:
        _show(echo.groups.create(name, description=description), as_json)


@app.command("rename")
def rename_group(
    group: GroupId,
    *,
    name: Annotated[str | None, typer.Option(help="The name that people see.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Change a group's name or description."""
    if name is None and description is None:
        raise BadUse("say what to change: --name or --description.")
    with connect(server, api_key, None) as echo:
        _show(echo.groups.update(group, name=name, description=description), as_json)


@app.command("rm")
def delete_group(group: GroupId, *, server: Server = None, api_key: ApiKey = None) -> None:
    """Delete a group; what was granted to it is granted to nobody by that."""
    with connect(server, api_key, None) as echo:
        echo.groups.delete(group)
    note(f"Deleted {group}.")


@app.command("members")
def list_members(
    group: GroupId,
    *,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List a group's people."""
    with connect(server, api_key, None) as echo:
        page = echo.groups.members(group, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "EMAIL", "NAME", "SINCE"),
        lambda m: (m.user_id, m.email, m.name, short_time(m.created_at)),
        as_json=as_json,
        empty="Nobody.",
        flexible="EMAIL",
        optional=("SINCE", "NAME"),
    )


@app.command("add")
def add_member(group: GroupId, user: User, *, server: Server = None, api_key: ApiKey = None) -> None:
    """Put a member of the organisation into a group."""
    with connect(server, api_key, None) as echo:
        echo.groups.add_member(group, user)
    note(f"Added {user}.")


@app.command("remove")
def remove_member(group: GroupId, user: User, *, server: Server = None, api_key: ApiKey = None) -> None:
    """Take a person out of a group."""
    with connect(server, api_key, None) as echo:
        echo.groups.remove_member(group, user)
    note(f"Removed {user}.")


def _show(group: "Group", as_json: bool) -> None:
    if as_json:
        emit_json(group.raw)
        return
    show_fields(
        [("id", group.id), ("name", group.name), ("description", group.description), ("members", group.members)]
    )
