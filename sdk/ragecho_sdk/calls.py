"""Every route that the client uses, as a value: what to send and how to read the answer. Both clients send these."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, Union
from urllib.parse import quote
from uuid import uuid4

from ragecho_sdk.errors import EchoError
from ragecho_sdk.models import (
    Answer,
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
    page_of,
)

T = TypeVar("T")

# A file on disk, or the name and content of one in memory.
Source = Union[str, Path, "tuple[str, bytes]"]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `read` takes the parsed JSON body, or the bytes when `is_binary`. Only what `is_repeatable` is retried."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, Any] | None = None
    sources: tuple[Source, ...] = ()
    source_field: str = "files"
    is_repeatable: bool = False
    is_binary: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


def get(path: str, read: Callable[[Any], T], *, is_binary: bool = False, **params: Any) -> Call[T]:
    """Return a call that reads; parameters that are None are left out."""
    given = {name: value for name, value in params.items() if value is not None}
    return Call("GET", path, read, given, is_repeatable=True, is_binary=is_binary)


def post(path: str, read: Callable[[Any], T], **body: Any) -> Call[T]:
    """Return a call with a JSON body; fields that are None are left out."""
    given = {name: value for name, value in body.items() if value is not None}
    return Call("POST", path, read, body=given)


def once(call: Call[T]) -> Call[T]:
    """Return the call with a key of its own: repeated after a broken connection, it does nothing twice."""
    return replace(call, is_repeatable=True, headers={**call.headers, "Idempotency-Key": str(uuid4())})


def nothing(_: Any) -> None:
    """Read an answer without content."""
    return


def segment(value: str) -> str:
    """Return a value as one segment of an address; raise `EchoError` for an empty one."""
    if not value:
        # An empty segment would turn the call into the one that lists everything.
        raise EchoError("An id is needed; an empty one was given.")
    return quote(value, safe="")


def health() -> Call[Health]:
    """Liveness."""
    return get("/health", Health.read)


def me() -> Call[Me]:
    """Who the caller is."""
    return get("/auth/me", Me.read)


def upload_form(
    *,
    tags: Sequence[str],
    access: str | None,
    metadata: Mapping[str, Any] | None,
    priority: str | None = None,
    batch: str | None = None,
    password: str | None = None,
) -> dict[str, Any]:
    """Return the fields that go with files; what is None is left out."""
    named = {"access": access, "priority": priority, "batch": batch, "password": password}
    form: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if tags:
        form["tags"] = list(tags)
    if metadata is not None:
        form["metadata"] = json.dumps(metadata)
    return form


def upload(
    sources: Sequence[Source], form: Mapping[str, Any], *, idempotency_key: str | None = None
) -> Call[list[UploadedDocument]]:
    """Several files in one request; it has a key of its own, so that repeating it uploads nothing twice."""

    def read(data: Any) -> list[UploadedDocument]:
        documents = data.get("documents", ()) if isinstance(data, Mapping) else ()
        return [UploadedDocument.read(document) for document in documents]

    headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
    return Call(
        "POST",
        "/api/v1/documents",
        read,
        form=form,
        sources=tuple(sources),
        is_repeatable=True,
        headers=headers,
    )


def list_documents(
    *, status: str | None, tag: str | None, q: str | None, access: str | None, limit: int | None, offset: int | None
) -> Call[Page[Document]]:
    """One page of documents."""
    read = page_of(Document)
    return get("/api/v1/documents", read, status=status, tag=tag, q=q, access=access, limit=limit, offset=offset)


def get_document(document_id: str) -> Call[Document]:
    """One document."""
    return get(f"/api/v1/documents/{segment(document_id)}", Document.read)


def delete_document(document_id: str) -> Call[None]:
    """Delete a document with its chunks and its original."""
    return Call("DELETE", f"/api/v1/documents/{segment(document_id)}", nothing)


def document_text(document_id: str) -> Call[str]:
    """Fetch the parsed text that citations count in."""
    return get(f"/api/v1/documents/{segment(document_id)}/text", lambda data: data.decode("utf-8"), is_binary=True)


def document_content(document_id: str) -> Call[bytes]:
    """Fetch the original bytes."""
    return get(f"/api/v1/documents/{segment(document_id)}/content", bytes, is_binary=True)


def document_chunks(document_id: str, *, limit: int | None, offset: int | None) -> Call[Page[Chunk]]:
    """One page of a document's chunks, in the order of the text."""
    return get(f"/api/v1/documents/{segment(document_id)}/chunks", page_of(Chunk), limit=limit, offset=offset)


