"""Documents from bytes to answers: parse → chunk → embed → index. One transaction makes them visible.

Small documents of one workspace come in batches and share their transactions; each fails alone.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from ragecho.ingest.model import PASSWORD_PURPOSE
from ragecho.ingest.progress import Progress
from ragecho.ingest.settings import IngestSettings
from ragecho.ingest.steps.analyse import analyse
from ragecho.ingest.steps.chunk import chunk
from ragecho.ingest.steps.embed import Embedded, cache_model, embed
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound, ParseFailed
from ragecho.kernel.ids import DocumentId, JobId, VersionId
from ragecho.kernel.parsed import ParsedDocument, from_json, to_json
from ragecho.kernel.passages import ChunkSpan, EmbeddingSpace
from ragecho.library import writing as library
from ragecho.library.model import Document, IndexedVersion, Version
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Job
from ragecho.platform.telemetry import attach, get_logger, span
from ragecho.platform.telemetry.metrics import observe_ingest_stage
from ragecho.ports.blobs import BlobStore
from ragecho.ports.embedder import Embedder
from ragecho.ports.language_detector import LanguageDetector
from ragecho.ports.parser import Parser, ParseRequest
from ragecho.ports.sealer import SealBrokenError, Sealer

log = get_logger(__name__)

# Parsing that took longer than this is kept at once, so that a crash in a later step does not cost it again.
WORTH_KEEPING_SECONDS = 1.0
# Chunking less than this takes about as long as handing it to a thread.
IN_THREAD_CHARACTERS = 5_000
Failures = dict[JobId, Exception]


@dataclass(slots=True)
class _Work:
    """One document on its way."""

    job: Job
    version: Version
    parsed: ParsedDocument
    is_kept: bool
    chunks: list[ChunkSpan]
    language: str | None


class IngestFlow:
    """The handler of ingest jobs. Idempotent: a job that is run again starts from what is stored already."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        parser: Parser,
        embedder: Embedder,
        languages: LanguageDetector,
        *,
        space: EmbeddingSpace,
        settings: IngestSettings,
        sealer: Sealer | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._parser = parser
        self._embedder = embedder
        self._languages = languages
        self._space = space
        self._settings = settings
        self._sealer = sealer

    async def run(self, caller: Caller, batch: Sequence[Job]) -> Mapping[JobId, Exception]:
        """Process the jobs' versions and end those that succeed; return why the others did not.

        `ParseFailed` is for a document that cannot be read; other errors are worth another attempt.
        """
        started = time.perf_counter()
        failures: Failures = {}
        progress = Progress(self._database, caller, batch)
        async with progress.reporting():
            begun = await self._begin(caller, batch, failures)
            works = await self._read(caller, begun, failures, progress)
            if works:
                ids = [work.job.id for work in works]
                texts = [piece.embedded_text for work in works for piece in work.chunks]

                async def advance(share: float) -> None:
                    progress.at("embedding", 0.2 + 0.75 * share, ids)

                with _stage("embedding"):
                    embedded = await embed(self._database, caller, self._embedder, texts, advance=advance)
                progress.at("indexing", 0.95, ids)
                with _stage("indexing"):
                    await self._index(caller, works, embedded)
        log.info(
            "documents.ready",
            document_ids=[str(work.version.document_id) for work in works],
            chunks=sum(len(work.chunks) for work in works),
            failed=len(failures),
            duration_ms=round((time.perf_counter() - started) * 1e3),
        )
        return failures

    async def give_up(self, session: Session, caller: Caller, job: Job, error: dict[str, Any]) -> None:
        """Mark the document of a job that ended without success; part of the transaction that ends the job."""
        if job.document_id is not None:
            await library.set_status(session, caller, job.document_id, status="failed", progress=0.0, error=error)

    async def _begin(
        self, caller: Caller, batch: Sequence[Job], failures: Failures
    ) -> list[tuple[Job, Version, ParsedDocument | None]]:
        """Return each job's version and, where an earlier attempt got as far, its parsed form."""
        async with self._database.transaction(caller) as session:
            # Lock order everywhere: the documents, the jobs. One that was cancelled since it was claimed must not be marked
            # as being processed: nobody would ever end that.
            await library.lock_documents(session, caller, [job.document_id for job in batch if job.document_id])
            still_open = await jobs.lock_open(session, caller, [job.id for job in batch])
            ids = [VersionId(job.version_id or job.id) for job in batch if job.id in still_open]
            versions = {version.id: version for version in await library.begin_versions(session, caller, ids)}
            stored = await library.load_parsed(session, caller, ids)
        begun = []
        for job in batch:
            version_id = VersionId(job.version_id or job.id)
            version = versions.get(version_id)
            if version is None:
                failures[job.id] = NotFound("The document was deleted, or its processing cancelled.")
                continue
            parsed = from_json(*stored[version_id]) if version_id in stored else None
            begun.append((job, version, parsed))
        return begun

    async def _read(
        self,
        caller: Caller,
        begun: Sequence[tuple[Job, Version, ParsedDocument | None]],
        failures: Failures,
        progress: Progress,
    ) -> list[_Work]:
        unread = [(job, version) for job, version, known in begun if known is None]
        progress.at("parsing", 0.05, [job.id for job, _ in unread])
        started = time.perf_counter()
        fresh = await self._parse(caller, unread)
        is_slow = time.perf_counter() - started > WORTH_KEEPING_SECONDS
        if is_slow:
            await self._keep(caller, unread, fresh)
        progress.at("chunking", 0.15, [job.id for job, _, _ in begun])
        works = []
        for job, version, known in begun:
            outcome = known or fresh[job.id]
            # Each document's own trace goes on here, whichever batch it came into.
            with attach(job.trace, name="ingest.read", job_id=str(job.id)):
                try:
                    if isinstance(outcome, Exception):
                        raise outcome
                    chunks = await self._chunked(version, outcome)
                except Exception as error:  # noqa: BLE001 - one document's failure, told to the caller with its job
                    failures[job.id] = error
                else:
                    language = outcome.language or await asyncio.to_thread(self._languages.detect, outcome.text)
                    works.append(_Work(job, version, outcome, known is not None or is_slow, chunks, language))
        return works

    async def _parse(
        self, caller: Caller, unread: Sequence[tuple[Job, Version]]
    ) -> dict[JobId, ParsedDocument | Exception]:
        found: dict[JobId, ParsedDocument | Exception] = {}
        async with AsyncExitStack() as files:
            requests: dict[JobId, ParseRequest] = {}
            for job, version in unread:
                try:
                    path = await files.enter_async_context(self._blobs.local_path(caller.workspace_id, version.sha256))
                except Exception as error:  # noqa: BLE001 - one document's failure, told to the caller with its job
                    found[job.id] = error
                else:
                    passwords = self._passwords(job)
                    requests[job.id] = ParseRequest(path, version.filename, version.content_type, passwords=passwords)
            with _stage("parsing"):
                outcomes = await self._parser.parse_many(list(requests.values()), limits=self._settings.parse_limits())
        return found | dict(zip(requests, outcomes, strict=True))

    def _passwords(self, job: Job) -> tuple[str, ...]:
        """Return the password that came with the upload; without one, or where it cannot be opened, none."""
        if job.sealed is None or self._sealer is None:
            return ()
        try:
            return (self._sealer.open(job.sealed, purpose=PASSWORD_PURPOSE),)
        except SealBrokenError:
            # The document fails as one without a password does; this line says why to who runs the worker.
            log.warning("ingest.password_not_readable", job_id=str(job.id), setting="RAGECHO_IDENTITY_SECRET")
            return ()

    async def _keep(
        self, caller: Caller, unread: Sequence[tuple[Job, Version]], fresh: Mapping[JobId, ParsedDocument | Exception]
    ) -> None:
        kept = {
            version.id: _stored_form(parsed)
            for job, version in unread
            if isinstance(parsed := fresh[job.id], ParsedDocument)
        }
        async with self._database.transaction(caller) as session:
            await library.store_parsed(session, caller, kept)

    async def _chunked(self, version: Version, parsed: ParsedDocument) -> list[ChunkSpan]:
        with _stage("chunking"):
            title = parsed.title or PurePath(version.filename).stem
            if len(parsed.text) > IN_THREAD_CHARACTERS:
                chunks = await asyncio.to_thread(self._chunk, parsed, title)
            else:
                chunks = self._chunk(parsed, title)
            if not chunks:
                raise ParseFailed("no_text", "The document holds no text that could be found later.")
        return chunks

    def _chunk(self, parsed: ParsedDocument, title: str) -> list[ChunkSpan]:
        return chunk(
            parsed,
            title=title,
            tokens=self._embedder.tokens,
            max_tokens=min(self._settings.chunk_tokens, self._embedder.max_tokens),
            overlap_tokens=self._settings.chunk_overlap_tokens,
        )

    async def _index(self, caller: Caller, works: Sequence[_Work], embedded: Embedded) -> None:
        indexed = await asyncio.to_thread(_indexed, caller, works, embedded.vectors)
        model = cache_model(self._embedder)
        async with self._database.transaction(caller) as session:
            # Lock order everywhere: the index, the documents, the jobs.
            await library.lock_index(session, caller)
            documents = await library.lock_documents(session, caller, [work.version.document_id for work in works])
            still_open = await jobs.lock_open(session, caller, [work.job.id for work in works])
            current = [
                (work, version, documents[work.version.document_id])
                for work, version in zip(works, indexed, strict=True)
                if work.version.document_id in documents and work.job.id in still_open
            ]
            await self._write(session, caller, current)
            await library.store_embeddings(session, caller, model, embedded.fresh)
            await library.touch_embeddings(session, caller, model, embedded.reused)

    async def _write(
        self, session: Session, caller: Caller, current: Sequence[tuple[_Work, IndexedVersion, Document]]
    ) -> None:
        if not current:
            return
        kept = {work.version.id: _stored_form(work.parsed) for work, _, _ in current if not work.is_kept}
        if kept:
            await library.store_parsed(session, caller, kept)
        for document in [document for _, _, document in current if document.chunks]:
            await library.delete_chunks(session, caller, document.id)
        # Readers are taken now, under the documents' locks: they may have changed since the work began.
        versions = [replace(version, readers=document.readers) for _, version, document in current]
        space_id = await library.space_to_fill(session, caller, self._space)
        await library.insert_versions(session, caller, space_id=space_id, versions=versions)
        await library.finish_versions(session, caller, versions)
        await jobs.succeed(session, caller, [work.job.id for work, _, _ in current])


@contextmanager
def _stage(name: str) -> Iterator[None]:
    started = time.perf_counter()
    outcome = "error"
    try:
        with span(f"ingest.{name}"):
            yield
        outcome = "ok"
    except ParseFailed as error:
        outcome = error.reason
        raise
    finally:
        observe_ingest_stage(name, time.perf_counter() - started, outcome=outcome)


def _stored_form(parsed: ParsedDocument) -> tuple[str, str, str]:
    return parsed.text, to_json(parsed).decode(), parsed.parser_version


def _indexed(caller: Caller, works: Sequence[_Work], vectors: Sequence[str]) -> list[IndexedVersion]:
    found, first = [], 0
    for work in works:
        past = first + len(work.chunks)
        rows = analyse(caller.workspace_id, work.chunks, vectors[first:past], work.parsed.pages, language=work.language)
        found.append(
            IndexedVersion(
                DocumentId(work.version.document_id),
                work.version.id,
                (),
                tuple(rows),
                title=work.parsed.title,
                pages=len(work.parsed.pages) or None,
                language=work.language,
                authors=tuple(work.parsed.authors),
                written_at=work.parsed.created,
            )
        )
        first = past
    return found
