"""The asynchronous client: the same calls, sent without blocking."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from ragecho_sdk import calls
from ragecho_sdk.async_sources import AsyncSources
from ragecho_sdk.async_tenancy import (
    AsyncAudit,
    AsyncGroups,
    AsyncInvitations,
    AsyncKeys,
    AsyncMembers,
    AsyncOrganizations,
    AsyncServiceAccounts,
    AsyncWorkspaces,
)
from ragecho_sdk.calls import Call, Source
from ragecho_sdk.errors import EchoConflictError, EchoConnectionError, EchoTimeoutError, EchoUnavailableError
from ragecho_sdk.following import PATH as FOLLOW_PATH
from ragecho_sdk.following import Following
from ragecho_sdk.index import AsyncIndex
from ragecho_sdk.large import LARGE_BYTES, LargeFile, append_piece, create_upload, get_upload, metadata_of, size_of
from ragecho_sdk.models import (
    Answer,
    AnswerEvent,
    Batch,
    Chunk,
    Deleted,
    DeletionPreview,
    Document,
    Health,
    Job,
    Me,
    Page,
    SearchResult,
    UploadedDocument,
    Version,
)
from ragecho_sdk.sse import EventDecoder
from ragecho_sdk.transport import (
    DEFAULT_SERVER,
    Connection,
    api_error,
    check_server,
    pause_before_retry,
    read_answer,
    request_arguments,
    transport_error,
)
from ragecho_sdk.waiting import Waiting

log = logging.getLogger(__name__)

T = TypeVar("T")
PAGE_SIZE = 100


class AsyncEcho:
    """A client of one Echo server; close it or use it in a `async with` statement.

    `workspace` is an id or a slug; without it the key's own workspace is meant. `auth` signs requests instead of a key
    (`ClientCredentials`, say). Every method raises `EchoError`.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        api_key: str | None = None,
        workspace: str | None = None,
        timeout_seconds: float = 120.0,
        max_retries: int = 2,
        auth: httpx.Auth | None = None,
    ) -> None:
        self.connection = Connection(check_server(server), api_key, workspace, timeout_seconds, max_retries, auth)
        self._http = httpx.AsyncClient(**self.connection.client_options())
        self.documents = AsyncDocuments(self)
        self.jobs = AsyncJobs(self)
        self.workspaces = AsyncWorkspaces(self)
        self.audit = AsyncAudit(self)
        self.groups = AsyncGroups(self)
        self.index = AsyncIndex(self)
        self.invitations = AsyncInvitations(self)
        self.keys = AsyncKeys(self)
        self.members = AsyncMembers(self)
        self.organizations = AsyncOrganizations(self)
        self.service_accounts = AsyncServiceAccounts(self)
        self.sources = AsyncSources(self)

    async def __aenter__(self) -> AsyncEcho:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send one call, again where that is right, and return its value."""
        attempt = 0
        while True:
            outcome = await self._try(call)
            pause = pause_before_retry(call, self.connection, attempt=attempt, outcome=outcome)
            if pause is None:
                break
            await asyncio.sleep(pause)
            attempt += 1
        if isinstance(outcome, httpx.HTTPError):
            raise transport_error(outcome, self.connection) from outcome
        return read_answer(call, outcome)

    async def _try(self, call: Call[Any]) -> httpx.Response | httpx.HTTPError:
        with request_arguments(call) as arguments:
            try:
                return await self._http.request(**arguments)
            except httpx.HTTPError as error:
                return error

    async def health(self) -> Health:
        """Return whether the server is alive."""
        return await self.send(calls.health())

    async def me(self) -> Me:
        """Return who this client acts as, and where they belong."""
        return await self.send(calls.me())

    async def upload(
        self,
        *sources: Source,
        tags: Sequence[str] = (),
        access: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: str | None = None,
        batch: str | None = None,
        password: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[UploadedDocument]:
        """Upload files (paths, or pairs of name and bytes) and return them in the same order.

        One request takes all of them or none; files over 32 MB go in pieces of their own, each as a whole, and go on where a
        broken connection left them. They are queued, not ready: see `wait_until_ready`. `access` is private, workspace,
        internal or external; `priority` low, normal or high; `password` opens encrypted files; uploads with the same `batch`
        (a UUID) count as one; `on_progress` is called with the bytes of large files as they arrive.
        """
        form = calls.upload_form(
            tags=tags, access=access, metadata=metadata, priority=priority, batch=batch, password=password
        )
        large = {n for n, source in enumerate(sources) if size_of(source) > LARGE_BYTES}
        small = [source for n, source in enumerate(sources) if n not in large]
        sent = await self.send(calls.upload(small, form)) if small or not large else []
        done = iter(sent)
        return [
            await self._upload_large(source, form, on_progress) if n in large else next(done)
            for n, source in enumerate(sources)
        ]

    async def _upload_large(
        self, source: Source, form: Mapping[str, Any], on_progress: Callable[[int], None] | None
    ) -> UploadedDocument:
        with LargeFile(source) as file:
            upload = await self.send(create_upload(file.size_bytes, metadata_of(file.filename, form)))
            while upload.document is None:
                offset = upload.received_bytes
                try:
                    await self.send(append_piece(upload.id, offset, file.read(offset)))
                    file.failures = 0
                except (EchoConnectionError, EchoTimeoutError, EchoConflictError, EchoUnavailableError) as error:
                    pause = file.pause_after_failure()
                    if pause is None:
                        raise
                    log.debug("a piece did not get through: %s", error)
                    await asyncio.sleep(pause)
                upload = await self.send(get_upload(upload.id))
                if on_progress:
                    on_progress(upload.received_bytes)
            return upload.document

    async def wait_until_ready(
        self,
        ids: Sequence[str],
        *,
        timeout_seconds: float = 600.0,
        on_progress: Callable[[Sequence[Document]], None] | None = None,
    ) -> list[Document]:
        """Return the documents, in the order of `ids`, once each is ready or failed.

        `on_progress` is called with all that is known after each round. Raises `EchoTimeoutError`, which holds the same.
        """
        waiting, deadline = Waiting(ids), time.monotonic() + timeout_seconds
        while asked := waiting.next_ids():
            pause = waiting.tell(await asyncio.gather(*map(self.documents.get, asked)))
            if on_progress:
                on_progress(waiting.documents)
            if time.monotonic() + pause > deadline and not waiting.is_over:
                raise waiting.timed_out(timeout_seconds)
            await asyncio.sleep(pause)
        return waiting.documents

    async def search(
        self,
        query: str,
        *,
        k: int | None = None,
        tags: Sequence[str] | None = None,
        mode: str | None = None,
        filters: Mapping[str, Any] | None = None,
        rerank: bool | None = None,
        expand: str | None = None,
        max_per_document: int | None = None,
        diversity: float | None = None,
        fold_duplicates: bool | None = None,
        exact: bool | None = None,
        correct: bool | None = None,
        broad: bool | None = None,
    ) -> SearchResult:
        """Return the best passages for `query`. `mode` is hybrid, vector or lexical.

        `expand` shows them with their `neighbours` or their whole `section`. The others are the server's own unless said:
        identifiers and quoted phrases first (`exact`), slips of the pen corrected (`correct`), repetitions folded, and
        queries about a whole document or for documents answered as such (`broad`).
        """
        call = calls.search(
            query,
            k=k,
            tags=tags,
            mode=mode,
            filters=filters,
            rerank=rerank,
            expand=expand,
            max_per_document=max_per_document,
            diversity=diversity,
            fold_duplicates=fold_duplicates,
            exact=exact,
            correct=correct,
            broad=broad,
        )
        return await self.send(call)

    async def ask(
        self,
        question: str,
        *,
        k: int | None = None,
        tags: Sequence[str] | None = None,
        model: str | None = None,
        filters: Mapping[str, Any] | None = None,
        history: Sequence[Mapping[str, str]] | None = None,
        rewrite: bool | None = None,
        fresh: bool | None = None,
    ) -> Answer:
        """Return an answer with citations, or a refusal (`answer.refused`) when the documents hold no evidence.

        `history` is what was said before, oldest first, as mappings with `role` (user, assistant) and `content`; `rewrite`
        switches the rewriting of the question off; `fresh` answers anew what was answered a moment ago.
        """
        return await self.send(
            calls.ask(
                question, k=k, tags=tags, model=model, filters=filters, history=history, rewrite=rewrite, fresh=fresh
            )
        )

    async def ask_stream(
        self,
        question: str,
        *,
        k: int | None = None,
        tags: Sequence[str] | None = None,
        model: str | None = None,
        session_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        history: Sequence[Mapping[str, str]] | None = None,
        rewrite: bool | None = None,
        fresh: bool | None = None,
    ) -> AsyncIterator[AnswerEvent]:
        """Yield the events of an answer as they happen; the one named `answer` holds what `ask` would return."""
        call = calls.ask_stream(
            question,
            k=k,
            tags=tags,
            model=model,
            session_id=session_id,
            filters=filters,
            history=history,
            rewrite=rewrite,
            fresh=fresh,
        )
        decoder = EventDecoder()
        try:
            with request_arguments(call) as arguments:
                async with self._http.stream(**arguments, headers={"Accept": "text/event-stream"}) as response:
                    if response.is_error or response.is_redirect:
                        await response.aread()
                        raise api_error(response)
                    async for piece in response.aiter_bytes():
                        for event in decoder.feed(piece):
                            yield event
        except httpx.HTTPError as error:
            raise transport_error(error, self.connection) from error


class AsyncDocuments:
    """What is done with documents once they are uploaded."""

    def __init__(self, echo: AsyncEcho) -> None:
        self._echo = echo

    async def list(
        self,
        *,
        status: str | None = None,
        tag: str | None = None,
        q: str | None = None,
        access: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[Document]:
        """Return one page, newest first."""
        return await self._echo.send(
            calls.list_documents(status=status, tag=tag, q=q, access=access, limit=limit, offset=offset)
        )

    async def iterate(
        self, *, status: str | None = None, tag: str | None = None, q: str | None = None, access: str | None = None
    ) -> AsyncIterator[Document]:
        """Yield every document of every page, newest first."""
        offset = 0
        while True:
            page = await self.list(status=status, tag=tag, q=q, access=access, limit=PAGE_SIZE, offset=offset)
            for document in page:
                yield document
            offset += len(page)
            if not page.items or offset >= page.total:
                return

    async def get(self, document_id: str) -> Document:
        """Return one document."""
        return await self._echo.send(calls.get_document(document_id))

    async def delete(self, document_id: str) -> None:
        """Delete a document: it is gone from the very next search."""
        await self._echo.send(calls.delete_document(document_id))

    async def versions(self, document_id: str, *, limit: int | None = None, offset: int | None = None) -> Page[Version]:
        """Return one page of a document's versions, newest first."""
        return await self._echo.send(calls.document_versions(document_id, limit=limit, offset=offset))

    async def delete_many(self, ids: Sequence[str]) -> Deleted:
        """Delete documents, all in one transaction."""
        return await self._echo.send(calls.delete_documents(ids, None, None))

    async def preview_deletion(self, **wanted: Any) -> DeletionPreview:
        """Return how many documents `status`, `tag`, `access` and `q` select, and the newest of them."""
        return await self._echo.send(calls.preview_deletion(wanted))

    async def delete_matching(self, *, expected_total: int, **wanted: Any) -> Deleted:
        """Delete what `preview_deletion` showed; `EchoConflictError` when that is another number by now."""
        return await self._echo.send(calls.delete_documents(None, wanted, expected_total))

    async def text(self, document_id: str) -> str:
        """Return the parsed text, which `start` and `end` of chunks and citations count in (code points)."""
        return await self._echo.send(calls.document_text(document_id))

    async def content(self, document_id: str) -> bytes:
        """Return the original bytes."""
        return await self._echo.send(calls.document_content(document_id))

    async def chunks(self, document_id: str, *, limit: int | None = None, offset: int | None = None) -> Page[Chunk]:
        """Return one page of chunks in the order of the text."""
        return await self._echo.send(calls.document_chunks(document_id, limit=limit, offset=offset))

    async def reindex(self, document_id: str) -> UploadedDocument:
        """Parse and index a document again from its original bytes."""
        return await self._echo.send(calls.reindex_document(document_id))

    async def update(
        self,
        document_id: str,
        *,
        title: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        access: str | None = None,
    ) -> Document:
        """Change what is given and return the document; search follows at once."""
        return await self._echo.send(
            calls.update_document(document_id, title=title, tags=tags, metadata=metadata, access=access)
        )

    async def replace(self, document_id: str, source: Source) -> UploadedDocument:
        """Upload a new version; the present one answers until the new one is ready."""
        return await self._echo.send(calls.replace_document(document_id, source))


