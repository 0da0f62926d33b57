"""How far documents are, written now and then: quick work says nothing in between, long work moves."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import JobId
from ragecho.library import writing as library
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Job
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

REPORT_SECONDS = 0.5


class Progress:
    """The stage and share (0 to 1) of the jobs in one batch."""

    def __init__(self, database: Database, caller: Caller, batch: Iterable[Job]) -> None:
        self._database = database
        self._caller = caller
        self._jobs = {job.id: job for job in batch}
        self._unwritten: dict[JobId, tuple[str, float]] = {}

    def at(self, stage: str, share: float, job_ids: Iterable[JobId]) -> None:
        """Note where jobs are; it is written with the next report."""
        for job_id in job_ids:
            self._unwritten[job_id] = (stage, share)

    @asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Write what changed every half second while the block runs. What the block raises goes through."""
        task = asyncio.create_task(self._report())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            pending, self._unwritten = self._unwritten, {}
            if not pending:
                continue
            try:
                await self._write(pending)
            except Exception:
                # It is information only; the work itself says when something is wrong.
                log.warning("ingest.progress_not_written", exc_info=True)

    async def _write(self, pending: dict[JobId, tuple[str, float]]) -> None:
        async with self._database.transaction(self._caller) as session:
            # Lock order everywhere: the documents, the jobs.
            shares = {
                document_id: share
                for job_id, (_, share) in pending.items()
                if (document_id := self._jobs[job_id].document_id) is not None
            }
            await library.set_progress(session, self._caller, shares)
            await jobs.report(session, self._caller, pending)
