"""Documents from bytes to answers: parse → chunk → embed → index. One transaction makes them visible.

Small documents of one workspace come in batches and share their transactions; each fails alone.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from ragecho.ingest.limits import with_setting
from ragecho.ingest.pieces import CutVersion, PieceMaker, Pieces, Unread, stage
from ragecho.ingest.progress import Progress
from ragecho.ingest.settings import IngestSettings
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NeedsRecognition, NotFound, Unavailable
from ragecho.kernel.ids import JobId, VersionId
from ragecho.kernel.parsed import ParsedDocument, from_json, to_json
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.library import writing as library
from ragecho.library.locked_files import passwords_of
from ragecho.library.model import Document, Version, WorkspaceSpaces
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import OCR_QUEUE, Job
from ragecho.platform.jobs.runner import HandedOn
from ragecho.platform.jobs.steps import StepLimits
from ragecho.platform.telemetry import get_logger
from ragecho.ports.blobs import BlobStore
from ragecho.ports.embedder import Embedders
from ragecho.ports.language_detector import LanguageDetector
from ragecho.ports.parser import Parser, ParseRequest
from ragecho.ports.sealer import Sealer

log = get_logger(__name__)

Failures = dict[JobId, Exception]


@dataclass(slots=True)
class _Work:
    """One document on its way."""

    job: Job
    version: Version
    cut: CutVersion


class IngestFlow:
    """The handler of ingest jobs. Idempotent: a job that is run again starts from what is stored already."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        parser: Parser,
        embedders: Embedders,
        languages: LanguageDetector,
        *,
        settings: IngestSettings,
        sealer: Sealer | None = None,
        steps: StepLimits | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._parser = parser
        self._settings = settings
        self._sealer = sealer
        self._steps = steps or StepLimits()
        self.pieces = PieceMaker(database, embedders, languages, settings, self._steps)

    async def run(self, caller: Caller, batch: Sequence[Job]) -> Mapping[JobId, Exception]:
        """Process the jobs' versions and end those that succeed; return why the others did not.

        `ParseFailed` is for a document that cannot be read, `HandedOn` for one whose pictures of text are to be recognised;
        other errors are worth another attempt.
        """
        started = time.perf_counter()
        failures: Failures = {}
        progress = Progress(self._database, caller, batch)
        async with progress.reporting():
            begun, spaces = await self._begin(caller, batch, failures)
            works = await self._read(caller, spaces.own, begun, failures, progress)
            if works:
                made = await self._make(caller, spaces, works, progress)
                progress.at("indexing", 0.95, [work.job.id for work in works])
                async with self._steps.holding("index"):
                    with stage("indexing"):
                        await self._index(caller, works, made)
        log.info(
            "documents.ready",
            document_ids=[str(work.version.document_id) for work in works],
            chunks=sum(len(work.cut.chunks) for work in works),
            failed=sum(not isinstance(failure, HandedOn) for failure in failures.values()),
            duration_ms=round((time.perf_counter() - started) * 1e3),
        )
        return failures

    async def parse_again(self, caller: Caller, version: Version) -> ParsedDocument:
        """Read a version's original file anew, for what was stored before it could be. Raises `ParseFailed`."""
        async with self._blobs.local_path(caller.workspace_id, version.sha256) as path:
            passwords = passwords_of(version, self._sealer)
            request = ParseRequest(path, version.filename, version.content_type, passwords=passwords, recognise=True)
            (outcome,) = await self._parser.parse_many([request], limits=self._settings.parse_limits())
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def give_up(self, session: Session, caller: Caller, job: Job, error: dict[str, Any]) -> None:
        """Mark the document of a job that ended without success; part of the transaction that ends the job."""
        if job.document_id is not None:
            await library.set_status(session, caller, job.document_id, status="failed", progress=0.0, error=error)

    async def _begin(
        self, caller: Caller, batch: Sequence[Job], failures: Failures
    ) -> tuple[list[tuple[Job, Version, ParsedDocument | None]], WorkspaceSpaces]:
        """Return each job's version and, where an earlier attempt got as far, its parsed form; and the workspace's spaces."""
        async with self._database.transaction(caller) as session:
            # Lock order everywhere: the documents, the jobs. One that was cancelled since it was claimed must not be marked
            # as being processed: nobody would ever end that.
            await library.lock_documents(session, caller, [job.document_id for job in batch if job.document_id])
            still_open = await jobs.lock_open(session, caller, [job.id for job in batch])
            ids = [VersionId(job.version_id or job.id) for job in batch if job.id in still_open]
            versions = {version.id: version for version in await library.begin_versions(session, caller, ids)}
            stored = await library.load_parsed(session, caller, ids)
            spaces = await library.workspace_spaces(session, caller)
        begun = []
        for job in batch:
            version_id = VersionId(job.version_id or job.id)
            version = versions.get(version_id)
            if version is None:
                failures[job.id] = NotFound("The document was deleted, or its processing cancelled.")
                continue
            parsed = from_json(*stored[version_id]) if version_id in stored else None
            begun.append((job, version, parsed))
        return begun, spaces

    async def _read(
        self,
        caller: Caller,
        space: EmbeddingSpace,
        begun: Sequence[tuple[Job, Version, ParsedDocument | None]],
        failures: Failures,
        progress: Progress,
    ) -> list[_Work]:
        unparsed = [(job, version) for job, version, known in begun if known is None]
        progress.at("parsing", 0.05, [job.id for job, _ in unparsed])
        fresh = await self._parse(caller, unparsed)
        await self._keep(caller, unparsed, fresh)
        progress.at("chunking", 0.15, [job.id for job, _, _ in begun])
        unread: list[tuple[Job, Unread]] = []
        for job, version, known in begun:
            outcome = known or fresh[job.id]
            if isinstance(outcome, NeedsRecognition):
                failures[job.id] = await self._hand_on(caller, job)
            elif isinstance(outcome, Exception):
                failures[job.id] = with_setting(outcome)
            else:
                unread.append((job, Unread(version, outcome, job.trace)))
        works = []
        cut = await self.pieces.read_and_cut(space, [one for _, one in unread])
        for (job, one), found in zip(unread, cut, strict=True):
            if isinstance(found, Exception):
                failures[job.id] = with_setting(found)
            else:
                works.append(_Work(job, one.version, found))
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
                    requests[job.id] = ParseRequest(
                        path,
                        version.filename,
                        version.content_type,
                        passwords=passwords_of(version, self._sealer, given=job.sealed),
                        recognise=job.queue == OCR_QUEUE,
                    )
            # How much is recognised at once is limited by the queue that this comes from (`jobs.fetching`).
            is_recognising = any(one.recognise for one in requests.values())
            async with self._steps.holding("" if is_recognising else "parse"):
                with stage("recognising" if is_recognising else "parsing"):
                    asked = list(requests.values())
                    outcomes = await self._parser.parse_many(asked, limits=self._settings.parse_limits())
        return found | dict(zip(requests, outcomes, strict=True))

    async def _hand_on(self, caller: Caller, job: Job) -> HandedOn:
        """Let a document wait for the recognition of its pages, which must not hold the places of others."""
        async with self._database.transaction(caller) as session:
            if await jobs.still_open(session, caller, job.id):
                await jobs.move(session, caller, job.id, queue=OCR_QUEUE)
        return HandedOn()

    async def _keep(
        self, caller: Caller, unread: Sequence[tuple[Job, Version]], fresh: Mapping[JobId, ParsedDocument | Exception]
    ) -> None:
        """Keep what was read before anything is made of it: a crash in a later step does not parse again."""
        kept = {
            version.id: _stored_form(parsed)
            for job, version in unread
            if isinstance(parsed := fresh[job.id], ParsedDocument)
        }
        if not kept:
            return
        async with self._database.transaction(caller) as session:
            await library.store_parsed(session, caller, kept)

    async def _make(
        self, caller: Caller, spaces: WorkspaceSpaces, works: Sequence[_Work], progress: Progress
    ) -> dict[UUID, Pieces]:
        """Make the pieces for the workspace's space and, while it is re-indexed, for its next one; by the space's id."""
        ids = [work.job.id for work in works]
        share_of_own = 0.75 if spaces.target is None else 0.375

        async def advance(share: float) -> None:
            progress.at("embedding", 0.2 + share_of_own * share, ids)

        made = {
            spaces.own.id: await self.pieces.make(caller, spaces.own, [work.cut for work in works], advance=advance)
        }
        if spaces.target is None:
            return made

        async def advance_target(share: float) -> None:
            progress.at("embedding", 0.575 + 0.375 * share, ids)

        try:
            cut = await self.pieces.cut_all(spaces.target, [work.cut.read for work in works])
            made[spaces.target.id] = await self.pieces.make(caller, spaces.target, cut, advance=advance_target)
        except Exception as error:  # noqa: BLE001 - what is missing there is found by the re-indexing, which tells of its troubles
            log.warning("ingest.next_space_not_filled", space_id=str(spaces.target.id), error=type(error).__name__)
        return made

    async def _index(self, caller: Caller, works: Sequence[_Work], made: Mapping[UUID, Pieces]) -> None:
        async with self._database.transaction(caller) as session:
            # Lock order everywhere: the index, the documents, the jobs, the re-indexing.
            await library.lock_index(session, caller)
            documents = await library.lock_documents(session, caller, [work.version.document_id for work in works])
            still_open = await jobs.lock_open(session, caller, [work.job.id for work in works])
            # Of this moment: the workspace may have changed its space since the work began.
            spaces = await library.workspace_spaces(session, caller)
            if spaces.own.id not in made:
                raise Unavailable(
                    "The workspace changed its embedding space meanwhile; the document is processed again."
                )
            current = [
                (work, documents[work.version.document_id])
                for work in works
                if work.version.document_id in documents and work.job.id in still_open
            ]
            await self._write(session, caller, current, spaces, made)
            for pieces in made.values():
                await library.store_embeddings(session, caller, pieces.model, pieces.embedded.fresh)
                await library.touch_embeddings(session, caller, pieces.model, pieces.embedded.reused)

    async def _write(
        self,
        session: Session,
        caller: Caller,
        current: Sequence[tuple[_Work, Document]],
        spaces: WorkspaceSpaces,
        made: Mapping[UUID, Pieces],
    ) -> None:
        if not current:
            return
        for document in [document for _, document in current if document.chunks]:
            await library.delete_chunks(session, caller, document.id)
        for space in spaces.all:
            if space.id not in made:
                continue  # it was opened since the work began; the re-indexing finds what is missing
            # Readers are taken now, under the documents' locks: they may have changed since the work began.
            versions = [
                replace(made[space.id].versions[work.version.id], readers=document.readers)
                for work, document in current
            ]
            await library.insert_versions(session, caller, space_id=space.id, versions=versions)
            if space is spaces.own:
                await library.finish_versions(session, caller, versions)
        opened = {work.version.id: work.job.sealed for work, _ in current if work.job.sealed}
        await library.keep_passwords(session, caller, opened)
        await jobs.succeed(session, caller, [work.job.id for work, _ in current])
        if spaces.target is not None and spaces.target.id in made:
            await library.note_filled(session, caller, len(current))


def _stored_form(parsed: ParsedDocument) -> tuple[str, str, str]:
    return parsed.text, to_json(parsed).decode(), parsed.parser_version
