"""One document from bytes to answers: parse → chunk → embed → index. One transaction makes it visible."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePath
from typing import Any

import numpy as np

from ragecho.ingest.settings import IngestSettings
from ragecho.ingest.steps.analyse import analyse
from ragecho.ingest.steps.chunk import chunk
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound, ParseFailed
from ragecho.kernel.ids import VersionId
from ragecho.kernel.parsed import ParsedDocument, from_json, to_json
from ragecho.kernel.passages import ChunkSpan, EmbeddingSpace
from ragecho.library import writing as library
from ragecho.library.model import Version
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Job
from ragecho.platform.telemetry import get_logger, span
from ragecho.platform.telemetry.metrics import count_embedded, observe_ingest_stage
from ragecho.ports.blobs import BlobStore
from ragecho.ports.embedder import Embedder, Vectors
from ragecho.ports.parser import Parser

log = get_logger(__name__)

# A long document is embedded in pieces, so that its progress moves and short ones get their turn in between.
PIECE_CHUNKS = 128


class IngestFlow:
    """The handler of ingest jobs. Idempotent: a job that is run again starts from what is stored already."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        parser: Parser,
        embedder: Embedder,
        *,
        space: EmbeddingSpace,
        settings: IngestSettings,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._parser = parser
        self._embedder = embedder
        self._space = space
        self._settings = settings

    async def run(self, caller: Caller, job: Job) -> None:
        """Process the job's version. Raises `ParseFailed` for a document that cannot be read; other errors are retried."""
        started = time.perf_counter()
        version = await self._begin(caller, job)
        async with self._stage(caller, job, "parsing", 0.05):
            parsed = await self._parsed(caller, version)
        async with self._stage(caller, job, "chunking", 0.15):
            title = parsed.title or PurePath(version.filename).stem
            chunks = await asyncio.to_thread(self._chunk, parsed, title)
        if not chunks:
            raise ParseFailed("no_text", "The document holds no text that could be found later.")
        async with self._stage(caller, job, "embedding", 0.2):
            vectors = await self._embed(caller, job, chunks)
        async with self._stage(caller, job, "indexing", 0.95):
            await self._index(caller, job, version, parsed=parsed, chunks=chunks, vectors=vectors)
        log.info(
            "document.ready",
            document_id=str(version.document_id),
            chunks=len(chunks),
            duration_ms=round((time.perf_counter() - started) * 1e3),
        )

    async def give_up(self, session: Session, caller: Caller, job: Job, error: dict[str, Any]) -> None:
        """Mark the document of a job that ended without success; part of the transaction that ends the job."""
        if job.document_id is not None:
            await library.set_status(session, caller, job.document_id, status="failed", progress=0.0, error=error)

    async def _begin(self, caller: Caller, job: Job) -> Version:
        async with self._database.transaction(caller) as session:
            version = await library.get_version(session, caller, VersionId(job.version_id or job.id))
            if version is None:
                raise NotFound("The document was deleted.")
            await library.set_status(
                session, caller, version.document_id, status="processing", progress=0.01, error=None
            )
        return version

    @asynccontextmanager
    async def _stage(self, caller: Caller, job: Job, name: str, progress: float) -> AsyncIterator[None]:
        started = time.perf_counter()
        outcome = "error"
        with span(f"ingest.{name}"):
            await self._report(caller, job, name, progress)
            try:
                yield
                outcome = "ok"
            except ParseFailed as error:
                outcome = error.reason
                raise
            finally:
                observe_ingest_stage(name, time.perf_counter() - started, outcome=outcome)

    async def _report(self, caller: Caller, job: Job, stage: str, progress: float) -> None:
        async with self._database.transaction(caller) as session:
            await jobs.report(session, caller, job.id, stage=stage, progress=progress)
            if job.document_id is not None:
                await library.set_progress(session, caller, job.document_id, progress)

    async def _parsed(self, caller: Caller, version: Version) -> ParsedDocument:
        async with self._database.transaction(caller) as session:
            stored = await library.load_parsed(session, caller, version.id)
        if stored is not None:
            return from_json(*stored)
        async with self._blobs.local_path(caller.workspace_id, version.sha256) as path:
            parsed = await self._parser.parse(
                path,
                filename=version.filename,
                content_type=version.content_type,
                limits=self._settings.parse_limits(),
            )
        async with self._database.transaction(caller) as session:
            await library.store_parsed(
                session,
                caller,
                version.id,
                content=parsed.text,
                parsed=to_json(parsed).decode(),
                parser_version=parsed.parser_version,
            )
        return parsed

    def _chunk(self, parsed: ParsedDocument, title: str) -> list[ChunkSpan]:
        return chunk(
            parsed,
            title=title,
            tokens=self._embedder.tokens,
            max_tokens=min(self._settings.chunk_tokens, self._embedder.max_tokens),
            overlap_tokens=self._settings.chunk_overlap_tokens,
        )

    async def _embed(self, caller: Caller, job: Job, chunks: list[ChunkSpan]) -> Vectors:
        pieces = []
        for first in range(0, len(chunks), PIECE_CHUNKS):
            if first:
                await self._report(caller, job, "embedding", 0.2 + 0.75 * first / len(chunks))
            texts = [piece.embedded_text for piece in chunks[first : first + PIECE_CHUNKS]]
            pieces.append(await self._embedder.embed_passages(texts))
            count_embedded(self._embedder.model, len(texts))
        return np.concatenate(pieces)

    async def _index(
        self,
        caller: Caller,
        job: Job,
        version: Version,
        *,
        parsed: ParsedDocument,
        chunks: list[ChunkSpan],
        vectors: Vectors,
    ) -> None:
        rows = await asyncio.to_thread(analyse, caller.workspace_id, chunks, vectors, parsed.pages)
        async with self._database.transaction(caller) as session:
            # Lock order everywhere: the index, the document, the job.
            await library.lock_index(session, caller)
            document = await library.get_document(session, caller, version.document_id, for_update=True)
            if document is None or not await jobs.still_open(session, caller, job.id):
                return
            await library.delete_chunks(session, caller, document.id)
            await library.insert_chunks(
                session,
                caller,
                document.id,
                version.id,
                space_id=self._space.id,
                readers=document.readers,
                chunks=rows,
            )
            await library.finish_version(
                session,
                caller,
                document.id,
                version.id,
                title=parsed.title,
                pages=len(parsed.pages) or None,
                chunks=len(rows),
            )
            await jobs.finish(session, caller, job.id, status="succeeded")
