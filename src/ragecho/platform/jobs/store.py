"""SQL of jobs. Enqueuing happens in the transaction that makes the work necessary: both commit, or neither."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId, JobId, VersionId, uuid7
from ragecho.platform.jobs.model import INGEST_QUEUE, OCR_QUEUE, OPEN_STATUSES, Job, Priority
from ragecho.platform.telemetry import inject

COLUMNS = (
    "id, organization_id, workspace_id, kind, document_id, version_id, status, stage, progress, attempts, max_attempts,"
    " error, trace, created_at, started_at, finished_at, queue_job_id, priority, batch_id, sealed, queue"
)
TASK = "ragecho.run_job"

_DEFERRED = """(procrastinate_defer_jobs_v1(array[row({queue}, :task, -{turn}, null, null, cast({args} as jsonb),
      {at})::procrastinate_job_to_defer_v1]))[1]"""
_LATER = _DEFERRED.format(queue="queue", turn="turn", args=":args", at="now() + make_interval(secs => :delay_seconds)")
DEFER = text(f"update jobs set queue_job_id = {_LATER} where workspace_id = :workspace_id and id = :id")
# Start-time fair queueing: a job's turn comes one after the last of its workspace's open jobs, and not before the queue's own
# time, which is the turn it serves now. A workspace with 10 000 documents waiting does not delay one that brings three. What is
# put off, as after a failure, keeps its old turn and does not hold the queue's time back.
TAKE_TURN = """
    greatest(
      coalesce((select turn + 1 from jobs where workspace_id = :workspace_id and status in ('queued', 'running')
                order by turn desc limit 1), 0),
      coalesce((select -q.priority from procrastinate_jobs q where q.status = 'todo' and q.queue_name = :queue
                and q.scheduled_at <= now() order by q.priority desc, q.id limit 1), 0))"""
_NOW = _DEFERRED.format(queue="cast(:queue as text)", turn="w.turn", args="w.args", at="now()")
ENQUEUE = text(f"""
    with taken as materialized (select {TAKE_TURN} as turn),
    wanted as (
      select n.*, taken.turn + n.place - 1 as turn
      from unnest(cast(:ids as uuid[]), cast(:document_ids as uuid[]), cast(:version_ids as uuid[]), cast(:sizes as bigint[]),
                  cast(:args as text[])) with ordinality as n (id, document_id, version_id, size, args, place), taken
    )
    insert into jobs (workspace_id, id, organization_id, kind, queue, document_id, version_id, trace, size, priority, batch_id,
                      sealed, turn, queue_job_id)
    select :workspace_id, w.id, :organization_id, :kind, :queue, w.document_id, w.version_id, cast(:trace as jsonb), w.size,
           :priority, cast(:batch_id as uuid), :sealed, w.turn, {_NOW}
    from wanted w order by w.place""")
# Done several at a time: first attempts on little input, and so much of it together that the batch takes seconds, because its
# worker's place is nobody else's meanwhile. Others wait for nobody and delay nobody.
SMALL_BYTES = 256 * 1024
BATCH_BYTES = 256 * 1024
# A workspace's own order: where one of its jobs is delivered while a more urgent one waits, the two change places, deliveries
# and turns. So priorities move nothing between workspaces.
PREFER = text("""
    with delivered as (
      select j.id, j.kind, j.queue, j.priority, j.queue_job_id, j.turn from jobs j
      join procrastinate_jobs q on q.id = j.queue_job_id and q.status = 'doing'
      where j.workspace_id = :workspace_id and j.id = :id and j.status = 'queued' for update of j
    ), urgent as (
      select j.id, j.queue_job_id, j.turn from jobs j join delivered d on j.kind = d.kind and j.queue = d.queue
      where j.workspace_id = :workspace_id and j.status = 'queued' and j.priority > d.priority
      order by j.priority desc, j.created_at, j.id limit 1 for update of j skip locked
    ), free as (
      select u.* from procrastinate_jobs q join urgent u on u.queue_job_id = q.id
      where q.status = 'todo' and q.scheduled_at <= now() for update of q skip locked
    ), addressed as (
      update procrastinate_jobs q
      set args = jsonb_set(q.args, '{job_id}', to_jsonb(case when q.id = d.queue_job_id then f.id else d.id end))
      from delivered d, free f where q.id in (d.queue_job_id, f.queue_job_id)
    ), exchanged as (
      update jobs j set queue_job_id = case when j.id = d.id then f.queue_job_id else d.queue_job_id end,
        turn = case when j.id = d.id then f.turn else d.turn end
      from delivered d, free f where j.workspace_id = :workspace_id and j.id in (d.id, f.id)
    )
    select id from free""")
CLAIM = text(f"""
    with delivered as (
      select id, kind, queue, queue_job_id, size, attempts = 0 and size <= :small and queue <> :alone as is_small from jobs
      where workspace_id = :workspace_id and id = :id and status = any (:open) for update
    ), waiting as (
      select j.queue_job_id, j.size, j.priority, j.created_at, j.id
      from jobs j join delivered d on j.kind = d.kind and j.queue = d.queue and d.is_small
      where j.workspace_id = :workspace_id and j.status = 'queued' and j.attempts = 0 and j.size <= :small and j.id <> d.id
      order by j.priority desc, j.created_at, j.id limit cast(:others as int) for update of j skip locked
    ), fitting as (
      select queue_job_id, (select size from delivered) + sum(size) over (order by priority desc, created_at, id) as together
      from waiting
    ), free as (
      select q.id from procrastinate_jobs q join fitting w on w.queue_job_id = q.id and w.together <= :batch_bytes
      where q.status = 'todo' for update of q skip locked
    ), taken as (
      -- Held by the same worker as the delivered one: if it dies, all are handed out again, one by one.
      update procrastinate_jobs q set status = 'doing',
        worker_id = (select p.worker_id from procrastinate_jobs p join delivered d on p.id = d.queue_job_id)
      from free where q.id = free.id returning q.id
    )
    update jobs j set status = 'running', attempts = j.attempts + 1, started_at = coalesce(j.started_at, now()),
      finished_at = null
    where j.workspace_id = :workspace_id
      and (j.id in (select id from delivered) or j.queue_job_id in (select id from taken))
    returning {COLUMNS}""")


@dataclass(frozen=True, slots=True)
class Work:
    """What a job is about; `size` is in bytes of input."""

    document_id: DocumentId | None = None
    version_id: VersionId | None = None
    size: int = 0


def _arguments(caller: Caller, job_id: JobId) -> str:
    args = {"job_id": job_id, "organization_id": caller.organization_id, "workspace_id": caller.workspace_id}
    return orjson.dumps(args).decode()


async def enqueue(
    session: AsyncConnection,
    caller: Caller,
    *,
    kind: str,
    document_id: DocumentId | None = None,
    version_id: VersionId | None = None,
    queue: str = INGEST_QUEUE,
    size: int = 0,
    priority: Priority = Priority.NORMAL,
    batch_id: UUID | None = None,
    sealed: str | None = None,
) -> JobId:
    """Create a job and hand it to the queue; workers see it when the transaction commits. `size` is in bytes of input."""
    work = Work(document_id, version_id, size)
    (job_id,) = await enqueue_all(
        session, caller, [work], kind=kind, queue=queue, priority=priority, batch_id=batch_id, sealed=sealed
    )
    return job_id


async def enqueue_all(
    session: AsyncConnection,
    caller: Caller,
    works: Sequence[Work],
    *,
    kind: str,
    queue: str = INGEST_QUEUE,
    priority: Priority = Priority.NORMAL,
    batch_id: UUID | None = None,
    sealed: str | None = None,
) -> list[JobId]:
    """Create a job for each of `works`, their turns one after the other; as `enqueue`."""
    job_ids = [JobId(uuid7()) for _ in works]
    if works:
        await session.execute(
            ENQUEUE,
            {
                "workspace_id": caller.workspace_id,
                "ids": job_ids,
                "organization_id": caller.organization_id,
                "kind": kind,
                "queue": queue,
                "document_ids": [work.document_id for work in works],
                "version_ids": [work.version_id for work in works],
                "trace": orjson.dumps(inject()).decode(),
                "sizes": [work.size for work in works],
                "priority": priority.rank,
                "batch_id": batch_id,
                "sealed": sealed,
                "task": TASK,
                "args": [_arguments(caller, job_id) for job_id in job_ids],
            },
        )
    return job_ids


async def deliver(session: AsyncConnection, caller: Caller, job_id: JobId, *, delay_seconds: float = 0.0) -> None:
    """Hand an existing job to its queue (again), not before `delay_seconds` from now."""
    await session.execute(
        DEFER,
        {
            "task": TASK,
            "args": _arguments(caller, job_id),
            "delay_seconds": delay_seconds,
            "workspace_id": caller.workspace_id,
            "id": job_id,
        },
    )


async def move(session: AsyncConnection, caller: Caller, job_id: JobId, *, queue: str) -> None:
    """Let a running job wait in another queue, with all its attempts: it did no wrong, it needs something else."""
    await session.execute(
        text(
            "update jobs set status = 'queued', stage = null, attempts = 0, started_at = null, queue = :queue"
            " where workspace_id = :workspace_id and id = :id"
        ),
        {"workspace_id": caller.workspace_id, "id": job_id, "queue": queue},
    )
    await deliver(session, caller, job_id)


async def room_of_organization(session: AsyncConnection, caller: Caller, most: int) -> int:
    """Return how many more deliveries of the caller's organisation may be taken up, holding the others' look for one."""
    await session.execute(text("select pg_advisory_xact_lock(hashtextextended('ragecho_fetch_job', 7))"))
    found = await session.execute(
        text(
            "select count(*) from procrastinate_jobs where status = 'doing' and args ->> 'organization_id' = :organization"
        ),
        {"organization": str(caller.organization_id)},
    )
    return max(0, most - int(found.scalar_one()))


async def claim(session: AsyncConnection, caller: Caller, job_id: JobId, *, limit: int = 1) -> list[Job]:
    """Start an open job, one more attempt, and with a small one up to `limit` - 1 others of its kind, queue and workspace.

    Together these are `BATCH_BYTES` at most.

    The delivered job comes first, or the more urgent one of its workspace that took its place. Empty when it is gone,
    cancelled or done: there is nothing to do then.
    """
    preferred = await session.execute(PREFER, {"workspace_id": caller.workspace_id, "id": job_id})
    job_id = preferred.scalar_one_or_none() or job_id
    found = await session.execute(
        CLAIM,
        {
            "workspace_id": caller.workspace_id,
            "id": job_id,
            "open": list(OPEN_STATUSES),
            "small": SMALL_BYTES,
            "batch_bytes": BATCH_BYTES,
            "alone": OCR_QUEUE,
            "others": limit - 1,
        },
    )
    claimed = [job_of(row) for row in found.mappings()]
    return sorted(claimed, key=lambda job: (job.id != job_id, job.id))


async def drop_deliveries(session: AsyncConnection, claimed: Sequence[Job]) -> None:
    """Take from the queue what was claimed along with another delivery and has ended, or was handed out again."""
    await session.execute(
        text("delete from procrastinate_jobs where id = any (:ids) and task_name = :task"),
        {"ids": [job.queue_job_id for job in claimed if job.queue_job_id is not None], "task": TASK},
    )


async def lock_open(session: AsyncConnection, caller: Caller, job_ids: Sequence[JobId]) -> set[JobId]:
    """Return which of the jobs still want doing, and lock them so that nobody cancels them before this commits.

    The workspace is held against its archiving first, as every write holds it (0004_tenancy.sql): `park_open` passes over
    rows that are locked, and would leave a job running whose worker is then refused its first write.
    """
    found = await session.execute(
        text(
            "select id from jobs where pg_advisory_xact_lock_shared(hashtextextended(cast(:workspace_id as text), 4)) is not null"
            " and workspace_id = :workspace_id and id = any (:ids) and status = any (:open) order by id for update"
        ),
        {"workspace_id": caller.workspace_id, "ids": list(job_ids), "open": list(OPEN_STATUSES)},
    )
    return set(found.scalars())


async def succeed(session: AsyncConnection, caller: Caller, job_ids: Sequence[JobId]) -> None:
    """End jobs that did what they were for."""
    await session.execute(
        text(
            "update jobs set status = 'succeeded', error = null, progress = 1, finished_at = now(), sealed = null"
            " where workspace_id = :workspace_id and id = any (:ids)"
        ),
        {"workspace_id": caller.workspace_id, "ids": list(job_ids)},
    )


async def still_open(session: AsyncConnection, caller: Caller, job_id: JobId) -> bool:
    """Return whether the job still wants doing, and lock it so that nobody cancels it before this commits."""
    return bool(await lock_open(session, caller, [job_id]))


async def report(session: AsyncConnection, caller: Caller, stages: Mapping[JobId, tuple[str, float]]) -> None:
    """Write the stage and share (0 to 1) of running jobs."""
    ordered = sorted(stages.items())
    await session.execute(
        text(
            "with locked as (select j.id, r.stage, r.share from unnest(cast(:ids as uuid[]), cast(:stages as text[]),"
            "   cast(:shares as real[])) r (id, stage, share) join jobs j on j.workspace_id = :workspace_id and j.id = r.id"
            "   where j.status = 'running' order by j.id for update of j)"
            " update jobs j set stage = locked.stage, progress = locked.share from locked"
            " where j.workspace_id = :workspace_id and j.id = locked.id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "ids": [job_id for job_id, _ in ordered],
            "stages": [stage for _, (stage, _) in ordered],
            "shares": [share for _, (_, share) in ordered],
        },
    )


async def finish(
    session: AsyncConnection, caller: Caller, job_id: JobId, *, status: str, error: dict[str, Any] | None = None
) -> None:
    """End or park a job: succeeded, failed, cancelled, dead, or queued again."""
    await session.execute(
        text(
            "update jobs set status = :status, error = cast(:error as jsonb),"
            " progress = case when :status = 'succeeded' then 1 else progress end,"
            " finished_at = case when :status = any (:open) then null else now() end,"
            " sealed = case when :status = any (:open) then sealed end"
            " where workspace_id = :workspace_id and id = :id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": job_id,
            "status": status,
            "error": orjson.dumps(error).decode() if error else None,
            "open": list(OPEN_STATUSES),
        },
    )


async def cancel_of_document(session: AsyncConnection, caller: Caller, document_id: DocumentId) -> None:
    """Cancel the open jobs of a document that a newer upload overtakes."""
    await session.execute(
        text(
            "update jobs set status = 'cancelled', finished_at = now(), sealed = null where workspace_id = :workspace_id"
            " and document_id = :document_id and status = any (:open)"
        ),
        {"workspace_id": caller.workspace_id, "document_id": document_id, "open": list(OPEN_STATUSES)},
    )


async def get(session: AsyncConnection, caller: Caller, job_id: JobId, *, for_update: bool = False) -> Job | None:
    """Return the job if the caller may see it."""
    found = await session.execute(
        text(
            f"select {COLUMNS} from jobs where workspace_id = :workspace_id and id = :id"
            + (" for update" if for_update else "")
        ),
        {"workspace_id": caller.workspace_id, "id": job_id},
    )
    row = found.mappings().first()
    return job_of(row) if row else None


async def reopen(session: AsyncConnection, caller: Caller, job_id: JobId) -> None:
    """Give an ended job a new set of attempts."""
    await session.execute(
        text(
            "update jobs set status = 'queued', attempts = 0, error = null, progress = 0, stage = null, started_at = null,"
            " finished_at = null where workspace_id = :workspace_id and id = :id"
        ),
        {"workspace_id": caller.workspace_id, "id": job_id},
    )


def job_of(row: RowMapping) -> Job:
    """Return the job of a row with `COLUMNS`."""
    return Job(**{name.strip(): row[name.strip()] for name in COLUMNS.split(",")})