def reindex_document(document_id: str) -> Call[UploadedDocument]:
    """Parse and index a document again."""
    return once(post(f"/api/v1/documents/{segment(document_id)}/reindex", UploadedDocument.read))


def document_versions(document_id: str, *, limit: int | None, offset: int | None) -> Call[Page[Version]]:
    """One page of a document's versions, newest first."""
    return get(f"/api/v1/documents/{segment(document_id)}/versions", page_of(Version), limit=limit, offset=offset)


def delete_documents(
    ids: Sequence[str] | None, wanted: Mapping[str, Any] | None, expected_total: int | None
) -> Call[Deleted]:
    """Delete many documents at once."""
    return post(
        "/api/v1/documents/delete",
        Deleted.read,
        ids=list(ids) if ids is not None else None,
        filter=dict(wanted) if wanted is not None else None,
        expected_total=expected_total,
    )


def preview_deletion(wanted: Mapping[str, Any]) -> Call[DeletionPreview]:
    """Count what a filter would delete."""
    call = post("/api/v1/documents/delete/preview", DeletionPreview.read, **wanted)
    return replace(call, is_repeatable=True)


def update_document(document_id: str, **changes: Any) -> Call[Document]:
    """Change what is said about a document."""
    given = {name: value for name, value in changes.items() if value is not None}
    return Call("PATCH", f"/api/v1/documents/{segment(document_id)}", Document.read, body=given)


def replace_document(document_id: str, source: Source) -> Call[UploadedDocument]:
    """Upload a new version of a document."""
    path = f"/api/v1/documents/{segment(document_id)}/content"
    return once(Call("PUT", path, UploadedDocument.read, form={}, sources=(source,), source_field="file"))


def list_jobs(
    *,
    status: str | None,
    limit: int | None,
    offset: int | None,
    batch: str | None = None,
    document_id: str | None = None,
) -> Call[Page[Job]]:
    """One page of jobs."""
    return get(
        "/api/v1/jobs",
        page_of(Job),
        status=status,
        batch=batch,
        document_id=document_id,
        limit=limit,
        offset=offset,
    )


def get_batch(batch: str) -> Call[Batch]:
    """How far an upload is."""
    return get(f"/api/v1/jobs/batches/{segment(batch)}", Batch.read)


def discard_job(job_id: str) -> Call[None]:
    """Forget a job that ended without success."""
    return post(f"/api/v1/jobs/{segment(job_id)}/discard", nothing)


def retry_dead_jobs() -> Call[int]:
    """Try the dead jobs again; the answer is how many."""
    return post("/api/v1/jobs/dead/retry", lambda data: int(data.get("retried", 0)))


def dead_jobs(*, limit: int | None, offset: int | None) -> Call[Page[Job]]:
    """One page of the jobs that were given up."""
    return get("/api/v1/jobs/dead", page_of(Job), limit=limit, offset=offset)


def get_job(job_id: str) -> Call[Job]:
    """One job."""
    return get(f"/api/v1/jobs/{segment(job_id)}", Job.read)


def retry_job(job_id: str) -> Call[Job]:
    """Try a failed or dead job again."""
    return post(f"/api/v1/jobs/{segment(job_id)}/retry", Job.read)


def cancel_job(job_id: str) -> Call[Job]:
    """Cancel a job that is not finished."""
    return post(f"/api/v1/jobs/{segment(job_id)}/cancel", Job.read)


def search(query: str, **options: Any) -> Call[SearchResult]:
    """Find passages. It changes nothing, so it may be repeated."""
    call = post("/api/v1/search", SearchResult.read, query=query, **options)
    return Call(call.method, call.path, call.read, body=call.body, is_repeatable=True)


def ask(question: str, **options: Any) -> Call[Answer]:
    """Answer a question with citations."""
    return post("/api/v1/ask", Answer.read, question=question, **options)


def ask_stream(question: str, **options: Any) -> Call[None]:
    """Answer a question as server-sent events."""
    return post("/api/v1/chat/stream", nothing, question=question, **options)
