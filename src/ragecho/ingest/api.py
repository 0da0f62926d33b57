"""Routes of uploads and jobs."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, File, Form, UploadFile
from pydantic import ValidationError

from ragecho.ingest.schemas import AcceptedDocument, AcceptedDocuments, JobOut, QueuedDocuments
from ragecho.ingest.service import Accepted, Labels, Uploads
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import DocumentId, JobId
from ragecho.library import writing as library
from ragecho.library.model import NamedReaders
from ragecho.library.schemas import ReadersIn
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams, Paging
from ragecho.platform.http.permissions import requires
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import OPEN_STATUSES

PIECE_BYTES = 1024 * 1024
JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled", "dead"]


def build_uploads_router(uploads: Uploads, authenticate: Authenticate, *, max_files: int) -> APIRouter:
    """Return the routes that take documents in."""
    router = APIRouter(prefix="/api/v1/documents", tags=["documents"])
    Writing = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_WRITE)]
    Indexing = Annotated[Caller, requires(authenticate, Permission.INDEX_ADMINISTER)]

    @router.post("", status_code=202)
    async def upload_documents(
        caller: Writing,
        files: Annotated[list[UploadFile], File(description="One or more files.")],
        tags: Annotated[list[str] | None, Form(description="Repeated, or comma separated.")] = None,
        access: Annotated[Access, Form()] = Access.WORKSPACE,
        metadata: Annotated[str | None, Form(description="A JSON object.")] = None,
        readers: Annotated[
            str | None,
            Form(description='People and groups who may read it besides: `{"users": [ids], "groups": [ids]}`.'),
        ] = None,
    ) -> AcceptedDocuments:
        """Take files in and process them in the background."""
        if len(files) > max_files:
            raise InvalidInput(f"One request carries at most {max_files} files.")
        labels = Labels(access, _tags(tags), _metadata(metadata), _readers(readers))
        accepted: list[Accepted] = []
        for file in files:
            accepted.append(
                await uploads.accept(
                    caller,
                    _pieces(file),
                    filename=file.filename or "",
                    content_type=file.content_type,
                    labels=labels,
                )
            )
        return AcceptedDocuments(documents=[AcceptedDocument.of(one) for one in accepted])

    @router.put("/{document_id}/content", status_code=202)
    async def replace_document(caller: Writing, document_id: UUID, file: UploadFile) -> AcceptedDocument:
        """Upload a new version; the present one answers until the new one is ready."""
        replaced = await uploads.replace(
            caller,
            DocumentId(document_id),
            _pieces(file),
            filename=file.filename or "",
            content_type=file.content_type,
        )
        return AcceptedDocument.of(replaced)

    @router.post("/reindex", status_code=202)
    async def reindex_documents(caller: Indexing) -> QueuedDocuments:
        """Process all documents again."""
        return QueuedDocuments(queued=await uploads.reindex_all(caller))

    @router.post("/{document_id}/reindex", status_code=202)
    async def reindex_document(caller: Writing, document_id: UUID) -> AcceptedDocument:
        """Process a document again from its original bytes."""
        return AcceptedDocument.of(await uploads.reindex(caller, DocumentId(document_id)))

    return router


def build_jobs_router(database: Database, authenticate: Authenticate) -> APIRouter:
    """Return the routes of background work."""
    router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
    Reading = Annotated[Caller, requires(authenticate, Permission.JOBS_READ)]
    Changing = Annotated[Caller, requires(authenticate, Permission.JOBS_WRITE)]

    async def listed(caller: Caller, statuses: list[str] | None, paging: Paging) -> Page[JobOut]:
        caller.require(Permission.JOBS_READ)
        async with database.transaction(caller) as session:
            items, total = await jobs.list_jobs(
                session, caller, statuses=statuses, limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(JobOut.of, items), total=total, paging=paging)

    @router.get("")
    async def list_jobs(caller: Reading, paging: PageParams, status: JobStatus | None = None) -> Page[JobOut]:
        """List jobs, newest first."""
        return await listed(caller, [status] if status else None, paging)

    @router.get("/dead")
    async def list_dead_jobs(caller: Reading, paging: PageParams) -> Page[JobOut]:
        """List jobs that were tried as often as allowed and never ended."""
        return await listed(caller, ["dead"], paging)

    @router.get("/{job_id}")
    async def get_job(caller: Reading, job_id: UUID) -> JobOut:
        """Return one job."""
        async with database.transaction(caller) as session:
            job = await jobs.get(session, caller, JobId(job_id))
        if job is None:
            raise NotFound("There is no such job.")
        return JobOut.of(job)

    @router.post("/{job_id}/retry")
    async def retry_job(caller: Changing, job_id: UUID) -> JobOut:
        """Try a job that ended without success once more, from the start."""
        async with database.transaction(caller) as session:
            job = await jobs.get(session, caller, JobId(job_id), for_update=True)
            if job is None:
                raise NotFound("There is no such job.")
            if job.status not in ("failed", "dead", "cancelled"):
                raise Conflict(f"Only a job that ended without success can be retried; this one is {job.status}.")
            await jobs.reopen(session, caller, job.id)
            if job.document_id is not None:
                await library.set_status(session, caller, job.document_id, status="queued", progress=0.0, error=None)
            await jobs.deliver(session, caller, job.id)
            after = await jobs.get(session, caller, job.id)
        return JobOut.of(after or job)

    @router.post("/{job_id}/cancel")
    async def cancel_job(caller: Changing, job_id: UUID) -> JobOut:
        """Stop a job; its document is marked as failed unless an earlier version answers."""
        async with database.transaction(caller) as session:
            job = await jobs.get(session, caller, JobId(job_id), for_update=True)
            if job is None:
                raise NotFound("There is no such job.")
            if job.status not in OPEN_STATUSES:
                raise Conflict(f"This job has ended already: it is {job.status}.")
            error = {"code": "cancelled", "message": "Processing was cancelled. Retry the job to process the document."}
            await jobs.finish(session, caller, job.id, status="cancelled", error=error)
            if job.document_id is not None:
                await library.set_status(session, caller, job.document_id, status="failed", progress=0.0, error=error)
            after = await jobs.get(session, caller, job.id)
        return JobOut.of(after or job)

    return router


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(PIECE_BYTES):
        yield piece


def _tags(values: list[str] | None) -> tuple[str, ...]:
    return tuple(tag.strip() for value in values or () for tag in value.split(",") if tag.strip())


def _readers(value: str | None) -> NamedReaders:
    if not value:
        return NamedReaders()
    try:
        return ReadersIn.model_validate_json(value).to_named()
    except ValidationError as error:
        raise InvalidInput('\'readers\' must be a JSON object like {"users": [ids], "groups": [ids]}.') from error


def _metadata(value: str | None) -> dict[str, object]:
    if not value:
        return {}
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise InvalidInput("'metadata' must be a JSON object.")
    return parsed
