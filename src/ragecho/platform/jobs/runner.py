"""Runs jobs: claim, do, and write down how it went, so that no failure of any kind leaves a job nobody will touch again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from procrastinate import App, PsycopgConnector
from sqlalchemy.engine import make_url

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import (
    EchoError,
    InvalidInput,
    NotFound,
    ParseFailed,
    TooLarge,
    Unavailable,
    WorkspaceArchived,
)
from ragecho.kernel.ids import JobId, OrganizationId, WorkspaceId
from ragecho.platform.database import Database, Session
from ragecho.platform.database.engine import APP_ROLE
from ragecho.platform.jobs import store, store_parking
from ragecho.platform.jobs.fetching import FairManager, PromptWorker
from ragecho.platform.jobs.model import Job
from ragecho.platform.telemetry import attach, bind_caller, get_logger, span
from ragecho.platform.telemetry.metrics import count_job, observe_job, observe_job_wait

log = get_logger(__name__)

# A worker that has not been heard of for this long is dead, and what it held is handed out again.
HEARTBEAT_SECONDS = 2.0
DEAD_AFTER_SECONDS = 10.0
SWEEP_SECONDS = 3.0
# For what nobody is told of: deliveries whose time comes, and places that other workers let go of.
POLL_SECONDS = 1.0
BACKOFF_SECONDS = (2.0, 5.0, 20.0, 120.0)

# Facts of an error that are kept with its job: the limit it went past, and where that is set.
TOLD = ("limit", "setting")
# What trying again cannot change.
PERMANENT = (ParseFailed, InvalidInput, NotFound, TooLarge)

# Ends the jobs that succeed in its own transaction and returns why the others did not; what it raises, all failed of.
Handler = Callable[[Caller, Sequence[Job]], Awaitable[Mapping[JobId, Exception]]]
GiveUp = Callable[[Session, Caller, Job, dict[str, Any]], Awaitable[None]]


class HandedOn(Exception):
    """The job waits in another queue now; its handler has seen to that."""


class JobRunner:
    """A worker of one process. `handlers` do a kind of job; `give_up` says what else changes when one ends for good.

    Up to `batch` small jobs of one workspace are handled together. The limits are those of `FairManager`.
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
        queue_limits: Mapping[str, int] | None = None,
        own_queue_limits: Mapping[str, int] | None = None,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._give_up = give_up
        self._concurrency = concurrency
        self._batch = batch
        self._tenant_concurrency = tenant_concurrency
        self._app = App(connector=PsycopgConnector(conninfo=_conninfo(database.url), min_size=1, max_size=4))
        self._app.task(name=store.TASK)(self._deliver)
        self._manager = FairManager(
            self._app.connector,
            slots=concurrency,
            tenant_concurrency=tenant_concurrency,
            queue_limits=queue_limits,
            own_queue_limits=own_queue_limits,
        )
        self._app.job_manager = self._manager
        self._is_working = False

    async def run(self, *, queues: tuple[str, ...] | None = None, on_ready: Callable[[], None] | None = None) -> None:
        """Work until cancelled. Raises when the queue's connection is lost: the process is then started anew."""
        async with self._app.open_async():
            sweep = asyncio.create_task(self._sweep())
            self._is_working = True
            if on_ready:
                on_ready()
            try:
                worker = PromptWorker(
                    app=self._app,
                    manager=self._manager,
                    queues=list(queues) if queues else None,
                    concurrency=self._concurrency,
                    install_signal_handlers=False,
                    fetch_job_polling_interval=POLL_SECONDS,
                    shutdown_graceful_timeout=5.0,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=DEAD_AFTER_SECONDS,
                    delete_jobs="successful",
                )
                await worker.run()  # type: ignore[no-untyped-call]  # it says what it takes, not that it returns nothing
            finally:
                self._is_working = False
                sweep.cancel()

    async def check(self) -> str | None:
        """Return nothing while this takes jobs. Raises `Unavailable`. A check of readiness."""
        if not self._is_working:
            raise Unavailable("No jobs are taken now.")
        return None

    async def _sweep(self) -> None:
        while True:
            try:
                async with self._database.anonymous() as session:
                    recovered = await store_parking.recover_lost_deliveries(
                        session, dead_after_seconds=DEAD_AFTER_SECONDS
                    )
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
            _observe_waits(claimed)
            first, *others = claimed
            started = time.perf_counter()
            with attach(first.trace), span("job", job_kind=first.kind, job_id=job_id, jobs=len(claimed)):
                try:
                    await self._attempt(caller, claimed)
                finally:
                    observe_job(first.kind, time.perf_counter() - started)
                    await asyncio.shield(self._let_go(others))
        except WorkspaceArchived:
            # Archiving has put the job back to its start; restoring the workspace hands it out again (store_parking.deliver_open).
            log.info("job.parked", job_id=job_id)

    async def _let_go(self, others: Sequence[Job]) -> None:
        # The queue ends the delivery that brought us here; those of the others are ours to end.
        if others:
            async with self._database.anonymous() as session:
                await store.drop_deliveries(session, others)

    async def _attempt(self, caller: Caller, claimed: Sequence[Job]) -> None:
        doable = [job for job in claimed if not await self._is_hopeless(caller, job)]
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
            await self._conclude(caller, job, failures.get(job.id))

    async def _is_hopeless(self, caller: Caller, job: Job) -> bool:
        """End a job that was claimed as often as allowed and never ended: it takes its worker down with it."""
        if job.attempts <= job.max_attempts:
            return False
        # What an earlier attempt said may be what is behind it.
        before = {"before": job.error} if job.error else {}
        error = _error("crashed", "Its worker died each time. See the worker's log.") | before
        await self._end(caller, job, "dead", error)
        return True

    async def _conclude(self, caller: Caller, job: Job, failure: Exception | None) -> None:
        if failure is None:
            count_job(job.kind, "succeeded")
        elif isinstance(failure, HandedOn):
            log.info("job.handed_on", job_id=str(job.id))
        elif isinstance(failure, WorkspaceArchived):
            log.info("job.parked", job_id=str(job.id))
        else:
            await self._fail(caller, job, failure)

    async def _fail(self, caller: Caller, job: Job, error: Exception) -> None:
        if isinstance(error, PERMANENT):
            reason = error.reason if isinstance(error, ParseFailed) else error.code
            told = {name: error.facts[name] for name in TOLD if error.facts.get(name) is not None}
            await self._end(caller, job, "failed", _error(reason, error.message) | told)
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


def _observe_waits(claimed: Sequence[Job]) -> None:
    for job in claimed:
        if job.attempts == 1 and job.started_at is not None:
            observe_job_wait(job.queue, max(0.0, (job.started_at - job.created_at).total_seconds()))


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _conninfo(url: str) -> str:
    parsed = make_url(url).set(drivername="postgresql")
    if parsed.username != APP_ROLE:
        # libpq does not read `+` as a space, so the option must not hold one.
        parsed = parsed.update_query_dict({"options": f"--role={APP_ROLE}"})
    return parsed.render_as_string(hide_password=False)
