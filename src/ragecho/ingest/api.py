"""Routes that take documents in."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, File, Form, Header, UploadFile
from pydantic import ValidationError

from ragecho.ingest.model import Handling, Incoming, Labels
from ragecho.ingest.schemas import AcceptedDocument, AcceptedDocuments, QueuedDocuments, ReindexIn
from ragecho.ingest.service import Uploads
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import InvalidInput
from ragecho.kernel.ids import DocumentId
from ragecho.library.model import NamedReaders
from ragecho.library.schemas import ReadersIn
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.permissions import requires
from ragecho.platform.jobs.model import Priority

PIECE_BYTES = 1024 * 1024

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="A name of your own for this request. Repeating it within 24 hours gets the first answer instead of"
        " doing it again.",
    ),
]
Password = Annotated[
    str | None,
    Form(max_length=1024, description="Opens encrypted files. Kept encrypted until they are read, and then forgotten."),
]


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
        priority: Annotated[
            Priority, Form(description="Before or after other documents of the same workspace.")
        ] = Priority.NORMAL,
        batch: Annotated[UUID | None, Form(description="Counts several requests as one upload.")] = None,
        password: Password = None,
        idempotency_key: IdempotencyKey = None,
    ) -> AcceptedDocuments:
        """Take files in, all of them or none, and process them in the background."""
        if len(files) > max_files:
            raise InvalidInput(
                f"One request carries at most {max_files} files.",
                max_files=max_files,
                setting="RAGECHO_MAX_FILES_PER_UPLOAD",
            )
        labels = Labels(access, split_tags(tags), parsed_metadata(metadata), parsed_readers(readers))
        handling = Handling(priority, password, batch, idempotency_key)
        return AcceptedDocuments.of(
            await uploads.accept_all(caller, [_incoming(file) for file in files], labels=labels, handling=handling)
        )

    @router.put("/{document_id}/content", status_code=202)
    async def replace_document(
        caller: Writing,
        document_id: UUID,
        file: UploadFile,
        priority: Annotated[Priority, Form()] = Priority.NORMAL,
        password: Password = None,
        idempotency_key: IdempotencyKey = None,
    ) -> AcceptedDocument:
        """Upload a new version; the present one answers until the new one is ready."""
        replaced = await uploads.replace(
            caller,
            DocumentId(document_id),
            _pieces(file),
            filename=file.filename or "",
            content_type=file.content_type,
            handling=Handling(priority, password, idempotency_key=idempotency_key),
        )
        return AcceptedDocument.of(replaced)

    @router.post("/reindex", status_code=202)
    async def reindex_documents(caller: Indexing, idempotency_key: IdempotencyKey = None) -> QueuedDocuments:
        """Process all documents again, after what else waits in the workspace."""
        return QueuedDocuments(queued=await uploads.reindex_all(caller, idempotency_key=idempotency_key))

    @router.post("/{document_id}/reindex", status_code=202)
    async def reindex_document(
        caller: Writing,
        document_id: UUID,
        body: ReindexIn | None = None,
        idempotency_key: IdempotencyKey = None,
    ) -> AcceptedDocument:
        """Process a document again from its original bytes; a page that never arrived is fetched once more."""
        wanted = body or ReindexIn()
        handling = Handling(wanted.priority, wanted.password, idempotency_key=idempotency_key)
        return AcceptedDocument.of(await uploads.reindex(caller, DocumentId(document_id), handling))

    return router


def _incoming(file: UploadFile) -> Incoming:
    return Incoming(file.filename or "", file.content_type, lambda: _pieces(file))


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    await file.seek(0)
    while piece := await file.read(PIECE_BYTES):
        yield piece


def split_tags(values: list[str] | None) -> tuple[str, ...]:
    """Return the tags of a form: repeated fields, each comma separated."""
    return tuple(tag.strip() for value in values or () for tag in value.split(",") if tag.strip())


def parsed_readers(value: str | None) -> NamedReaders:
    """Return the readers of a form's JSON. Raises `InvalidInput`."""
    if not value:
        return NamedReaders()
    try:
        return ReadersIn.model_validate_json(value).to_named()
    except ValidationError as error:
        raise InvalidInput('\'readers\' must be a JSON object like {"users": [ids], "groups": [ids]}.') from error


def parsed_metadata(value: str | None) -> dict[str, object]:
    """Return the metadata of a form's JSON. Raises `InvalidInput`."""
    if not value:
        return {}
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise InvalidInput("'metadata' must be a JSON object.")
    return parsed
