"""Starting, following and cancelling a re-indexing: what fills the new space is in reindex_work.py."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, NotFound
from ragecho.kernel.ids import JobId
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.library import reindexing
from ragecho.library import writing as library
from ragecho.library.reindexing import Reindex, ReindexStatus
from ragecho.platform import audit_log
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Priority
from ragecho.ports.embedder import Embedders
from ragecho.tenancy.spaces import register_space

REINDEX_JOB = "reindex"
# Larger than what is done several at a time (`jobs.SMALL_BYTES`): two lanes are two workers' work.
_JOB_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class ReindexState:
    """A re-indexing as people follow it. `target` is None where there was never one; `own` is what queries use now."""

    status: ReindexStatus
    own: EmbeddingSpace
    source: EmbeddingSpace
    target: EmbeddingSpace | None = None
    documents_done: int = 0
    documents_total: int = 0
    chunks: int = 0
    error: dict[str, Any] | None = None
    started_at: datetime | None = None
    switched_at: datetime | None = None
    finished_at: datetime | None = None
    eta: datetime | None = None

    @property
    def is_active(self) -> bool:
        """Whether something goes on: the new space is being filled, or the old one removed."""
        return self.status in (ReindexStatus.FILLING, ReindexStatus.SWITCHING)


class Reindexing:
    """Starts, follows and cancels re-indexings. `space_for` names the space of a model (None: the configured one)."""

    def __init__(
        self,
        database: Database,
        embedders: Embedders,
        space_for: Callable[[str | None, int | None], EmbeddingSpace],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._space_for = space_for
        self._now = now

    async def start(self, caller: Caller, *, model: str | None = None, dimensions: int | None = None) -> ReindexState:
        """Begin to fill a space for the caller's workspace; one that is being filled goes on, and one's own stays.

        Raises `InvalidInput` for a model or length that there is not, `Unavailable` for one that cannot be used here, and
        `Conflict` while another space is being filled.
        """
        wanted = self._space_for(model, dimensions)
        self._embedders.of(wanted)
        async with self._database.transaction(caller) as session:
            await register_space(session, wanted)
        async with self._database.transaction(caller) as session:
            await library.lock_index(session, caller)
            own = await reindexing.own_space(session, caller)
            known = await reindexing.get(session, caller, for_update=True)
            if known is not None and known.status is ReindexStatus.FILLING:
                if known.to_space_id != wanted.id:
                    raise Conflict("The workspace is being re-indexed into another space. Cancel that first.")
                await self._deliver(session, caller, known.id)
            elif own.id != wanted.id:
                reindex_id = await reindexing.begin(session, caller, from_space_id=own.id, to_space_id=wanted.id)
                await self._deliver(session, caller, reindex_id)
                await self._audit(session, caller, "index.reindex_started", own, wanted)
        return await self.state(caller)

    async def _deliver(self, session: Session, caller: Caller, reindex_id: UUID) -> None:
        """Make sure that somebody works on it."""
        if not await reindexing.open_jobs(session, caller, reindex_id):
            await enqueue_next(session, caller, reindex_id)

    async def cancel(self, caller: Caller) -> ReindexState:
        """Give up filling; the workspace stays as it is. Raises `NotFound`, and `Conflict` when it is too late."""
        async with self._database.transaction(caller) as session:
            await library.lock_index(session, caller)
            known = await reindexing.get(session, caller, for_update=True)
            if known is None:
                raise NotFound("The workspace has never been re-indexed.")
            if known.status is not ReindexStatus.FILLING:
                raise Conflict(f"There is nothing to cancel: the re-indexing is {known.status}.")
            await reindexing.set_status(session, caller, ReindexStatus.CANCELLED)
            await enqueue_next(session, caller, known.id)
            source, target = await reindexing.spaces_of(session, known)
            await self._audit(session, caller, "index.reindex_cancelled", source, target)
        return await self.state(caller)

    async def state(self, caller: Caller) -> ReindexState:
        """Return how far the newest re-indexing of the caller's workspace is. The caller sees all documents."""
        async with self._database.transaction(replace(caller, sees_all=True)) as session:
            own = await reindexing.own_space(session, caller)
            known = await reindexing.get(session, caller)
            if known is None:
                return ReindexState(ReindexStatus.NONE, own, own)
            source, target = await reindexing.spaces_of(session, known)
            total = await reindexing.count_documents(session, caller)
            chunks = await reindexing.chunks_in(session, caller, target.id)
        is_there = known.status in (ReindexStatus.SWITCHING, ReindexStatus.DONE)
        done = total if is_there else min(known.documents_done, total)
        return ReindexState(
            known.status,
            own,
            source,
            target,
            documents_done=done,
            documents_total=total,
            chunks=chunks,
            error=known.error if known.status is ReindexStatus.FAILED else None,
            started_at=known.started_at,
            switched_at=known.switched_at,
            finished_at=known.finished_at,
            eta=self._eta(known, done, total),
        )

    def _eta(self, known: Reindex, done: int, total: int) -> datetime | None:
        if known.status is not ReindexStatus.FILLING or known.opened_at is None or not done:
            return None
        now = self._now()
        return now + (now - known.opened_at) / done * (total - done)

    async def _audit(
        self, session: Session, caller: Caller, action: str, source: EmbeddingSpace, target: EmbeddingSpace
    ) -> None:
        await audit_log.record(
            session,
            caller,
            action,
            audit_log.Target("workspace", caller.workspace_id),
            workspace_id=caller.workspace_id,
            details={
                "from": {"model": source.model, "dimensions": source.dimensions, "chunking": source.chunking},
                "to": {"model": target.model, "dimensions": target.dimensions, "chunking": target.chunking},
            },
        )


async def enqueue_next(session: Session, caller: Caller, reindex_id: UUID) -> JobId:
    """Enqueue one more job of a re-indexing, behind what the workspace has waiting."""
    return await jobs.enqueue(
        session, caller, kind=REINDEX_JOB, batch_id=reindex_id, priority=Priority.LOW, size=_JOB_SIZE
    )
