"""What a worker does for documents from elsewhere: the handlers of their jobs, and the clock of sources."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ragecho.ingest.addresses import FETCH_JOB
from ragecho.ingest.sources.by_url import UrlFetching
from ragecho.ingest.sources.model import SYNC_JOB
from ragecho.ingest.sources.schedule import SourceSchedule
from ragecho.ingest.sources.sync import SourceSync
from ragecho.kernel.caller import Caller
from ragecho.platform.database import Session
from ragecho.platform.jobs.model import Job
from ragecho.platform.jobs.runner import Handler

GiveUp = Callable[[Session, Caller, Job, dict[str, Any]], Awaitable[None]]


class SourceWork:
    """Everything that a worker needs to know of documents from elsewhere."""

    def __init__(self, urls: UrlFetching, sync: SourceSync, schedule: SourceSchedule) -> None:
        self._urls = urls
        self._sync = sync
        self._schedule = schedule

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers of jobs, by kind."""
        return {FETCH_JOB: self._urls.run, SYNC_JOB: self._sync.run}

    def give_up_or(self, others: GiveUp) -> GiveUp:
        """Return what else changes when a job ends for good: a source's run, or what `others` do."""

        async def give_up(session: Session, caller: Caller, job: Job, error: dict[str, Any]) -> None:
            if job.kind == SYNC_JOB:
                await self._sync.give_up(session, caller, job, error)
            else:
                await others(session, caller, job, error)

        return give_up

    @asynccontextmanager
    async def on_schedule(self) -> AsyncIterator[None]:
        """Start runs that are due, as long as the block lasts."""
        clock = asyncio.create_task(self._schedule.run())
        try:
            yield
        finally:
            clock.cancel()
