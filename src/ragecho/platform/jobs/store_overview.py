"""SQL that looks at jobs, and what is done with many of them at once. Row-level security decides which are seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId, JobId
from ragecho.platform.jobs.model import Batch, Job, QueueDepth
from ragecho.platform.jobs.store import COLUMNS, job_of

_WANTED = """workspace_id = :workspace_id and (cast(:statuses as text[]) is null or status = any (:statuses))
    and (cast(:batch_id as uuid) is null or batch_id = :batch_id)
    and (cast(:document_id as uuid) is null or document_id = :document_id)"""
LIST = text(f"select {COLUMNS} from jobs where {_WANTED} order by created_at desc, id desc limit :limit offset :offset")
STILL_READABLE = """
    and exists (select from documents d where d.workspace_id = jobs.workspace_id and d.id = jobs.document_id and d.readers &&
      (select ragecho_present_principals(cast(:user_id as uuid), cast(:api_key_id as uuid), cast(:grant_id as uuid))))"""
COUNT = text(f"select count(*) from jobs where {_WANTED}")


async def list_jobs(
    session: AsyncConnection,
    caller: Caller,
    *,
    statuses: Sequence[str] | None = None,
    batch_id: UUID | None = None,
    document_id: DocumentId | None = None,
    limit: int,
    offset: int,
) -> tuple[list[Job], int]:
    """Return one page of jobs, newest first, and how many there are."""
    wanted = {
        "workspace_id": caller.workspace_id,
        "statuses": list(statuses) if statuses else None,
        "batch_id": batch_id,
        "document_id": document_id,
    }
    found = await session.execute(LIST, wanted | {"limit": limit, "offset": offset})
    total = await session.execute(COUNT, wanted)
    return [job_of(row) for row in found.mappings()], int(total.scalar_one())


async def get_many(
    session: AsyncConnection, caller: Caller, job_ids: Sequence[JobId], *, is_still_caller: bool = False
) -> list[Job]:
    """Return those of the jobs that the caller may see, oldest first; `is_still_caller` as in `look`."""
    return (await look(session, caller, job_ids, is_still_caller=is_still_caller)).jobs


@dataclass(frozen=True, slots=True)
class Look:
    """Jobs as they were at one moment, oldest first. `mark` names the moment: see `changed_since`; None without jobs."""

    jobs: list[Job]
    mark: int | None


async def look(
    session: AsyncConnection, caller: Caller, job_ids: Sequence[JobId], *, is_still_caller: bool = False
) -> Look:
    """Return those of the jobs that the caller may see, and a mark of the moment.

    With `is_still_caller` by what the caller is at this moment rather than was when the request began: a credential that
    ended, a membership or a group that was left, leave nothing.
    """
    still = is_still_caller and not caller.sees_all
    found = await session.execute(
        text(
            f"select {COLUMNS}, cast(cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as bigint) as mark from jobs"
            " where workspace_id = :workspace_id and id = any (:ids)"
            + (STILL_READABLE if still else "")
            + " order by created_at, id"
        ),
        {"workspace_id": caller.workspace_id, "ids": list(job_ids)} | (_credentials(caller) if still else {}),
    )
    rows = found.mappings().all()
    return Look([job_of(row) for row in rows], int(rows[0]["mark"]) if rows else None)


async def changed_since(
    session: AsyncConnection, caller: Caller, job_ids: Sequence[JobId], mark: int
) -> set[JobId] | None:
    """Return which of the jobs were changed by a transaction that had not ended at `mark`; None when it is not of this database.

    A row's `xmin` is the transaction that wrote it, of which 32 bits are kept. Some jobs that did not change may be among them.
    """
    ahead = await session.execute(
        text("select cast(cast(pg_snapshot_xmax(pg_current_snapshot()) as text) as bigint) < :mark"), {"mark": mark}
    )
    if ahead.scalar_one():
        return None
    found = await session.execute(
        text(
            "select id from jobs where workspace_id = :workspace_id and id = any (:ids)"
            " and mod(cast(cast(xmin as text) as bigint) - mod(cast(:mark as bigint), 4294967296) + 4294967296, 4294967296)"
            "   < 2147483648"
        ),
        {"workspace_id": caller.workspace_id, "ids": list(job_ids), "mark": mark},
    )
    return set(found.scalars())


async def get_batch(
    session: AsyncConnection, caller: Caller, batch_id: UUID, *, is_still_caller: bool = False
) -> Batch | None:
    """Return how far an upload is; None when the caller sees no job of it. `is_still_caller` as in `look`."""
    still = is_still_caller and not caller.sees_all
    found = await session.execute(
        text(
            "select status, count(*) as jobs, sum(case when status in ('queued', 'running') then progress else 1 end) as done"
            " from jobs where workspace_id = :workspace_id and batch_id = :batch_id"
            + (STILL_READABLE if still else "")
            + " group by status"
        ),
        {"workspace_id": caller.workspace_id, "batch_id": batch_id} | (_credentials(caller) if still else {}),
    )
    rows = found.mappings().all()
    if not rows:
        return None
    statuses = {row["status"]: int(row["jobs"]) for row in rows}
    return Batch(batch_id, statuses, min(1.0, float(sum(row["done"] for row in rows)) / sum(statuses.values())))


def _credentials(caller: Caller) -> dict[str, object]:
    return {"user_id": caller.user_id, "api_key_id": caller.api_key_id, "grant_id": caller.grant_id}


async def discard(session: AsyncConnection, caller: Caller, job_id: JobId) -> None:
    """Forget a job that has ended; its document stays as it is."""
    await session.execute(
        text("delete from jobs where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": job_id},
    )


async def forget_ended(session: AsyncConnection, caller: Caller, *, days: int, limit: int) -> int:
    """Forget some jobs that ended well or were cancelled more than `days` ago; return how many."""
    done = await session.execute(
        text(
            "delete from jobs where workspace_id = :workspace_id and id in (select id from jobs"
            " where workspace_id = :workspace_id and status in ('succeeded', 'cancelled')"
            " and finished_at < now() - make_interval(days => :days) limit :limit)"
        ),
        {"workspace_id": caller.workspace_id, "days": days, "limit": limit},
    )
    return int(done.rowcount)


async def queue_depths(session: AsyncConnection) -> list[QueueDepth]:
    """Return how many deliveries stand in each queue and status, over all tenants, and the oldest one's age: for the metrics."""
    found = await session.execute(
        text(
            "select queue_name, status::text as status, count(*) as jobs, extract(epoch from now() - min(scheduled_at)) as oldest"
            " from procrastinate_jobs where status in ('todo', 'doing', 'failed') group by 1, 2"
        )
    )
    return [
        QueueDepth(row["queue_name"], row["status"], int(row["jobs"]), max(0.0, float(row["oldest"] or 0)))
        for row in found.mappings()
    ]
