"""Following jobs live: what changed since the last look, for as long as a caller may see it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError, InvalidInput, NotFound, RateLimited
from ragecho.kernel.ids import DocumentId, JobId
from ragecho.platform.database import Database
from ragecho.platform.jobs import store_overview as overview
from ragecho.platform.jobs.model import OPEN_STATUSES, Job

LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 600.0
# Streams of one process: each costs a small query every half second.
MOST_STREAMS = 200
MOST_STREAMS_OF_ONE = 10
MOST_JOBS = 1000


@dataclass(frozen=True, slots=True)
class FollowedJobs:
    """Which jobs to follow: by id, the newest of documents, of one upload."""

    jobs: tuple[JobId, ...] = ()
    documents: tuple[DocumentId, ...] = ()
    batch_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """One event: a job that changed, the end (`is_complete` when all jobs have ended), or neither, a sign of life."""

    job: Job | None = None
    is_over: bool = False
    is_complete: bool = False


class JobStreams:
    """The streams of this process."""

    def __init__(self, database: Database, *, longest_seconds: float | None = None) -> None:
        self._database = database
        self._longest_seconds = LONGEST_SECONDS if longest_seconds is None else longest_seconds
        self._running: dict[str, int] = {}

    async def follow(self, caller: Caller, wanted: FollowedJobs) -> AsyncIterator[Followed]:
        """Return the events. Raises `InvalidInput` when nothing is named, `NotFound`, and `RateLimited`."""
        if not (wanted.jobs or wanted.documents or wanted.batch_id):
            raise InvalidInput("Name what to follow: job_id, document_id or batch.")
        first = await self._first_look(caller, wanted)
        who = f"{caller.organization_id}/{caller.own_principal}"
        if self._running.get(who, 0) >= MOST_STREAMS_OF_ONE or sum(self._running.values()) >= MOST_STREAMS:
            raise RateLimited("Too many streams are open. Close one, or ask GET /api/v1/jobs.", retry_after_seconds=5)
        return self._events(caller, first, who)

    async def _first_look(self, caller: Caller, wanted: FollowedJobs) -> list[Job]:
        async with self._database.transaction(caller) as session:
            found = {job.id: job for job in await overview.get_many(session, caller, wanted.jobs)}
            if len(found) < len(set(wanted.jobs)):
                raise NotFound("There is no such job.")
            for document_id in wanted.documents:
                newest, total = await overview.list_jobs(session, caller, document_id=document_id, limit=1, offset=0)
                if not total:
                    raise NotFound("There is no job of this document.")
                found |= {job.id: job for job in newest}
            if wanted.batch_id is not None:
                of_batch, total = await overview.list_jobs(
                    session, caller, batch_id=wanted.batch_id, limit=MOST_JOBS, offset=0
                )
                if not total:
                    raise NotFound("There is no such upload, or none of its files was new.")
                found |= {job.id: job for job in of_batch}
        return sorted(found.values(), key=lambda job: (job.created_at, job.id))

    async def _events(self, caller: Caller, first: list[Job], who: str) -> AsyncIterator[Followed]:
        self._running[who] = self._running.get(who, 0) + 1
        try:
            deadline = time.monotonic() + self._longest_seconds
            pending = {job.id for job in first if job.status in OPEN_STATUSES}
            shown = {job.id: _face(job) for job in first}
            for job in first:
                yield Followed(job)
            last, is_all_seen = time.monotonic(), True
            while pending and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_SECONDS)
                try:
                    now = await self._look(caller, pending)
                except EchoError:
                    break  # the caller may see nothing any more, or the database is away: the client asks again
                # A job that is not seen any more was deleted with its document, or taken from the caller.
                is_all_seen = is_all_seen and len(now) == len(pending)
                pending &= {job.id for job in now}
                for job in now:
                    if shown.get(job.id) != _face(job):
                        shown[job.id], last = _face(job), time.monotonic()
                        yield Followed(job)
                    if job.status not in OPEN_STATUSES:
                        pending.discard(job.id)
                if time.monotonic() - last > HEARTBEAT_SECONDS:
                    last = time.monotonic()
                    yield Followed()
            yield Followed(is_over=True, is_complete=not pending and is_all_seen)
        finally:
            self._running[who] -= 1
            if not self._running[who]:
                del self._running[who]

    async def _look(self, caller: Caller, pending: set[JobId]) -> list[Job]:
        async with self._database.transaction(caller) as session:
            return await overview.get_many(session, caller, sorted(pending), is_still_caller=True)


def _face(job: Job) -> tuple[str, str | None, float, int]:
    return job.status, job.stage, round(job.progress, 3), job.attempts
