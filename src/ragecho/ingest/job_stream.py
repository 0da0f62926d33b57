"""Following jobs live: what changed since the last look, for as long as a caller may see it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import UUID

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError, InvalidInput, NotFound, RateLimited
from ragecho.kernel.ids import DocumentId, JobId
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store_overview as overview
from ragecho.platform.jobs.model import OPEN_STATUSES, Batch, Job

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
    """One event: a job or a batch that changed, the end (`is_complete` when all jobs have ended), or neither, a sign of life.

    `mark` is there when everything up to it has been told: who follows again from there misses nothing.
    """

    job: Job | None = None
    batch: Batch | None = None
    is_over: bool = False
    is_complete: bool = False
    mark: int | None = None


class JobStreams:
    """The streams of this process."""

    def __init__(self, database: Database, *, longest_seconds: float | None = None) -> None:
        self._database = database
        self._longest_seconds = LONGEST_SECONDS if longest_seconds is None else longest_seconds
        self._running: dict[str, int] = {}

    async def follow(
        self, caller: Caller, wanted: FollowedJobs, *, since: int | None = None
    ) -> AsyncIterator[Followed]:
        """Return the events, from the present state on, or with `since`, the mark of an earlier event, what changed from there.

        Raises `InvalidInput` when nothing is named, `NotFound`, and `RateLimited`.
        """
        if not (wanted.jobs or wanted.documents or wanted.batch_id):
            raise InvalidInput("Name what to follow: job_id, document_id or batch.")
        following = _Following(self._database, caller, wanted)
        first = await following.begin(since)
        who = f"{caller.organization_id}/{caller.own_principal}"
        if self._running.get(who, 0) >= MOST_STREAMS_OF_ONE or sum(self._running.values()) >= MOST_STREAMS:
            raise RateLimited("Too many streams are open. Close one, or ask GET /api/v1/jobs.", retry_after_seconds=5)
        return self._events(following, first, who)

    async def _events(self, following: "_Following", first: list[Followed], who: str) -> AsyncIterator[Followed]:
        self._running[who] = self._running.get(who, 0) + 1
        try:
            deadline = time.monotonic() + self._longest_seconds
            for event in first:
                yield event
            last = time.monotonic()
            while following.is_open and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_SECONDS)
                try:
                    changes = await following.look()
                except EchoError:
                    break  # the caller may see nothing any more, or the database is away: the client asks again
                for event in changes:
                    yield event
                if changes:
                    last = time.monotonic()
                elif time.monotonic() - last > HEARTBEAT_SECONDS:
                    last = time.monotonic()
                    yield Followed()
            yield Followed(is_over=True, is_complete=not following.is_open and following.is_all_seen)
        finally:
            self._running[who] -= 1
            if not self._running[who]:
                del self._running[who]


class _Following:
    """What one stream knows of its jobs."""

    def __init__(self, database: Database, caller: Caller, wanted: FollowedJobs) -> None:
        self._database = database
        self._caller = caller
        self._wanted = wanted
        self._pending: set[JobId] = set()
        self._shown: dict[JobId, tuple[object, ...]] = {}
        self._batch: Batch | None = None
        self.is_all_seen = True

    @property
    def is_open(self) -> bool:
        """Whether anything is under way."""
        return bool(self._pending) or (self._batch is not None and not self._batch.is_over)

    async def begin(self, since: int | None) -> list[Followed]:
        """Return what there is to tell first. Raises `NotFound`."""
        wanted, caller = self._wanted, self._caller
        async with self._database.transaction(caller) as session:
            ids = set(wanted.jobs)
            for document_id in wanted.documents:
                newest, total = await overview.list_jobs(session, caller, document_id=document_id, limit=1, offset=0)
                if not total:
                    raise NotFound("There is no job of this document.")
                ids |= {job.id for job in newest}
            if wanted.batch_id is not None:
                self._batch = await overview.get_batch(session, caller, wanted.batch_id)
                if self._batch is None:
                    raise NotFound("There is no such upload, or none of its files was new.")
                ids |= await self._of_batch(session, wanted.batch_id)
            first = await overview.look(session, caller, sorted(ids))
            if len(first.jobs) < len(ids):
                raise NotFound("There is no such job.")
            changed = None if since is None else await overview.changed_since(session, caller, sorted(ids), since)
        told = [job for job in first.jobs if changed is None or job.id in changed]
        self._note(first.jobs)
        return self._events(told, self._batch, first.mark)

    async def look(self) -> list[Followed]:
        """Return what changed since the last look."""
        before, batch = self._batch, self._batch
        async with self._database.transaction(self._caller) as session:
            if before is not None and not before.is_over:
                batch = await overview.get_batch(session, self._caller, before.id, is_still_caller=True)
                if batch is not None and batch.total > before.total:
                    self._pending |= await self._of_batch(session, before.id) - self._shown.keys()
            now = await overview.look(session, self._caller, sorted(self._pending), is_still_caller=True)
        # A job that is not seen any more was deleted with its document, or taken from the caller.
        self.is_all_seen = (
            self.is_all_seen and len(now.jobs) == len(self._pending) and (batch is None) == (before is None)
        )
        self._batch = batch
        told = [job for job in now.jobs if self._shown.get(job.id) != _face(job)]
        self._pending = set()
        self._note(now.jobs)
        return self._events(told, batch if batch != before else None, now.mark)

    async def _of_batch(self, session: Session, batch_id: UUID) -> set[JobId]:
        found, _ = await overview.list_jobs(session, self._caller, batch_id=batch_id, limit=MOST_JOBS, offset=0)
        return {job.id for job in found}

    def _note(self, seen: list[Job]) -> None:
        self._shown |= {job.id: _face(job) for job in seen}
        self._pending |= {job.id for job in seen if job.status in OPEN_STATUSES}

    @staticmethod
    def _events(jobs: list[Job], batch: Batch | None, mark: int | None) -> list[Followed]:
        events = [Followed(job=job) for job in jobs] + ([Followed(batch=batch)] if batch is not None else [])
        # Only the last one: a connection that breaks between them is to see the others again.
        return [*events[:-1], replace(events[-1], mark=mark)] if events else []


def _face(job: Job) -> tuple[object, ...]:
    return job.status, job.stage, round(job.progress, 3), job.attempts
