"""`ragecho jobs`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragecho.cli.connection import connect
from ragecho.cli.connection_options import ApiKey, AsJson, Server, WorkspaceName
from ragecho.cli.lazy import App
from ragecho.cli.output import emit_json, note, short_time, show_fields, status_mark
from ragecho.cli.paging import Limit, Offset, show_page

if TYPE_CHECKING:
    from ragecho_sdk import Job

app = App(help="List, show, follow, retry, cancel and discard background jobs.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as `jobs ls` shows it.")]


@app.command("ls")
def list_jobs(
    *,
    status: Annotated[
        str | None, typer.Option(help="queued, running, succeeded, failed, cancelled or dead (given up).")
    ] = None,
    batch: Annotated[str | None, typer.Option(metavar="ID", help="The jobs of one upload.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connect(server, api_key, workspace) as echo:
        if status == "dead":
            page = echo.jobs.dead(limit=limit, offset=offset)
        else:
            page = echo.jobs.list(status=status, batch=batch, limit=limit, offset=offset)
    show_page(
        page,
        ("ID", "STATUS", "KIND", "ATTEMPTS", "ERROR", "CREATED"),
        lambda j: (j.id, status_mark(j.status), j.kind, j.attempts, j.error, short_time(j.created_at)),
        as_json=as_json,
        empty="No jobs.",
        flexible="ERROR",
        optional=("KIND", "ATTEMPTS", "CREATED"),
    )


@app.command("show")
def show_job(
    job_id: Id,
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one job."""
    with connect(server, api_key, workspace) as echo:
        _show(echo.jobs.get(job_id), as_json)


@app.command("follow")
def follow_jobs(
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="The upload, as `jobs show` names it.")],
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Follow the jobs of an upload live until all have ended; exit code 1 if any ended without success."""
    from ragecho_sdk import Batch

    last: Batch | None = None
    with connect(server, api_key, workspace) as echo:
        for one in echo.jobs.follow(batch=batch):
            if isinstance(one, Batch):
                last = one
            if as_json:
                emit_json(one.raw)
            elif isinstance(one, Batch):
                note(f"{one.progress:.0%} of {one.total}")
            else:
                note(f"{one.id} {one.stage or one.kind} {one.status}")
    if last is not None and last.statuses.get("succeeded", 0) < last.total:
        raise typer.Exit(1)


@app.command("retry")
def retry_job(
    job_id: Id,
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Try a failed or dead job again."""
    with connect(server, api_key, workspace) as echo:
        _show(echo.jobs.retry(job_id), as_json)


@app.command("cancel")
def cancel_job(
    job_id: Id,
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job that is not finished."""
    with connect(server, api_key, workspace) as echo:
        _show(echo.jobs.cancel(job_id), as_json)


@app.command("discard")
def discard_job(
    job_id: Id,
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Forget a job that ended without success; its document stays as it is."""
    with connect(server, api_key, workspace) as echo:
        echo.jobs.discard(job_id)
    note("Discarded.")


@app.command("retry-dead")
def retry_dead_jobs(
    *,
    workspace: WorkspaceName = None,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Try all jobs again that were given up."""
    with connect(server, api_key, workspace) as echo:
        retried = echo.jobs.retry_dead()
    if as_json:
        emit_json({"retried": retried})
        return
    note(f"{retried} jobs are tried again.")


def _show(job: "Job", as_json: bool) -> None:
    if as_json:
        emit_json(job.raw)
        return
    show_fields(
        [
            ("id", job.id),
            ("status", status_mark(job.status)),
            ("kind", job.kind),
            ("document", job.document_id),
            ("attempts", job.attempts),
            ("progress", None if job.progress is None else f"{job.progress:.0%}"),
            ("error", job.error),
            ("batch", job.batch),
            ("created", short_time(job.created_at)),
        ]
    )
