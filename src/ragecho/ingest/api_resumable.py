"""Routes of uploads in pieces: the tus protocol, version 1.0.0, with creation, termination and expiration (tus.io)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel

from ragecho.ingest.api import IdempotencyKey, parsed_metadata, parsed_readers, split_tags
from ragecho.ingest.model import Handling, Labels
from ragecho.ingest.resumable import ResumableUploads
from ragecho.ingest.schemas import AcceptedDocument
from ragecho.ingest.store_resumable import StoredUpload
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import InvalidInput
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.permissions import anyone, requires
from ragecho.platform.jobs.model import Priority

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,expiration"
PIECE_TYPE = "application/offset+octet-stream"
PREFIX = "/api/v1/uploads"
MAX_METADATA = 16_384
# PostgreSQL's bigint, and far beyond any file.
MAX_NUMBER = 2**53

_BODY = {
    "requestBody": {
        "required": True,
        "content": {PIECE_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


class UploadOut(BaseModel):
    """An upload in pieces. `document` and `batch` are there once the file is complete and taken in."""

    id: UUID
    filename: str
    size_bytes: int
    received_bytes: int
    expires_at: datetime
    document: AcceptedDocument | None
    batch: UUID | None

    @classmethod
    def of(cls, upload: StoredUpload) -> Self:
        """Return the shape of an upload."""
        answer = upload.answer
        return cls(
            id=upload.id,
            filename=upload.filename,
            size_bytes=upload.size_bytes,
            received_bytes=upload.received_bytes,
            expires_at=upload.expires_at,
            document=AcceptedDocument.model_validate(answer) if answer else None,
            batch=answer["batch"] if answer else None,
        )


def build_resumable_router(uploads: ResumableUploads, authenticate: Authenticate) -> APIRouter:
    """Return the routes of uploads in pieces."""
    router = APIRouter(prefix=PREFIX, tags=["documents"])
    Writing = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_WRITE)]

    @router.options("", status_code=204, response_class=Response, openapi_extra=anyone("says what uploads it takes"))
    async def upload_options() -> Response:
        """Say which version and extensions of tus there are, and how large a file may be."""
        return _answer(
            204, {"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": str(uploads.max_bytes)}
        )

    @router.post("", status_code=201)
    async def create_upload(
        caller: Writing,
        response: Response,
        upload_length: Annotated[int, Header(ge=0, le=MAX_NUMBER, description="Bytes of the whole file.")],
        upload_metadata: Annotated[
            str,
            Header(
                max_length=MAX_METADATA,
                description="Names and base64 values, comma separated: `filename`, `filetype`, and the fields of"
                " `POST /api/v1/documents` (`tags`, `access`, `metadata`, `readers`, `priority`, `batch`, `password`).",
            ),
        ] = "",
        idempotency_key: IdempotencyKey = None,
    ) -> UploadOut:
        """Begin an upload; `Location` says where its bytes go (PATCH)."""
        fields = parse_metadata(upload_metadata)
        labels, handling = _labels(fields)
        upload = await uploads.create(
            caller,
            size_bytes=upload_length,
            filename=fields.get("filename", ""),
            content_type=fields.get("filetype") or None,
            labels=labels,
            handling=replace(handling, idempotency_key=idempotency_key),
        )
        response.headers.update(_headers(upload) | {"Location": f"{PREFIX}/{upload.id}"})
        return UploadOut.of(upload)

    @router.head("/{upload_id}", response_class=Response)
    async def get_upload_offset(caller: Writing, upload_id: UUID) -> Response:
        """Say in `Upload-Offset` how much has arrived."""
        return _answer(200, _headers(await uploads.get(caller, upload_id)) | {"Cache-Control": "no-store"})

    @router.get("/{upload_id}")
    async def get_upload(caller: Writing, upload_id: UUID, response: Response) -> UploadOut:
        """Return an upload, and the document that it became."""
        upload = await uploads.get(caller, upload_id)
        response.headers.update(_headers(upload))
        return UploadOut.of(upload)

    @router.patch("/{upload_id}", status_code=204, response_class=Response, openapi_extra=_BODY)
    async def append_to_upload(
        caller: Writing,
        upload_id: UUID,
        request: Request,
        upload_offset: Annotated[int, Header(ge=0, le=MAX_NUMBER, description="Where these bytes begin.")],
        content_type: Annotated[str, Header()] = "",
    ) -> Response:
        """Add bytes. With the last ones the file is taken in; `GET` then names the document."""
        if content_type.partition(";")[0].strip().lower() != PIECE_TYPE:
            raise InvalidInput(f"The pieces of an upload are sent as {PIECE_TYPE}.")
        upload = await uploads.append(caller, upload_id, request.stream(), offset=upload_offset)
        return _answer(204, _headers(upload))

    @router.delete("/{upload_id}", status_code=204, response_class=Response)
    async def remove_upload(caller: Writing, upload_id: UUID) -> Response:
        """Forget an upload and what has arrived of it."""
        await uploads.remove(caller, upload_id)
        return _answer(204, {})

    return router


def parse_metadata(value: str) -> dict[str, str]:
    """Return the pairs of an `Upload-Metadata` header. Raises `InvalidInput`."""
    found: dict[str, str] = {}
    for pair in value.split(","):
        name, _, encoded = pair.strip().partition(" ")
        if not name:
            continue
        try:
            text = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidInput("Upload-Metadata holds names and base64 of UTF-8, comma separated.") from None
        if "\0" in text:
            raise InvalidInput("Upload-Metadata holds a NUL.")
        found[name] = text
    return found


def _labels(fields: Mapping[str, str]) -> tuple[Labels, Handling]:
    try:
        access = Access(fields.get("access") or Access.WORKSPACE)
        priority = Priority(fields.get("priority") or Priority.NORMAL)
        batch = UUID(fields["batch"]) if fields.get("batch") else None
    except ValueError:
        raise InvalidInput("Upload-Metadata: 'access', 'priority' or 'batch' is not one that there is.") from None
    tags = split_tags([fields["tags"]] if fields.get("tags") else None)
    labels = Labels(access, tags, parsed_metadata(fields.get("metadata")), parsed_readers(fields.get("readers")))
    return labels, Handling(priority, fields.get("password"), batch)


def _headers(upload: StoredUpload) -> dict[str, str]:
    return {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(upload.received_bytes),
        "Upload-Length": str(upload.size_bytes),
        "Upload-Expires": format_datetime(upload.expires_at, usegmt=False),
    }


def _answer(status: int, headers: Mapping[str, Any]) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": VERSION, **headers})
