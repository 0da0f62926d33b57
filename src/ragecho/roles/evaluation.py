"""The product put together for an evaluation: a store of its own, ingestion in this process, search and answers.

Documents take the way of any upload (blob, job, parse, chunk, embed, index) and questions that of any caller.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from ragecho.ask.model import AskRequest
from ragecho.evals.run import Loaded, Progress
from ragecho.evals.suites import SuiteDocument
from ragecho.ingest.service import INGEST_JOB, Labels
from ragecho.ingest.settings import IngestSettings
from ragecho.kernel.authorization import Scope, WorkspaceRole
from ragecho.kernel.caller import EXTERNAL_PRINCIPAL, INTERNAL_PRINCIPAL, WORKSPACE_PRINCIPAL, Access, Caller
from ragecho.kernel.errors import ConfigurationError, NotFound
from ragecho.kernel.ids import DocumentId
from ragecho.kernel.passages import Passage
from ragecho.library import writing as library
from ragecho.library.model import Document, DocumentFilter
from ragecho.library.search import SearchMode
from ragecho.library.service import delete_document
from ragecho.platform.embedded import EmbeddedPostgres
from ragecho.platform.jobs import store_overview as jobs
from ragecho.platform.jobs.model import OPEN_STATUSES
from ragecho.platform.jobs.runner import JobRunner
from ragecho.platform.settings import Settings
from ragecho.roles.prepare import prepare
from ragecho.tenancy import service as tenancy
from ragecho.wiring import Services, build_services, ingest_flow, space_of

# The average length that BM25 weights are made with settles on the first documents: they are taken one at a time, so
# that it comes out the same in every run.
SETTLING_DOCUMENTS = 200
POLL_SECONDS = 0.25
# Who asks, as a suite names them: a member of the organisation, and a guest.
READERS = {"internal": (WORKSPACE_PRINCIPAL, INTERNAL_PRINCIPAL), "external": (EXTERNAL_PRINCIPAL,)}
CHUNKS_PER_DOCUMENT = (2, 10)


@contextmanager
def evaluation_settings(settings: Settings, *, keep_in: Path | None, use_configured: bool) -> Iterator[Settings]:
    """Yield settings that lead to a prepared store: a temporary one, one kept in `keep_in`, or the configured one.

    Raises `ConfigurationError` when the configured one is wanted and there is none.
    """
    if use_configured:
        if settings.database_url is None:
            raise ConfigurationError(
                "RAGECHO_DATABASE_URL is not set; leave out --in-database to use a store of its own."
            )
        owner = settings.database_owner_url or settings.database_url
        prepare(settings, owner.get_secret_value(), is_embedded=False)
        yield settings
        return
    with _folder(keep_in) as folder, EmbeddedPostgres(folder) as server:
        prepare(settings, server.address.owner_url, is_embedded=True)
        yield settings.model_copy(
            update={"database_url": SecretStr(server.address.app_url), "data_dir": folder, "blob_url": None}
        )


@contextmanager
def _folder(keep_in: Path | None) -> Iterator[Path]:
    if keep_in is not None:
        keep_in.mkdir(parents=True, exist_ok=True)
        yield keep_in
        return
    with tempfile.TemporaryDirectory(prefix="ragecho-eval-") as made:
        yield Path(made)


@asynccontextmanager
async def product(settings: Settings, corpus: str, *, mode: str, is_kept: bool) -> AsyncIterator["Product"]:
    """Yield the product with a workspace `eval-CORPUS`; its documents are removed at the end unless kept."""
    services = build_services(settings)
    try:
        workspace = f"eval-{re.sub(r'[^a-z0-9]+', '-', corpus.lower()).strip('-')}"[:63]
        caller = await _caller(services, settings, workspace)
        made = Product(services, settings, caller, SearchMode(mode))
        yield made
        if not is_kept:
            await made.remove_documents()
    finally:
        await services.database.close()


async def _caller(services: Services, settings: Settings, slug: str) -> Caller:
    administrator = tenancy.local_administrator()
    async with services.database.transaction(administrator) as session:
        try:
            workspace = await tenancy.get_workspace(administrator, session, slug)
        except NotFound:
            workspace = await tenancy.create_workspace(
                administrator, session, slug=slug, name=f"Evaluation: {slug}", description="", space=space_of(settings)
            )
    if workspace.space_id != services.space.id:
        raise ConfigurationError(
            f"The workspace '{slug}' was filled with another model or chunking: delete it, or evaluate without --keep."
        )
    principals = READERS["internal"]
    return Caller(
        workspace.organization_id,
        workspace.id,
        principals,
        frozenset({Scope.READ, Scope.WRITE}),
        workspace_role=WorkspaceRole.EDITOR,
    )


@dataclass(slots=True)
class Product:
    """Implements `evals.run.System` with the real thing."""

    services: Services
    settings: Settings
    caller: Caller
    mode: SearchMode
    _ids: dict[DocumentId, list[str]] = field(default_factory=dict)

    @property
    def _loader(self) -> Caller:
        # A suite's private documents belong to nobody who asks; whoever loads them sees all.
        return replace(self.caller, sees_all=True)

    async def load(self, documents: Sequence[SuiteDocument], on_progress: Progress) -> Loaded:
        """Upload all documents and work until none is left to do."""
        started = time.perf_counter()
        total = len(documents)
        async with ingest_flow(self.settings) as (database, flow):
            for first, last, at_once in (
                (0, SETTLING_DOCUMENTS, 1),
                (SETTLING_DOCUMENTS, total, IngestSettings().worker_concurrency),
            ):
                if batch := documents[first:last]:
                    await self._upload(batch, first, total, on_progress)
                    runner = JobRunner(database, {INGEST_JOB: flow.run}, give_up=flow.give_up, concurrency=at_once)
                    await self._work(runner, total, min(last, total), on_progress)
        found = await self._documents()
        failed = tuple(
            (identifier, str((document.error or {}).get("message", document.status)))
            for document in found
            for identifier in self._ids.get(document.id, [])
            if document.status != "ready"
        )
        chunks = sum(document.chunks for document in found)
        return Loaded(total, chunks, failed, time.perf_counter() - started)

    async def rank(self, question: str, *, depth: int, reader: str) -> list[str]:
        """Search for chunks and keep each document where its best chunk stands."""
        ranked: list[str] = []
        caller = replace(self.caller, principals=READERS[reader])
        for factor in CHUNKS_PER_DOCUMENT:
            wanted = depth * factor
            found = await self.services.search.search(caller, query=question, k=wanted, mode=self.mode)
            ranked = self._documents_of(found.passages)[:depth]
            if len(ranked) == depth or len(found.passages) < wanted:
                break
        return ranked

    async def refuses(self, question: str) -> bool:
        """Ask it, with the configured generators."""
        answer = await self.services.ask.ask(self.caller, AskRequest(question, mode=self.mode))
        return answer.is_refused

    async def remove_documents(self) -> None:
        """Delete everything in the workspace, bytes included."""
        for document in await self._documents():
            async with self.services.database.transaction(self._loader) as session:
                contents = await delete_document(self._loader, session, document.id)
            for sha256 in contents:
                await self.services.blobs.delete(self._loader.workspace_id, sha256)

    async def _upload(self, documents: Sequence[SuiteDocument], first: int, total: int, on_progress: Progress) -> None:
        for number, document in enumerate(documents, start=first + 1):
            accepted = await self.services.uploads.accept(
                self._loader,
                _bytes_of(document),
                filename=f"{re.sub(r'[^\w.-]', '_', document.id)}.md",
                content_type="text/markdown",
                labels=Labels(access=Access(document.access)),
            )
            # Equal texts are one document of the product and several of the suite.
            self._ids.setdefault(accepted.id, []).append(document.id)
            on_progress("uploading", number, total)

    async def _work(self, runner: JobRunner, total: int, goal: int, on_progress: Progress) -> None:
        if not await self._open_jobs():
            return  # all of it was there from a run before
        work = asyncio.create_task(runner.run())
        try:
            while (left := await self._open_jobs()) and not work.done():
                on_progress("ingesting", goal - left, total)
                await asyncio.wait([work], timeout=POLL_SECONDS)
            if work.done():
                await work  # it ends only by failing
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
        on_progress("ingesting", goal, total)

    async def _open_jobs(self) -> int:
        async with self.services.database.transaction(self._loader) as session:
            _, count = await jobs.list_jobs(session, self._loader, statuses=OPEN_STATUSES, limit=1, offset=0)
        return count

    async def _documents(self) -> list[Document]:
        found: list[Document] = []
        while True:
            async with self.services.database.transaction(self._loader) as session:
                page, total = await library.list_documents(
                    session, self._loader, DocumentFilter(), limit=500, offset=len(found)
                )
            found.extend(page)
            if not page or len(found) >= total:
                return found

    def _documents_of(self, passages: Sequence[Passage]) -> list[str]:
        best: dict[str, float] = {}
        for passage in passages:
            for identifier in self._ids.get(passage.document_id, []):
                best.setdefault(identifier, passage.score)
        # Equal scores stand in the order of random ids; by name they stand the same in every run.
        return sorted(best, key=lambda identifier: (-best[identifier], identifier))


async def _bytes_of(document: SuiteDocument) -> AsyncIterator[bytes]:
    heading = f"# {document.title}\n\n" if document.title else ""
    yield f"{heading}{document.text}\n".encode()
