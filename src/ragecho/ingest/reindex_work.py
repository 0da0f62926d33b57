"""Re-indexing: a workspace's next embedding space is filled beside the one that answers, and takes its place at once.

    start → (jobs) remove what is left there from before → open: every change of a document is written to both spaces
          → fill the documents that lack → verify and switch, in one transaction → remove what the old space held

Each job does a little, then enqueues the next one behind whatever the workspace has waiting: uploads go on, and other workspaces
get their turn. Two jobs of a workspace work side by side (`LANES`). All that is known stands in `reindexes`, so a job that died is
just done again; what it had taken up is found by the next pass over the documents, which takes those that lack.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ragecho.ingest.pieces import CutVersion, PieceMaker, Pieces, Unread, stage
from ragecho.ingest.reindex import REINDEX_JOB, enqueue_next
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError, NotFound, ParseFailed
from ragecho.kernel.ids import DocumentId, JobId, VersionId
from ragecho.kernel.parsed import ParsedDocument, from_json
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.library import reindexing
from ragecho.library import writing as library
from ragecho.library.model import Document, Version
from ragecho.library.reindexing import Reindex, ReindexStatus
from ragecho.platform import audit_log
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Job
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

LANES = 2
# What one job takes up: so many documents, and about so many chunks. A second or two of work.
SLICE_DOCUMENTS = 64
SLICE_CHUNKS = 128
# Documents whose old pieces one job removes.
SWEEP_DOCUMENTS = 500
# Passes in a row that leave as many documents as they found, after which the re-indexing fails: a pass may lose some to workers
# that died, but not five times.
MOST_STALE_PASSES = 5


@dataclass(frozen=True, slots=True)
class _Slice:
    """What one job takes up: documents that the new space lacks, and what is stored of their texts."""

    known: Reindex
    target: EmbeddingSpace
    versions: Sequence[Version]
    parsed: Mapping[VersionId, tuple[str, bytes]]


GiveUp = Callable[[Session, Caller, Job, dict[str, Any]], Awaitable[None]]
Reparse = Callable[[Caller, Version], Awaitable[ParsedDocument]]


class ReindexWork:
    """The handler of re-indexing jobs. Idempotent: each looks up what is to be done now."""

    def __init__(self, database: Database, pieces: PieceMaker, reparse: Reparse) -> None:
        self._database = database
        self._pieces = pieces
        self._reparse = reparse

    async def run(self, caller: Caller, batch: Sequence[Job]) -> Mapping[JobId, Exception]:
        """Do one step for each of the jobs and end it; return why some could not."""
        failures: dict[JobId, Exception] = {}
        for job in batch:
            try:
                await self._step(caller, job)
            except Exception as error:  # noqa: BLE001 - told to the caller with its job
                failures[job.id] = error
        return failures

    def give_up_or(self, others: GiveUp) -> GiveUp:
        """Return what else changes when a job ends for good: its re-indexing fails, or what `others` do."""

        async def give_up(session: Session, caller: Caller, job: Job, error: dict[str, Any]) -> None:
            if job.kind != REINDEX_JOB:
                await others(session, caller, job, error)
                return
            known = await reindexing.get(session, caller, for_update=True)
            if known is not None and known.id == job.batch_id and known.status is ReindexStatus.FILLING:
                await self._fail(session, caller, known, error)

        return give_up

    async def _fail(self, session: Session, caller: Caller, known: Reindex, error: dict[str, Any]) -> None:
        log.warning("reindex.failed", workspace_id=str(caller.workspace_id), code=error.get("code"))
        await reindexing.set_status(session, caller, ReindexStatus.FAILED, error=error)
        await enqueue_next(session, caller, known.id)

    async def _step(self, caller: Caller, job: Job) -> None:
        async with self._database.transaction(caller) as session:
            if not await jobs.still_open(session, caller, job.id):
                return
            known = await reindexing.get(session, caller, for_update=True)
            if known is None or known.id != job.batch_id or known.status is ReindexStatus.DONE:
                await jobs.succeed(session, caller, [job.id])
                return
            is_filling = known.status is ReindexStatus.FILLING and known.is_open
            taken = await self._take(session, caller, known) if is_filling else []
            parsed = await library.load_parsed(session, caller, [version.id for version in taken])
            piece = _Slice(known, await reindexing.space(session, known.to_space_id), taken, parsed)
        if not is_filling:
            await self._sweep(caller, job)
        elif taken:
            await self._fill(caller, job, piece)
        else:
            await self._finish(caller, job)

    async def _take(self, session: Session, caller: Caller, known: Reindex) -> list[Version]:
        """Return the next documents that lack, and move on past them: another lane takes others."""
        lacking = await reindexing.lacking(
            session, caller, known.to_space_id, after=known.position, limit=SLICE_DOCUMENTS
        )
        taken: list[Version] = []
        chunks = 0
        for version, its_chunks in lacking:
            if taken and chunks + its_chunks > SLICE_CHUNKS:
                break
            taken.append(version)
            chunks += its_chunks
        if taken:
            await reindexing.move(session, caller, taken[-1].document_id)
        return taken

    async def _fill(self, caller: Caller, job: Job, piece: _Slice) -> None:
        cut, failure = await self._cut(caller, piece)
        pieces = await self._pieces.make(caller, piece.target, cut, advance=_nothing) if cut else None
        async with self._database.transaction(caller) as session:
            # Lock order everywhere: the index, the documents, the jobs, the re-indexing.
            await library.lock_index(session, caller)
            documents = await library.lock_documents(session, caller, [one.document_id for one in piece.versions])
            if not await jobs.still_open(session, caller, job.id):
                return
            await jobs.succeed(session, caller, [job.id])
            now = await reindexing.get(session, caller, for_update=True)
            if now is None or now.id != piece.known.id or now.status is not ReindexStatus.FILLING:
                return
            if pieces is not None:
                await self._write(session, caller, pieces, documents)
            if failure is not None:
                await reindexing.note_failure(session, caller, failure)
            for _ in range(max(1, LANES - await reindexing.open_jobs(session, caller, now.id))):
                await enqueue_next(session, caller, now.id)

    async def _cut(self, caller: Caller, piece: _Slice) -> tuple[list[CutVersion], dict[str, Any] | None]:
        """Return the chunks of those documents that can be cut, and why another could not."""
        cut: list[CutVersion] = []
        failure: dict[str, Any] | None = None
        for version in piece.versions:
            try:
                document = await self._read(caller, version, piece.parsed.get(version.id))
                (found,) = await self._pieces.read_and_cut(piece.target, [Unread(version, document)])
                if isinstance(found, Exception):
                    raise found
                cut.append(found)
            except (ParseFailed, NotFound, ValueError) as error:
                reason = error.message if isinstance(error, EchoError) else str(error)
                failure = {"code": "document_failed", "document_id": str(version.document_id), "message": reason}
                log.warning("reindex.document_failed", document_id=str(version.document_id), error=type(error).__name__)
        return cut, failure

    async def _read(self, caller: Caller, version: Version, kept: tuple[str, bytes] | None) -> ParsedDocument:
        if kept is not None:
            try:
                return await asyncio.to_thread(from_json, *kept)
            except (KeyError, TypeError, ValueError):
                log.info("reindex.parsed_anew", document_id=str(version.document_id))
        return await self._reparse(caller, version)

    async def _write(
        self,
        session: Session,
        caller: Caller,
        pieces: Pieces,
        documents: Mapping[DocumentId, Document],
    ) -> None:
        """Store the pieces of those versions that still answer and that nobody else has brought meanwhile."""
        there = await reindexing.versions_in(session, caller, pieces.space.id, list(pieces.versions))
        current = [
            replace(version, readers=documents[version.document_id].readers)
            for version in pieces.versions.values()
            if version.version_id not in there
            and version.document_id in documents
            and documents[version.document_id].current_version_id == version.version_id
        ]
        with stage("indexing"):
            await library.insert_versions(session, caller, space_id=pieces.space.id, versions=current)
        await library.store_embeddings(session, caller, pieces.model, pieces.embedded.fresh)
        await library.touch_embeddings(session, caller, pieces.model, pieces.embedded.reused)
        await library.note_filled(session, caller, len(current))

    async def _finish(self, caller: Caller, job: Job) -> None:
        """At the end of a pass: switch if nothing is missing, else begin another one. The last lane does it."""
        async with self._database.transaction(caller) as session:
            await library.lock_index(session, caller)
            if not await jobs.still_open(session, caller, job.id):
                return
            await jobs.succeed(session, caller, [job.id])
            known = await reindexing.get(session, caller, for_update=True)
            is_last = known is not None and not await reindexing.open_jobs(session, caller, known.id)
            if known is None or known.id != job.batch_id or known.status is not ReindexStatus.FILLING or not is_last:
                return
            missing = await reindexing.count_lacking(session, caller, known.to_space_id)
            if missing:
                await self._go_on(session, caller, known, missing)
            else:
                await self._switch(session, caller, known)

    async def _go_on(self, session: Session, caller: Caller, known: Reindex, missing: int) -> None:
        is_stale = known.missing is not None and missing >= known.missing
        stale = known.stale_passes + 1 if is_stale else 0
        if stale >= MOST_STALE_PASSES:
            why = known.error or {"code": "document_failed", "message": "See the workers' log."}
            message = f"{missing} documents could not be brought into the new space. {why['message']}"
            await self._fail(session, caller, known, why | {"message": message})
            return
        done = await reindexing.count_documents(session, caller) - missing
        await reindexing.begin_pass(session, caller, missing=missing, stale_passes=stale, documents_done=done)
        await enqueue_next(session, caller, known.id)

    async def _switch(self, session: Session, caller: Caller, known: Reindex) -> None:
        """Verify the new space and let queries use it, in the caller's transaction, which holds the index lock."""
        sizes = await reindexing.sizes_of_pieces(session, caller, known.to_space_id)
        if len(sizes) != 1:
            # Nothing that the jobs do leads here; a workspace must not be switched to what is damaged.
            error = {"code": "index_damaged", "message": "Chunks, vectors and lexical entries are not equally many."}
            await self._fail(session, caller, known, error)
            return
        await reindexing.use_space(session, caller, known.to_space_id)
        await reindexing.set_status(session, caller, ReindexStatus.SWITCHING)
        await enqueue_next(session, caller, known.id)
        source, target = await reindexing.spaces_of(session, known)
        log.info(
            "reindex.switched",
            workspace_id=str(caller.workspace_id),
            from_model=source.model,
            to_model=target.model,
            chunks=max(sizes),
        )
        await audit_log.record(
            session,
            caller,
            "index.reindexed",
            audit_log.Target("workspace", caller.workspace_id),
            workspace_id=caller.workspace_id,
            details={"from": source.model, "to": target.model, "dimensions": target.dimensions, "chunks": max(sizes)},
        )

    async def _sweep(self, caller: Caller, job: Job) -> None:
        """Remove some of what is left in other spaces; when nothing is, open the new one, or be done."""
        async with self._database.transaction(caller) as session:
            await library.lock_index(session, caller)
            if not await jobs.still_open(session, caller, job.id):
                return
            await jobs.succeed(session, caller, [job.id])
            known = await reindexing.get(session, caller, for_update=True)
            if known is None or known.id != job.batch_id or (known.is_open and known.status is ReindexStatus.FILLING):
                return
            position = await reindexing.sweep(session, caller, after=known.position, limit=SWEEP_DOCUMENTS)
            if position is not None:
                await reindexing.move(session, caller, position)
                await enqueue_next(session, caller, known.id)
            elif known.status is ReindexStatus.FILLING:
                await reindexing.open_target(session, caller)
                for _ in range(LANES):
                    await enqueue_next(session, caller, known.id)
            elif known.status is ReindexStatus.SWITCHING:
                await reindexing.set_status(session, caller, ReindexStatus.DONE)


async def _nothing(_share: float) -> None:
    """Progress is counted in documents."""
