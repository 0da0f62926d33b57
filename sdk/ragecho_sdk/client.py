"""The synchronous client."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from ragecho_sdk import calls
from ragecho_sdk.calls import Call, Source
from ragecho_sdk.errors import EchoConflictError, EchoConnectionError, EchoTimeoutError, EchoUnavailableError
from ragecho_sdk.following import PATH as FOLLOW_PATH
from ragecho_sdk.following import Following
from ragecho_sdk.index import Index
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
from ragecho_sdk.sources import Sources
from ragecho_sdk.sse import EventDecoder
from ragecho_sdk.tenancy import (
    Audit,
    Groups,
    Invitations,
    Keys,
    Members,
    Organizations,
    ServiceAccounts,
    Workspaces,
)
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


class Echo:
    """A client of one Echo server; close it or use it in a `with` statement.

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
        self._http = httpx.Client(**self.connection.client_options())
        self.documents = Documents(self)
        self.jobs = Jobs(self)
        self.workspaces = Workspaces(self)
        self.audit = Audit(self)
        self.groups = Groups(self)
        self.index = Index(self)
        self.invitations = Invitations(self)
        self.keys = Keys(self)
        self.members = Members(self)
        self.organizations = Organizations(self)
        self.service_accounts = ServiceAccounts(self)
        self.sources = Sources(self)

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send one call, again where that is right, and return its value."""
        attempt = 0
        while True:
            outcome = self._try(call)
            pause = pause_before_retry(call, self.connection, attempt=attempt, outcome=outcome)
            if pause is None:
                break
            time.sleep(pause)
            attempt += 1
        if isinstance(outcome, httpx.HTTPError):
            raise transport_error(outcome, self.connection) from outcome
        return read_answer(call, outcome)

    def _try(self, call: Call[Any]) -> httpx.Response | httpx.HTTPError:
        with request_arguments(call) as arguments:
            try:
                return self._http.request(**arguments)
            except httpx.HTTPError as error:
                return error

    def health(self) -> Health:
        """Return whether the server is alive."""
        return self.send(calls.health())

    def me(self) -> Me:
        """Return who this client acts as, and where they belong."""
        return self.send(calls.me())

    def upload(
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
        sent = self.send(calls.upload(small, form)) if small or not large else []
        done = iter(sent)
        return [
            self._upload_large(source, form, on_progress) if n in large else next(done)
            for n, source in enumerate(sources)
        ]

    def _upload_large(
        self, source: Source, form: Mapping[str, Any], on_progress: Callable[[int], None] | None
    ) -> UploadedDocument:
        with LargeFile(source) as file:
            upload = self.send(create_upload(file.size_bytes, metadata_of(file.filename, form)))
            while upload.document is None:
                offset = upload.received_bytes
                try:
                    self.send(append_piece(upload.id, offset, file.read(offset)))
                    file.failures = 0
                except (EchoConnectionError, EchoTimeoutError, EchoConflictError, EchoUnavailableError) as error:
                    pause = file.pause_after_failure()
                    if pause is None:
                        raise
                    log.debug("a piece did not get through: %s", error)
                    time.sleep(pause)
                upload = self.send(get_upload(upload.id))
                if on_progress:
                    on_progress(upload.received_bytes)
            return upload.document

    def wait_until_ready(
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
            pause = waiting.tell([self.documents.get(document_id) for document_id in asked])
            if on_progress:
                on_progress(waiting.documents)
            if time.monotonic() + pause > deadline and not waiting.is_over:
                raise waiting.timed_out(timeout_seconds)
            time.sleep(pause)
        return waiting.documents

    def search(
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
        return self.send(call)

    def ask(
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
        return self.send(
            calls.ask(
                question, k=k, tags=tags, model=model, filters=filters, history=history, rewrite=rewrite, fresh=fresh
            )
        )

    def ask_stream(
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
    ) -> Iterator[AnswerEvent]:
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
            with (
                request_arguments(call) as arguments,
                self._http.stream(**arguments, headers={"Accept": "text/event-stream"}) as response,
            ):
                if response.is_error or response.is_redirect:
                    response.read()
                    raise api_error(response)
                for piece in response.iter_bytes():
                    yield from decoder.feed(piece)
        except httpx.HTTPError as error:
            raise transport_error(error, self.connection) from error


class Documents:
    """What is done with documents once they are uploaded."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def list(
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
        return self._echo.send(
            calls.list_documents(status=status, tag=tag, q=q, access=access, limit=limit, offset=offset)
        )

    def iterate(
        self, *, status: str | None = None, tag: str | None = None, q: str | None = None, access: str | None = None
    ) -> Iterator[Document]:
        """Yield every document of every page, newest first."""
        offset = 0
        while True:
            page = self.list(status=status, tag=tag, q=q, access=access, limit=PAGE_SIZE, offset=offset)
            yield from page
            offset += len(page)
            if not page.items or offset >= page.total:
                return

    def get(self, document_id: str) -> Document:
        """Return one document."""
        return self._echo.send(calls.get_document(document_id))

    def delete(self, document_id: str) -> None:
        """Delete a document: it is gone from the very next search."""
        self._echo.send(calls.delete_document(document_id))

    def versions(self, document_id: str, *, limit: int | None = None, offset: int | None = None) -> Page[Version]:
        """Return one page of a document's versions, newest first."""
        return self._echo.send(calls.document_versions(document_id, limit=limit, offset=offset))

    def delete_many(self, ids: Sequence[str]) -> Deleted:
        """Delete documents, all in one transaction."""
        return self._echo.send(calls.delete_documents(ids, None, None))

    def preview_deletion(self, **wanted: Any) -> DeletionPreview:
        """Return how many documents `status`, `tag`, `access` and `q` select, and the newest of them."""
        return self._echo.send(calls.preview_deletion(wanted))

    def delete_matching(self, *, expected_total: int, **wanted: Any) -> Deleted:
        """Delete what `preview_deletion` showed; `EchoConflictError` when that is another number by now."""
        return self._echo.send(calls.delete_documents(None, wanted, expected_total))

    def text(self, document_id: str) -> str:
        """Return the parsed text, which `start` and `end` of chunks and citations count in (code points)."""
        return self._echo.send(calls.document_text(document_id))

    def content(self, document_id: str) -> bytes:
        """Return the original bytes."""
        return self._echo.send(calls.document_content(document_id))

    def chunks(self, document_id: str, *, limit: int | None = None, offset: int | None = None) -> Page[Chunk]:
        """Return one page of chunks in the order of the text."""
        return self._echo.send(calls.document_chunks(document_id, limit=limit, offset=offset))

    def reindex(self, document_id: str) -> UploadedDocument:
        """Parse and index a document again from its original bytes."""
        return self._echo.send(calls.reindex_document(document_id))

    def update(
        self,
        document_id: str,
        *,
        title: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        access: str | None = None,
    ) -> Document:
        """Change what is given and return the document; search follows at once."""
        return self._echo.send(
            calls.update_document(document_id, title=title, tags=tags, metadata=metadata, access=access)
        )

    def replace(self, document_id: str, source: Source) -> UploadedDocument:
        """Upload a new version; the present one answers until the new one is ready."""
        return self._echo.send(calls.replace_document(document_id, source))


