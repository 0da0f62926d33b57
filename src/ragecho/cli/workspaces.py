"""`ragecho workspaces`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.acts import Actor, RequestId, Since, Until, show_acts
from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server
from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.output import counted, emit_json, note, short_time, show_fields, status_mark
from ragecho.cli.paging import Limit, Offset, show_page

if TYPE_CHECKING:
    from ragecho_sdk import BulkResult, Echo, Workspace

app = App(help="List, create, change, archive and restore workspaces.")

Name = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Id or slug.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="WORKSPACE", help="Ids or slugs.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the audit log.")]
Status = Annotated[str | None, typer.Option(help="active or archived.")]
Query = Annotated[str | None, typer.Option("--query", "-q", help="Text in slug, name or description.")]
Matching = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Instead of names: all whose slug, name or description holds it.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("ls")
def list_workspaces(
    *,
    query: Query = None,
    status: Status = None,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the workspaces that the key may see."""
    with connect(server, api_key, None) as echo:
        page = echo.workspaces.list(q=query, status=status, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "SLUG", "NAME", "STATUS", "CREATED"),
        lambda w: (w.id, w.slug, w.name, status_mark(w.status or "active"), short_time(w.created_at)),
        as_json=as_json,
        empty="No workspaces.",
        flexible="NAME",
        optional=("CREATED", "STATUS"),
    )


@app.command("show")
def show_workspace(workspace: Name, *, server: Server = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Show one workspace."""
    with connect(server, api_key, None) as echo:
        _show(echo.workspaces.get(workspace), as_json)


@app.command("create")
def create_workspace(
    slug: Annotated[str, typer.Argument(help="The name in addresses and options: small letters, digits, hyphens.")],
    *,
    name: Annotated[str | None, typer.Option(help="The name that people see; default the slug.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    model: Annotated[
        str | None, typer.Option(help="What its documents are embedded with; default the server's RAGECHO_EMBEDDER.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, max=4000, help="Fewer dimensions, where the model was trained for that.")
    ] = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Create a workspace as the organisation's administrator; on the server's machine see `admin workspace create`."""
    with connect(server, api_key, None) as echo:
        made = echo.workspaces.create(
            slug, name=name, description=description, embedding_model=model, embedding_dimensions=dimensions
        )
        _show(made, as_json)


@app.command("rename")
def rename_workspace(
    workspace: Name,
    *,
    name: Annotated[str | None, typer.Option(help="The name that people see.")] = None,
    slug: Annotated[str | None, typer.Option(help="The name in addresses and options.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Change a workspace's name, slug or description."""
    if name is None and slug is None and description is None:
        raise BadUse("say what to change: --name, --slug or --description.")
    with connect(server, api_key, None) as echo:
        _show(echo.workspaces.update(workspace, name=name, slug=slug, description=description), as_json)


@app.command("archive")
def archive_workspaces(
    workspaces: Names = None,
    *,
    matching: Matching = None,
    reason: Reason = None,
    yes: Yes = False,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Archive workspaces: they can be read but not changed."""
    with connect(server, api_key, None) as echo:
        result = _set_status(echo, "archive", workspaces or [], matching, reason=reason, is_confirmed=yes)
    _report("Archived", result, as_json)


@app.command("restore")
def restore_workspaces(
    workspaces: Names = None,
    *,
    matching: Matching = None,
    reason: Reason = None,
    yes: Yes = False,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Restore archived workspaces."""
    with connect(server, api_key, None) as echo:
        result = _set_status(echo, "restore", workspaces or [], matching, reason=reason, is_confirmed=yes)
    _report("Restored", result, as_json)


@app.command("rm")
def delete_workspace(
    workspace: Name,
    *,
    confirm: Annotated[str, typer.Option(metavar="SLUG", help="The workspace's slug once more.")],
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Delete an archived workspace with all its documents, for good."""
    with connect(server, api_key, None) as echo:
        echo.workspaces.delete(workspace, confirm=confirm)
    note(f"Deleted {confirm}.")


@app.command("members")
def list_members(
    workspace: Name,
    *,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Text in name or address.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List who may enter a workspace."""
    with connect(server, api_key, None) as echo:
        page = echo.workspaces.members(workspace, q=query, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "EMAIL", "NAME", "ROLE", "BY"),
        lambda m: (m.user_id, m.email, m.name, m.role, "organisation" if m.inherited else "workspace"),
        as_json=as_json,
        empty="Nobody.",
        flexible="EMAIL",
        optional=("NAME", "BY"),
    )


@app.command("set-member")
def set_member(
    workspace: Name,
    user_id: Annotated[str, typer.Argument(metavar="USER", help="The person's id, as `members ls` shows it.")],
    role: Annotated[str, typer.Argument(help="reader, editor or admin.")],
    *,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Give a member of the organisation a role in a workspace."""
    with connect(server, api_key, None) as echo:
        member = echo.workspaces.set_member(workspace, user_id, role)
    if as_json:
        emit_json(member.raw)
        return
    note(f"{member.email} is {member.role} of {workspace}.")


@app.command("remove-member")
def remove_member(
    workspace: Name,
    user_id: Annotated[str, typer.Argument(metavar="USER", help="The person's id.")],
    *,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Take a person out of a workspace."""
    with connect(server, api_key, None) as echo:
        echo.workspaces.remove_member(workspace, user_id)
    note(f"Removed {user_id} from {workspace}.")


@app.command("log")
def show_log(
    *,
    workspace: Annotated[str | None, typer.Option("--workspace", "-w", help="Only of this one, by id or slug.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this one (workspace.archived) or kind (workspace).")] = None,
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
    """Show what was done to workspaces and in them, newest first."""
    filters = {"workspace": workspace, "action": action, "request_id": request_id, "actor": actor, "from": since}
    with connect(server, api_key, None) as echo:
        page = echo.workspaces.audit_log(**filters, to=until, limit=limit, offset=offset)
    show_acts(page, as_json)


def _set_status(
    echo: "Echo", act: str, names: list[str], matching: str | None, *, reason: str | None, is_confirmed: bool
) -> "BulkResult":
    if bool(names) == (matching is not None):
        raise BadUse(f"name the workspaces to {act}, or say --matching TEXT.")
    if matching is None:
        ids = [echo.workspaces.get(name).id for name in names]
        many = echo.workspaces.archive_many if act == "archive" else echo.workspaces.restore_many
        return many(ids, reason=reason)
    status = "active" if act == "archive" else "archived"
    total = echo.workspaces.preview(q=matching, status=status).total
    if not is_confirmed:
        typer.confirm(f"{act.capitalize()} {counted(total, 'workspace')}?", abort=True, err=True)
    change = echo.workspaces.archive_matching if act == "archive" else echo.workspaces.restore_matching
    return change(expected_total=total, q=matching, status=status, reason=reason)


def _report(done: str, result: "BulkResult", as_json: bool) -> None:
    if as_json:
        emit_json(result.raw)
        return
    rest = f", {result.unchanged} were already" if result.unchanged else ""
    note(f"{done} {counted(result.done, 'workspace')}{rest}.")


def _show(workspace: "Workspace", as_json: bool) -> None:
    if as_json:
        emit_json(workspace.raw)
        return
    show_fields(
        [
            ("id", workspace.id),
            ("slug", workspace.slug),
            ("name", workspace.name),
            ("description", workspace.description),
            ("status", workspace.status),
            ("archived", short_time(workspace.archived_at)),
            ("embedding model", workspace.embedding_model),
            ("dimensions", workspace.embedding_dimensions),
        ]
    )
