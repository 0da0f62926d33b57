"""Large files in pieces: what has arrived stays, whichever process takes the next piece and whatever breaks in between.

Each piece is a blob of its own, so it needs nothing of a blob store that whole files do not need; with the last one they are
put together and taken in as any other file.
"""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from uuid import UUID

import orjson

from ragecho.ingest import store_resumable as store
from ragecho.ingest.model import Handling, Incoming, Labels
from ragecho.ingest.repetition import Repetition
from ragecho.ingest.service import Uploads, checked_filename
from ragecho.ingest.store_resumable import Part, StoredUpload
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import NotFound, OffsetConflict, RateLimited, TooLarge
from ragecho.kernel.ids import GroupId, UserId, uuid7
from ragecho.library import contents
from ragecho.library import writing as library
from ragecho.library.model import NamedReaders
from ragecho.library.service import checked_metadata, checked_tags
from ragecho.platform.database import Database
from ragecho.platform.jobs.model import Priority
from ragecho.platform.telemetry import get_logger
from ragecho.ports.blobs import BlobStore

log = get_logger(__name__)

# What is lost at most when a connection breaks, and what one request holds in memory.
PART_BYTES = 8 * 1024**2


class ResumableUploads:
    """Takes in files piece by piece."""

    def __init__(
        self, database: Database, blobs: BlobStore, uploads: Uploads, *, expiry_hours: float, max_open: int
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._uploads = uploads
        self._hours = expiry_hours
        self._max_open = max_open

    @property
    def max_bytes(self) -> int:
        """The largest file."""
        return self._uploads.max_file_bytes

    async def create(
        self,
        caller: Caller,
        *,
        size_bytes: int,
        filename: str,
        content_type: str | None,
        labels: Labels,
        handling: Handling,
    ) -> StoredUpload:
        """Begin an upload of a known size, or return the one that was begun with the same idempotency key, as it is now.

        Raises `TooLarge`, `RateLimited` with too many unfinished ones, `InvalidInput`, as `Repetition.known_answer`, and `NotFound`
        when what the key began is gone.
        """
        name = checked_filename(filename)
        if size_bytes > self.max_bytes:
            raise TooLarge(
                f"'{name}': the file is larger than {self.max_bytes} bytes.",
                max_bytes=self.max_bytes,
                filename=name,
                setting="RAGECHO_MAX_FILE_BYTES",
            )
        checked_tags(labels.tags)
        checked_metadata(labels.metadata)
        sealed = self._uploads.seal(handling.password)
        asked = {"file": [name, content_type, size_bytes], "labels": _written(labels, handling)}
        repetition = Repetition(caller, handling.idempotency_key, "begin_upload", asked)
        async with self._database.transaction(caller) as session:
            known = await repetition.known_answer(session)
            if known is None:
                if await store.count_open(session, caller) >= self._max_open:
                    raise RateLimited(
                        f"{self._max_open} uploads of yours are unfinished. Finish or remove some first.",
                        retry_after_seconds=60,
                        setting="RAGECHO_MAX_OPEN_UPLOADS",
                    )
                upload = await store.insert(
                    session,
                    caller,
                    uuid7(),
                    filename=name,
                    content_type=content_type,
                    size_bytes=size_bytes,
                    labels=_written(labels, handling),
                    sealed=sealed,
                    hours=self._hours,
                )
                await repetition.keep(session, {"id": upload.id})
        if known is not None:
            return await self.get(caller, UUID(known["id"]))
        return upload if size_bytes else await self._complete(caller, upload)

    async def get(self, caller: Caller, upload_id: UUID) -> StoredUpload:
        """Return an upload of the caller's own. Raises `NotFound`, also when it has expired."""
        async with self._database.transaction(caller) as session:
            upload = await store.get(session, caller, upload_id)
        if upload is None:
            raise NotFound("There is no such upload, or it rested for too long.")
        return upload

    async def append(
        self, caller: Caller, upload_id: UUID, content: AsyncIterator[bytes], *, offset: int
    ) -> StoredUpload:
        """Add bytes that begin at `offset`; with the last ones the file is taken in.

        What has arrived when the connection breaks is kept in pieces of `PART_BYTES`. Repeated without bytes at the end, it
        takes the file in again where that failed. Raises `NotFound`, `OffsetConflict`, `TooLarge`, and as `accept_all`.
        """
        upload = await self.get(caller, upload_id)
        if upload.answer is not None:
            return upload
        if offset != upload.received_bytes:
            raise _conflict(upload.received_bytes)
        at = offset
        async for piece in in_parts(content, size=PART_BYTES):
            if at + len(piece) > upload.size_bytes:
                raise TooLarge(
                    f"'{upload.filename}': more bytes than the {upload.size_bytes} that were announced.",
                    max_bytes=upload.size_bytes,
                )
            await self._add(caller, upload_id, at, piece)
            at += len(piece)
        present = await self.get(caller, upload_id)
        return await self._complete(caller, present) if at == upload.size_bytes else present

    async def remove(self, caller: Caller, upload_id: UUID) -> None:
        """Forget an upload and what has arrived of it; a document that it became stays. Raises `NotFound`."""
        await self.get(caller, upload_id)
        async with self._database.transaction(caller) as session:
            digests = await store.remove(session, caller, upload_id)
        await self._remove_blobs(caller, digests)

    async def remove_expired(self, worker: Caller, *, limit: int = 100) -> int:
        """Remove uploads of the workspace that rested too long; return how many. For maintenance."""
        async with self._database.transaction(worker) as session:
            expired = await store.list_expired(session, worker, limit=limit)
        for upload_id in expired:
            async with self._database.transaction(worker) as session:
                digests = await store.remove(session, worker, upload_id)
            await self._remove_blobs(worker, digests)
        return len(expired)

    async def _add(self, caller: Caller, upload_id: UUID, first: int, piece: bytes) -> None:
        blob = await self._blobs.put(caller.workspace_id, _one(piece), max_bytes=PART_BYTES)
        async with self._database.transaction(caller) as session:
            await library.lock_contents(session, caller, [blob.sha256])
            if not await self._blobs.exists(caller.workspace_id, blob.sha256):
                await self._blobs.put(caller.workspace_id, _one(piece), max_bytes=PART_BYTES)
            part = Part(first, len(piece), blob.sha256)
            if not await store.add_part(session, caller, upload_id, part, hours=self._hours):
                raise _conflict(None)

    async def _complete(self, caller: Caller, upload: StoredUpload) -> StoredUpload:
        if upload.answer is not None:
            return upload
        async with self._database.transaction(caller) as session:
            parts = await store.list_parts(session, caller, upload.id)

        def content() -> AsyncIterator[bytes]:
            return self._joined(caller, parts)

        labels, handling = _read(upload)
        file = Incoming(upload.filename, upload.content_type, content)
        accepted = await self._uploads.accept_all(
            caller, [file], labels=labels, handling=handling, sealed=upload.sealed
        )
        answer = asdict(accepted.documents[0]) | {"batch": accepted.batch_id}
        async with self._database.transaction(caller) as session:
            digests = await store.complete(session, caller, upload.id, answer)
        await self._remove_blobs(caller, digests)
        log.info("upload.completed", upload_id=str(upload.id), size_bytes=upload.size_bytes, parts=len(parts))
        return await self.get(caller, upload.id)

    async def _joined(self, caller: Caller, parts: list[Part]) -> AsyncIterator[bytes]:
        for part in parts:
            async for piece in self._blobs.open(caller.workspace_id, part.sha256):
                yield piece

    async def _remove_blobs(self, caller: Caller, digests: list[str]) -> None:
        worker = Caller.worker(caller.organization_id, caller.workspace_id)
        await contents.remove_unreferenced(self._database, self._blobs, worker, digests)


async def in_parts(content: AsyncIterator[bytes], *, size: int) -> AsyncIterator[bytes]:
    """Yield the bytes of a stream in parts of `size`; where it breaks, what is there first, then the break."""
    pending = bytearray()
    try:
        async for piece in content:
            pending += piece
            while len(pending) >= size:
                yield bytes(pending[:size])
                del pending[:size]
    except Exception:
        if pending:
            yield bytes(pending)
        raise
    if pending:
        yield bytes(pending)


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


def _conflict(present: int | None) -> OffsetConflict:
    if present is None:
        return OffsetConflict("Another request adds to this upload. Ask where it stands, and go on from there.")
    return OffsetConflict(f"The next byte of this upload is number {present}. Go on from there.", offset=present)


def _written(labels: Labels, handling: Handling) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(
        orjson.dumps(
            {
                "access": str(labels.access),
                "tags": labels.tags,
                "metadata": labels.metadata,
                "users": labels.named.users,
                "groups": labels.named.groups,
                "priority": str(handling.priority),
                "batch_id": handling.batch_id,
            }
        )
    )
    return fields


def _read(upload: StoredUpload) -> tuple[Labels, Handling]:
    fields = upload.labels
    named = NamedReaders(
        tuple(UserId(UUID(one)) for one in fields["users"]), tuple(GroupId(UUID(one)) for one in fields["groups"])
    )
    batch = UUID(fields["batch_id"]) if fields["batch_id"] else None
    # Taken in twice at once, or again after a crash between the two transactions: the same answer.
    handling = Handling(Priority(fields["priority"]), None, batch, f"upload {upload.id}")
    return Labels(Access(fields["access"]), tuple(fields["tags"]), fields["metadata"], named), handling
