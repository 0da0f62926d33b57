"""SQL of open jobs that are in nobody's hands: their workspace is archived, or their worker died."""

from collections.abc import Awaitable, Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.ids import WorkspaceId
from ragecho.platform.jobs.model import OPEN_STATUSES
from ragecho.platform.jobs.store import TASK

OfWorkspace = Callable[[AsyncConnection, WorkspaceId], Awaitable[None]]


async def park_open(session: AsyncConnection, workspace_id: WorkspaceId) -> None:
    """Put the workspace's open jobs back to where they started, and take them from the queue; part of archiving it.

    A worker that is busy with one finds the archive at its next write and lets go. A job that its worker holds at this very
    moment is left as it is: waiting for it here could wait for ever, and `deliver_open` takes it up all the same. For a
    transaction that sees the whole workspace.
    """
    await session.execute(
        text("""
            with free as (
              select id from jobs where workspace_id = :workspace_id and status = any (:open) for update skip locked
            ), parked as (
              update jobs j set status = 'queued', stage = null, progress = 0, started_at = null,
                attempts = greatest(attempts - case when status = 'running' then 1 else 0 end, 0)
              from free where j.workspace_id = :workspace_id and j.id = free.id returning j.queue_job_id
            )
            delete from procrastinate_jobs q using parked where q.id = parked.queue_job_id and q.status = 'todo'"""),
        {"workspace_id": workspace_id, "open": list(OPEN_STATUSES)},
    )


async def deliver_open(session: AsyncConnection, workspace_id: WorkspaceId) -> None:
    """Hand the workspace's open jobs to the queue again; part of restoring it. See `park_open`."""
    await session.execute(
        text("""
            update jobs set queue_job_id = (procrastinate_defer_jobs_v1(array[row(queue, :task, -turn, null, null,
              jsonb_build_object('job_id', id, 'organization_id', organization_id, 'workspace_id', workspace_id),
              now())::procrastinate_job_to_defer_v1]))[1]
            where workspace_id = :workspace_id and status = any (:open)"""),
        {"workspace_id": workspace_id, "task": TASK, "open": list(OPEN_STATUSES)},
    )


async def recover_lost_deliveries(session: AsyncConnection, *, dead_after_seconds: float) -> int:
    """Hand out again what a dead worker held, and what failed in the queue's own hands; return how many.

    Whether a job is really to be done, and how often yet, is decided by its row in `jobs` when it is claimed.
    """
    found = await session.execute(
        text("""
            with lost as materialized (
              select j.id from procrastinate_jobs j left join procrastinate_workers w on w.id = j.worker_id
              where j.task_name = :task and (j.status = 'failed' or (j.status = 'doing'
                and (w.id is null or w.last_heartbeat < now() - make_interval(secs => :seconds))))
              for update of j skip locked
            )
            select count(*) from lost, lateral procrastinate_retry_job_v2(lost.id, now(), null, null, null)"""),
        {"task": TASK, "seconds": dead_after_seconds},
    )
    return int(found.scalar_one())
