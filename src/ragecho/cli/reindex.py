"""`ragecho reindex`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.output import counted, emit_json, note, progress_bar, short_time, show_fields

if TYPE_CHECKING:
    from ragecho_sdk import Echo
    from ragecho_sdk.index import Reindex

app = App()

FAILED = 1


@app.command()
def reindex(
    *,
    model: Annotated[
        str | None, typer.Option(help="A model of `ragecho models ls`, or provider:model; default RAGECHO_EMBEDDER.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, max=4000, help="Fewer dimensions, where the model was trained for that.")
    ] = None,
    is_all: Annotated[
        bool, typer.Option("--all", help="Every workspace, on the machine that holds the database.")
    ] = False,
    is_status: Annotated[bool, typer.Option("--status", help="Only tell how far it is.")] = False,
    is_cancelling: Annotated[bool, typer.Option("--cancel", help="Give up; the workspace stays as it is.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is over.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="How many seconds to wait.")] = 86_400,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> int:
    """Embed a workspace's documents anew, with another model or other settings, while searches go on.

    Another embedding space is filled in the background, then queries use it at once.

    Uploads go on, too; interrupting this command stops nothing. Exit code 1 when it fails.
    """
    if is_status and is_cancelling:
        raise BadUse("--status and --cancel do not go together.")
    if is_all:
        if workspace or is_status or is_cancelling:
            raise BadUse("--all goes with --model, --dimensions, --no-wait and --json only.")
        return _reindex_all(model, dimensions, timeout_seconds=timeout if wait else 0.0, as_json=as_json)
    from ragecho.cli.connection import connect

    with connect(server, api_key, workspace) as echo:
        if is_status:
            found = echo.index.reindex_state()
        elif is_cancelling:
            found = echo.index.cancel_reindex()
        else:
            found = echo.index.reindex(model=model, dimensions=dimensions)
            if wait and not found.is_over:
                found = _followed(echo, found, timeout, is_shown=not as_json)
    if as_json:
        emit_json(found.raw)
    else:
        _show(found)
    return FAILED if found.status == "failed" else 0


def _followed(echo: "Echo", found: "Reindex", timeout_seconds: float, *, is_shown: bool) -> "Reindex":
    with progress_bar(is_shown=is_shown) as bar:
        task = bar.add_task(f"Embedding with {found.to_model}", total=max(found.documents_total, 1))

        def show(now: "Reindex") -> None:
            bar.update(task, completed=now.documents_done, total=max(now.documents_total, 1))

        return echo.index.wait_until_reindexed(timeout_seconds=timeout_seconds, on_progress=show)


def _show(found: "Reindex") -> None:
    if found.status == "none":
        note(f"The workspace uses {found.from_model} ({found.from_dimensions} dimensions) already.")
        return
    show_fields(
        [
            ("status", found.status),
            ("from", f"{found.from_model}, {found.from_dimensions} dimensions, {found.from_chunking}"),
            ("to", f"{found.to_model}, {found.to_dimensions} dimensions, {found.to_chunking}"),
            ("documents", f"{found.documents_done} of {found.documents_total}"),
            ("chunks", found.chunks),
            ("error", found.error["message"] if found.error else None),
            ("started", short_time(found.started_at)),
            ("ready about", short_time(found.eta)),
            ("finished", short_time(found.finished_at)),
        ]
    )


def _reindex_all(model: str | None, dimensions: int | None, *, timeout_seconds: float, as_json: bool) -> int:
    from ragecho.cli.settings import load_settings
    from ragecho.platform.settings import Settings
    from ragecho.roles.index import reindex_all

    with progress_bar(is_shown=not as_json) as bar:
        task = bar.add_task("Embedding", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        outcomes = reindex_all(
            load_settings(Settings),
            model=model,
            dimensions=dimensions,
            timeout_seconds=timeout_seconds,
            on_progress=show,
        )
    if as_json:
        items = [{"workspace_id": one.workspace, "status": one.status, "error": one.error} for one in outcomes]
        emit_json({"items": items, "total": len(items)})
    else:
        for one in outcomes:
            print(f"{one.workspace}: {one.status}{f' ({one.error})' if one.error else ''}")
        note(f"{counted(len(outcomes), 'workspace')}.")
    return FAILED if any(one.status == "failed" for one in outcomes) else 0
