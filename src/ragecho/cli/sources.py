"""`ragecho sources`."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.errors import BadUse
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, say, short_time, show_fields, show_table, status_mark
from ragecho.cli.paging import Limit, Offset, show_page
from ragecho.kernel.caller import Access

if TYPE_CHECKING:
    from ragecho_sdk.source_models import Source, SourceRun

app = App(help="Set up, sync and remove places that documents come from.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The source's id, as `sources ls` shows it.")]
_NUMBERS = ("listed", "added", "changed", "unchanged", "removed", "skipped", "failed")


@app.command("add")
def add_source(
    kind: Annotated[str, typer.Argument(help="url, sitemap, crawl, feed, s3, git or imap.")],
    target: Annotated[str, typer.Argument(help="Its URL; of s3 the bucket, of imap the host.")],
    *,
    name: Annotated[str | None, typer.Option(help="What to call it; default the target.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of its kind, as JSON or text; repeatable."),
    ] = None,
    secrets: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="NAME", help="A secret, read from standard input line by line; repeatable."),
    ] = None,
    every: Annotated[int | None, typer.Option(metavar="SECONDS", min=60, help="Look at it again and again.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Tag; repeatable.")] = None,
    access: Annotated[Access | None, typer.Option(help="Who may read the documents.")] = None,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Set up a source and start its first run."""
    config = {_target_field(kind): target, **dict(_setting(option) for option in options or ())}
    given = {secret: sys.stdin.readline().rstrip("\r\n") for secret in secrets or ()}
    labels: dict[str, Any] = {"tags": tags or []}
    if access is not None:
        labels["access"] = str(access)
    with connect(server, api_key, workspace) as echo:
        source = echo.sources.add(
            kind, name or target, config, secrets=given or None, labels=labels, interval_seconds=every
        )
    _show(source, as_json)


@app.command("ls")
def list_sources(
    *,
    limit: Limit = 50,
    offset: Offset = 0,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List sources, newest first."""
    with connect(server, api_key, workspace) as echo:
        page = echo.sources.list(limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "KIND", "NAME", "DOCUMENTS", "STATE", "NEXT RUN"),
        lambda s: (s.id, s.kind, s.name, s.documents, _state(s), short_time(s.next_run_at)),
        as_json=as_json,
        empty="No sources. Set one up with `ragecho sources add`.",
        flexible="NAME",
        optional=("NEXT RUN",),
    )


@app.command("show")
def show_source(
    source_id: Id,
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one source, how its runs went, and what failed in it."""
    with connect(server, api_key, workspace) as echo:
        source = echo.sources.get(source_id)
        if as_json:
            emit_json(source.raw)
            return
        runs = echo.sources.runs(source_id, limit=5)
        failed = echo.sources.items(source_id, status="failed", limit=10)
    _show(source, as_json=False)
    say("")
    show_table(
        ("RUN", "STATUS", *(name.upper() for name in _NUMBERS), "ERROR"),
        [(short_time(run.created_at), status_mark(run.status), *_numbers(run), run.error) for run in runs],
        empty="No runs.",
        flexible="ERROR",
        optional=("LISTED", "UNCHANGED", "SKIPPED"),
    )
    for item in failed:
        note(f"{item.key}: {item.error}")


@app.command("sync")
def sync_source(
    source_id: Id,
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Look at a source now."""
    with connect(server, api_key, workspace) as echo:
        run = echo.sources.sync(source_id)
    if as_json:
        emit_json(run.raw)
        return
    note(f"Run {run.id} is {run.status}. `ragecho sources show {source_id}` says how it goes.")


@app.command("rm")
def remove_source(
    source_id: Id,
    *,
    keep_documents: Annotated[bool, typer.Option("--keep-documents", help="Leave its documents.")] = False,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Remove a source, and its documents unless they are kept."""
    with connect(server, api_key, workspace) as echo:
        echo.sources.delete(source_id, keep_documents=keep_documents)
    note(f"Removed {source_id}.")


def _target_field(kind: str) -> str:
    return {"s3": "bucket", "imap": "host"}.get(kind, "url")


def _setting(option: str) -> tuple[str, Any]:
    name, found, value = option.partition("=")
    if not found or not name:
        raise BadUse(f"--set takes NAME=VALUE, not '{option}'.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _state(source: "Source") -> str:
    if source.paused:
        return "paused"
    if source.run is not None and source.run.is_open:
        return source.run.status
    if source.error is not None:
        return f"failed: {source.error}"
    return source.run.status if source.run is not None else ""


def _numbers(run: "SourceRun") -> list[int]:
    return [getattr(run, name) for name in _NUMBERS]


def _show(source: "Source", as_json: bool) -> None:
    if as_json:
        emit_json(source.raw)
        return
    show_fields(
        [
            ("id", source.id),
            ("kind", source.kind),
            ("name", source.name),
            ("config", json.dumps(source.config)),
            ("labels", json.dumps(source.labels)),
            ("secrets", "stored" if source.has_secrets else None),
            ("every", f"{source.interval_seconds} s" if source.interval_seconds else None),
            ("documents", source.documents),
            ("state", _state(source)),
            ("next run", short_time(source.next_run_at)),
            ("last success", short_time(source.last_success_at)),
        ]
    )
