"""Runs jobs: claim, do, and write down how it went, so that no failure of any kind leaves a job nobody will touch again."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from procrastinate import App, PsycopgConnector
from procrastinate.connector import BaseConnector
from procrastinate.jobs import Job as QueueJob
from procrastinate.manager import JobManager
from sqlalchemy.engine import make_url

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError, InvalidInput, NotFound, ParseFailed, TooLarge, WorkspaceArchived
from ragecho.kernel.ids import JobId, OrganizationId, WorkspaceId
from ragecho.platform.database import Database, Session
from ragecho.platform.database.engine import APP_ROLE
from ragecho.platform.jobs import store
from ragecho.platform.jobs.model import Job
from ragecho.platform.telemetry import attach, bind_caller, get_logger, span
from ragecho.platform.telemetry.metrics import count_job

log = get_logger(__name__)

# A worker that has not been heard of for this long is dead, and what it held is handed out again.
HEARTBEAT_SECONDS = 2.0
DEAD_AFTER_SECONDS = 10.0
SWEEP_SECONDS = 3.0
BACKOFF_SECONDS = (2.0, 5.0, 20.0, 120.0)

FETCH = "select * from ragecho_fetch_job(%(queues)s::varchar[], %(worker_id)s, %(most)s)"

# What trying again cannot change.
PERMANENT = (ParseFailed, InvalidInput, NotFound, TooLarge)

# Ends the jobs that succeed in its own transaction and returns why the others did not; what it raises, all failed of.
Handler = Callable[[Caller, Sequence[Job]], Awaitable[Mapping[JobId, Exception]]]
GiveUp = Callable[[Session, Caller, Job, dict[str, Any]], Awaitable[None]]


class _LimitedManager(JobManager):
    """Fetches no delivery of an organisation that has as many in the works as it may have."""

    def __init__(self, connector: BaseConnector, most: int) -> None:
        super().__init__(connector)
        self._most = most

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> QueueJob | None:
        """Return the next delivery, marked as being done, or None."""
        row = await self.connector.execute_query_one_async(
            query=FETCH, queues=list(queues) if queues else None, worker_id=worker_id, most=self._most
        )
        return None if row["id"] is None else QueueJob.from_row(row)


class JobRunner:
    """A worker of one process. `handlers` do a kind of job; `give_up` says what else changes when one ends for good.

    Up to `batch` small jobs of one workspace are handled together, and of one organisation at most `tenant_concurrency` jobs at
    once over all workers (0: any number).
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        *,
        give_up: GiveUp,
        concurrency: int = 4,
        batch: int = 1,
        tenant_concurrency: int = 0,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._give_up = give_up
        self._concurrency = concurrency
        self._batch = batch
        self._tenant_concurrency = tenant_concurrency
        self._app = App(connector=PsycopgConnector(conninfo=_conninfo(database.url), min_size=1, max_size=4))
        self._app.task(name=store.TASK)(self._deliver)
        if tenant_concurrency:
            self._app.job_manager = _LimitedManager(self._app.connector, tenant_concurrency)

    async def run(self, *, queues: tuple[str, ...] | None = None, on_ready: Callable[[], None] | None = None) -> None:
        """Work until cancelled. Raises when the queue's connection is lost: the process is then started anew."""
        async with self._app.open_async():
            sweep = asyncio.create_task(self._sweep())
            if on_ready:
                on_ready()
            try:
                await self._app.run_worker_async(
                    queues=list(queues) if queues else None,  # type: ignore[arg-type]  # None means all; its TypedDict omits that
                    concurrency=self._concurrency,
                    install_signal_handlers=False,
                    fetch_job_polling_interval=1.0,
                    shutdown_graceful_timeout=5.0,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=DEAD_AFTER_SECONDS,
                    delete_jobs="successful",
                )
            finally:
                sweep.cancel()

    async def _sweep(self) -> None:
        while True:
            try:
                async with self._database.anonymous() as session:
                    recovered = await store.recover_lost_deliveries(session, dead_after_seconds=DEAD_AFTER_SECONDS)
                if recovered:
                    log.warning("jobs.recovered", jobs=recovered)
            except Exception:
                log.exception("jobs.sweep_failed")
            await asyncio.sleep(SWEEP_SECONDS)

    async def _deliver(self, job_id: str, organization_id: str, workspace_id: str) -> None:
        caller = Caller.worker(OrganizationId(UUID(organization_id)), WorkspaceId(UUID(workspace_id)))
        bind_caller(workspace_id=workspace_id, user_id=None)
        try:
            async with self._database.transaction(caller) as session:
                limit = self._batch
                if self._tenant_concurrency:
                    room = await store.room_of_organization(session, caller, self._tenant_concurrency)
                    limit = min(limit, 1 + room)
                claimed = await store.claim(session, caller, JobId(UUID(job_id)), limit=limit)
            if not claimed:
                return
            first, *others = claimed
            with attach(first.trace), span("job", job_kind=first.kind, job_id=job_id, jobs=len(claimed)):
                try:
                    await self._attempt(caller, claimed)
                finally:
                    await asyncio.shield(self._let_go(others))
        except WorkspaceArchived:
            # Archiving has put the job back to its start; restoring the workspace hands it out again (store.deliver_open).
            log.info("job.parked", job_id=job_id)

    async def _let_go(self, others: Sequence[Job]) -> None:
        # The queue ends the delivery that brought us here; those of the others are ours to end.
        if others:
            async with self._database.anonymous() as session:
                await store.drop_deliveries(session, others)

    async def _attempt(self, caller: Caller, claimed: Sequence[Job]) -> None:
        doable = []
        for job in claimed:
            if job.attempts > job.max_attempts:
                # It was claimed as often as allowed and never ended: it takes its worker down with it.
                message = "Its worker died each time. See the worker's log."
                await self._end(caller, job, "dead", _error("crashed", message))
            else:
                doable.append(job)
        if not doable:
            return
        try:
            failures = await self._handlers[doable[0].kind](caller, doable)
        except asyncio.CancelledError:
            # The worker stops; another one takes over at once instead of after the missing heartbeat is noticed.
            with suppress(WorkspaceArchived):
                await asyncio.shield(self._put_all_back(caller, doable))
            raise
        except WorkspaceArchived:
            raise
        except Exception as error:
            if len(doable) > 1:
                # It may be the fault of one of them: from the second attempt on each is on its own.
                log.exception("jobs.batch_failed", kind=doable[0].kind, jobs=len(doable))
                await self._put_all_back(caller, doable)
                return
            failures = {doable[0].id: error}
        for job in doable:
            failure = failures.get(job.id)
            if failure is None:
                count_job(job.kind, "succeeded")
            elif isinstance(failure, WorkspaceArchived):
                log.info("job.parked", job_id=str(job.id))
            else:
                await self._fail(caller, job, failure)

    async def _fail(self, caller: Caller, job: Job, error: Exception) -> None:
        if isinstance(error, PERMANENT):
            reason = error.reason if isinstance(error, ParseFailed) else error.code
            await self._end(caller, job, "failed", _error(reason, error.message))
            return
        log.error("job.attempt_failed", kind=job.kind, job_id=str(job.id), attempt=job.attempts, exc_info=error)
        message = error.message if isinstance(error, EchoError) else "Something went wrong inside; it is in the log."
        details = _error(error.code if isinstance(error, EchoError) else "internal_error", message)
        if job.attempts >= job.max_attempts:
            await self._end(caller, job, "dead", details)
            return
        delay = BACKOFF_SECONDS[min(job.attempts, len(BACKOFF_SECONDS)) - 1] * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
        await self._put_back(caller, job, details, delay_seconds=delay)

    async def _put_all_back(self, caller: Caller, claimed: Sequence[Job]) -> None:
        for job in claimed:
            await self._put_back(caller, job, None, delay_seconds=0)

    async def _put_back(self, caller: Caller, job: Job, error: dict[str, Any] | None, *, delay_seconds: float) -> None:
        count_job(job.kind, "retried")
        async with self._database.transaction(caller) as session:
            if await store.still_open(session, caller, job.id):
                await store.finish(session, caller, job.id, status="queued", error=error)
                await store.deliver(session, caller, job.id, delay_seconds=delay_seconds)

    async def _end(self, caller: Caller, job: Job, status: str, error: dict[str, Any]) -> None:
        count_job(job.kind, status)
        log.warning("job.ended", kind=job.kind, job_id=str(job.id), status=status, code=error["code"])
        async with self._database.transaction(caller) as session:
            if not await store.still_open(session, caller, job.id):
                return
            await store.finish(session, caller, job.id, status=status, error=error)
            await self._give_up(session, caller, job, error)


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _conninfo(url: str) -> str:
    parsed = make_url(url).set(drivername="postgresql")
    if parsed.username != APP_ROLE:
        # libpq does not read `+` as a space, so the option must not hold one.
        parsed = parsed.update_query_dict({"options": f"--role={APP_ROLE}"})
    return parsed.render_as_string(hide_password=False)
