"""SQL of sources and their runs."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.ingest.sources.model import RUNNING, Run, StoredSource
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import JobId

SOURCE_COLUMNS = (
    "id, organization_id, workspace_id, kind, name, config, sealed, labels, labels_version, owner_id, made_by,"
    " interval_seconds, is_paused, is_removing, cursor, failures, error, run_id, next_run_at, last_success_at, created_at,"
    " updated_at"
)
RUN_COLUMNS = (
    "id, source_id, job_id, reason, status, is_complete, cursor, listed, added, changed, unchanged, removed, skipped,"
    " failed, error, created_at, started_at, finished_at"
)
# How many runs of a source are remembered.
KEPT_RUNS = 100
COUNTS = ("listed", "added", "changed", "unchanged", "removed", "skipped", "failed")


async def insert_source(session: AsyncConnection, caller: Caller, values: Mapping[str, Any]) -> None:
    """Create a source; it is due at once."""
    await session.execute(
        text(
            "insert into sources (workspace_id, id, organization_id, kind, name, config, sealed, labels, owner_id, made_by,"
            " interval_seconds, is_paused) values (:workspace_id, :id, :organization_id, :kind, :name,"
            " cast(:config as jsonb), :sealed, cast(:labels as jsonb), :owner_id, :made_by, :interval_seconds, :is_paused)"
        ),
        {
            **values,
            "workspace_id": caller.workspace_id,
            "organization_id": caller.organization_id,
            "config": _json(values["config"]),
            "labels": _json(values["labels"]),
        },
    )


async def update_source(session: AsyncConnection, caller: Caller, source: StoredSource) -> None:
    """Write what a person may change; a new interval counts from now."""
    await session.execute(
        text(
            "update sources set name = :name, config = cast(:config as jsonb), sealed = :sealed,"
            " labels_version = labels_version + case when labels = cast(:labels as jsonb) then 0 else 1 end,"
            " labels = cast(:labels as jsonb), is_paused = :is_paused, interval_seconds = :interval_seconds,"
            " next_run_at = case when next_run_at is null or interval_seconds is distinct from cast(:interval_seconds as int)"
            "   then now() + make_interval(secs => cast(:interval_seconds as int)) else next_run_at end,"
            " is_removing = :is_removing, updated_at = now()"
            " where workspace_id = :workspace_id and id = :id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": source.id,
            "name": source.name,
            "config": _json(source.config),
            "sealed": source.sealed,
            "labels": _json(source.labels),
            "is_paused": source.is_paused,
            "interval_seconds": source.interval_seconds,
            "is_removing": source.is_removing,
        },
    )


async def delete_source(session: AsyncConnection, caller: Caller, source_id: UUID) -> None:
    """Forget a source, its items and runs; documents stay."""
    await session.execute(
        text("delete from sources where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": source_id},
    )


async def get_source(
    session: AsyncConnection, caller: Caller, source_id: UUID, *, for_update: bool = False
) -> StoredSource | None:
    """Return a source, locked until the transaction ends when `for_update`."""
    found = await session.execute(
        text(
            f"select {SOURCE_COLUMNS} from sources where workspace_id = :workspace_id and id = :id"
            + (" for update" if for_update else "")
        ),
        {"workspace_id": caller.workspace_id, "id": source_id},
    )
    row = found.mappings().first()
    return _source(row) if row else None


async def list_sources(
    session: AsyncConnection, caller: Caller, *, limit: int, offset: int
) -> tuple[list[StoredSource], int]:
    """Return one page, newest first, and how many there are."""
    found = await session.execute(
        text(
            f"select {SOURCE_COLUMNS}, count(*) over () as total from sources"
            " where workspace_id = :workspace_id and not is_removing"
            " order by created_at desc, id desc limit :limit offset :offset"
        ),
        {"workspace_id": caller.workspace_id, "limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    return [_source(row) for row in rows], (rows[0]["total"] if rows else 0)


async def due_sources(session: AsyncConnection, *, limit: int) -> list[tuple[UUID, UUID, UUID]]:
    """Return (organisation, workspace, source) of what is due, over all tenants; for a transaction without a caller."""
    found = await session.execute(
        text("select organization_id, workspace_id, id from ragecho_due_sources(:limit)"), {"limit": limit}
    )
    return [(row[0], row[1], row[2]) for row in found]


async def lock_due_source(session: AsyncConnection, caller: Caller, source_id: UUID) -> StoredSource | None:
    """Return the source locked if it is due still, and nobody else is about to start it."""
    found = await session.execute(
        text(
            f"select {SOURCE_COLUMNS} from sources where workspace_id = :workspace_id and id = :id and next_run_at <= now()"
            " and not is_paused for update skip locked"
        ),
        {"workspace_id": caller.workspace_id, "id": source_id},
    )
    row = found.mappings().first()
    return _source(row) if row else None


async def postpone(session: AsyncConnection, caller: Caller, source_id: UUID) -> None:
    """Let a source be due an interval from now: the run that should begin is still under way from before."""
    await session.execute(
        text(
            "update sources set next_run_at = now() + make_interval(secs => interval_seconds)"
            " where workspace_id = :workspace_id and id = :id"
        ),
        {"workspace_id": caller.workspace_id, "id": source_id},
    )


async def insert_run(
    session: AsyncConnection, caller: Caller, source_id: UUID, *, run_id: UUID, job_id: JobId, reason: str
) -> None:
    """Begin a run: it is the source's newest, the next one is an interval from now, and the oldest are forgotten."""
    values = {
        "workspace_id": caller.workspace_id,
        "source_id": source_id,
        "id": run_id,
        "job_id": job_id,
        "reason": reason,
        "kept": KEPT_RUNS,
    }
    await session.execute(
        text(
            "insert into source_runs (workspace_id, id, source_id, job_id, reason)"
            " values (:workspace_id, :id, :source_id, :job_id, :reason)"
        ),
        values,
    )
    await session.execute(
        text(
            "update sources set run_id = :id, next_run_at = now() + make_interval(secs => interval_seconds)"
            " where workspace_id = :workspace_id and id = :source_id"
        ),
        values,
    )
    await session.execute(
        text(
            "delete from source_runs where workspace_id = :workspace_id and source_id = :source_id and id in"
            " (select id from source_runs where workspace_id = :workspace_id and source_id = :source_id"
            "  order by created_at desc, id desc offset :kept)"
        ),
        values,
    )