class AsyncJobs:
    """Work in the background."""

    def __init__(self, echo: AsyncEcho) -> None:
        self._echo = echo

    async def list(
        self,
        *,
        status: str | None = None,
        batch: str | None = None,
        document_id: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[Job]:
        """Return one page, newest first."""
        call = calls.list_jobs(status=status, batch=batch, document_id=document_id, limit=limit, offset=offset)
        return await self._echo.send(call)

    async def batch(self, batch: str) -> Batch:
        """Return how far an upload is."""
        return await self._echo.send(calls.get_batch(batch))

    async def follow(
        self, *, batch: str | None = None, jobs: Sequence[str] = (), documents: Sequence[str] = ()
    ) -> AsyncIterator[Job | Batch]:
        """Yield jobs, and the batch as a whole, whenever one changed, until all have ended; over broken connections, too."""
        following = Following(batch=batch, jobs=jobs, documents=documents)
        while not following.is_over:
            try:
                async with self._echo._http.stream(
                    "GET", FOLLOW_PATH, params=following.params, headers=following.begin()
                ) as response:
                    if response.is_error or response.is_redirect:
                        await response.aread()
                        raise api_error(response)
                    async for piece in response.aiter_bytes():
                        for one in following.feed(piece):
                            yield one
            except httpx.TransportError as error:
                pause = following.pause()
                if pause is None:
                    raise transport_error(error, self._echo.connection) from error
                await asyncio.sleep(pause)

    async def discard(self, job_id: str) -> None:
        """Forget a job that ended without success; its document stays as it is."""
        await self._echo.send(calls.discard_job(job_id))

    async def retry_dead(self) -> int:
        """Try dead jobs again, at most 1000 at a time; return how many."""
        return await self._echo.send(calls.retry_dead_jobs())

    async def dead(self, *, limit: int | None = None, offset: int | None = None) -> Page[Job]:
        """Return one page of the jobs that were given up after their last attempt."""
        return await self._echo.send(calls.dead_jobs(limit=limit, offset=offset))

    async def get(self, job_id: str) -> Job:
        """Return one job."""
        return await self._echo.send(calls.get_job(job_id))

    async def retry(self, job_id: str) -> Job:
        """Try a failed or dead job again."""
        return await self._echo.send(calls.retry_job(job_id))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job that is not finished."""
        return await self._echo.send(calls.cancel_job(job_id))