class Jobs:
    """Work in the background."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def list(
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
        return self._echo.send(call)

    def batch(self, batch: str) -> Batch:
        """Return how far an upload is."""
        return self._echo.send(calls.get_batch(batch))

    def follow(
        self, *, batch: str | None = None, jobs: Sequence[str] = (), documents: Sequence[str] = ()
    ) -> Iterator[Job | Batch]:
        """Yield jobs, and the batch as a whole, whenever one changed, until all have ended; over broken connections, too."""
        following = Following(batch=batch, jobs=jobs, documents=documents)
        while not following.is_over:
            try:
                with self._echo._http.stream(
                    "GET", FOLLOW_PATH, params=following.params, headers=following.begin()
                ) as response:
                    if response.is_error or response.is_redirect:
                        response.read()
                        raise api_error(response)
                    for piece in response.iter_bytes():
                        yield from following.feed(piece)
            except httpx.TransportError as error:
                pause = following.pause()
                if pause is None:
                    raise transport_error(error, self._echo.connection) from error
                time.sleep(pause)

    def discard(self, job_id: str) -> None:
        """Forget a job that ended without success; its document stays as it is."""
        self._echo.send(calls.discard_job(job_id))

    def retry_dead(self) -> int:
        """Try dead jobs again, at most 1000 at a time; return how many."""
        return self._echo.send(calls.retry_dead_jobs())

    def dead(self, *, limit: int | None = None, offset: int | None = None) -> Page[Job]:
        """Return one page of the jobs that were given up after their last attempt."""
        return self._echo.send(calls.dead_jobs(limit=limit, offset=offset))

    def get(self, job_id: str) -> Job:
        """Return one job."""
        return self._echo.send(calls.get_job(job_id))

    def retry(self, job_id: str) -> Job:
        """Try a failed or dead job again."""
        return self._echo.send(calls.retry_job(job_id))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that is not finished."""
        return self._echo.send(calls.cancel_job(job_id))