async def get_run(session: AsyncConnection, caller: Caller, run_id: UUID) -> Run | None:
    """Return a run."""
    return await _one_run(session, "id = :value", caller, run_id)


async def run_of_job(session: AsyncConnection, caller: Caller, job_id: JobId) -> Run | None:
    """Return the run that a job carries on."""
    return await _one_run(session, "job_id = :value", caller, job_id)


async def list_runs(
    session: AsyncConnection, caller: Caller, source_id: UUID, *, limit: int, offset: int
) -> tuple[list[Run], int]:
    """Return one page of a source's runs, newest first, and how many there are."""
    found = await session.execute(
        text(
            f"select {RUN_COLUMNS}, count(*) over () as total from source_runs"
            " where workspace_id = :workspace_id and source_id = :source_id"
            " order by created_at desc, id desc limit :limit offset :offset"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    return [_run(row) for row in rows], (rows[0]["total"] if rows else 0)


async def begin_run(session: AsyncConnection, caller: Caller, run_id: UUID) -> None:
    """Note that a worker looks at the source now."""
    await session.execute(
        text(
            "update source_runs set status = 'listing', started_at = coalesce(started_at, now())"
            " where workspace_id = :workspace_id and id = :id and status = 'queued'"
        ),
        {"workspace_id": caller.workspace_id, "id": run_id},
    )


async def listed_run(
    session: AsyncConnection, caller: Caller, run_id: UUID, *, is_complete: bool, cursor: Mapping[str, Any] | None
) -> None:
    """Note that the listing is stored; what is left are its waiting items."""
    await session.execute(
        text(
            "update source_runs set status = 'fetching', is_complete = :is_complete, cursor = cast(:cursor as jsonb)"
            " where workspace_id = :workspace_id and id = :id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": run_id,
            "is_complete": is_complete,
            "cursor": None if cursor is None else _json(cursor),
        },
    )


async def count(session: AsyncConnection, caller: Caller, run_id: UUID, **more: int) -> None:
    """Add to a run's counts."""
    given = {name: number for name, number in more.items() if number and name in COUNTS}
    if given:
        sums = ", ".join(f"{name} = {name} + :{name}" for name in given)
        await session.execute(
            text(f"update source_runs set {sums} where workspace_id = :workspace_id and id = :id"),
            {"workspace_id": caller.workspace_id, "id": run_id, **given},
        )


async def truncate_run(session: AsyncConnection, caller: Caller, run_id: UUID) -> None:
    """Note that there is more than was looked at: what was not seen need not be gone."""
    await session.execute(
        text("update source_runs set is_complete = false where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": run_id},
    )


async def carry_on(session: AsyncConnection, caller: Caller, run_id: UUID, job_id: JobId) -> None:
    """Hand the run to another job."""
    await session.execute(
        text("update source_runs set job_id = :job_id where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": run_id, "job_id": job_id},
    )


async def finish_run(
    session: AsyncConnection, caller: Caller, run: Run, *, status: str, error: Mapping[str, Any] | None = None
) -> None:
    """End a run and say in its source how it went. After failures in a row the next try is later, at most a day."""
    values = {
        "workspace_id": caller.workspace_id,
        "id": run.id,
        "source_id": run.source_id,
        "status": status,
        "error": None if error is None else _json(error),
        "cursor": None if run.cursor is None else _json(run.cursor),
        "running": list(RUNNING),
    }
    ended = await session.execute(
        text(
            "update source_runs set status = :status, error = cast(:error as jsonb), finished_at = now()"
            " where workspace_id = :workspace_id and id = :id and status = any (:running) returning id"
        ),
        values,
    )
    if ended.first() is None or status == "cancelled":
        return
    if status == "failed":
        statement = (
            "update sources set failures = failures + 1, error = cast(:error as jsonb), next_run_at = now() +"
            " make_interval(secs => least(interval_seconds * power(2, least(failures, 16)), greatest(interval_seconds, 86400)))"
        )
    else:
        statement = (
            "update sources set failures = 0, error = null, last_success_at = now(), cursor = cast(:cursor as jsonb)"
        )
    await session.execute(text(statement + " where workspace_id = :workspace_id and id = :source_id"), values)


async def _one_run(session: AsyncConnection, condition: str, caller: Caller, value: UUID) -> Run | None:
    found = await session.execute(
        text(f"select {RUN_COLUMNS} from source_runs where workspace_id = :workspace_id and {condition}"),
        {"workspace_id": caller.workspace_id, "value": value},
    )
    row = found.mappings().first()
    return _run(row) if row else None


def _source(row: RowMapping) -> StoredSource:
    return StoredSource(**{name.strip(): row[name.strip()] for name in SOURCE_COLUMNS.split(",")})


def _run(row: RowMapping) -> Run:
    return Run(**{name.strip(): row[name.strip()] for name in RUN_COLUMNS.split(",")})


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
