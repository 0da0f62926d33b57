"""Accept uploads: bytes are durable and the job is queued before the answer is sent."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ragecho.kernel.caller import Access, Caller, readers_of
from ragecho.kernel.errors import InvalidInput
from ragecho.kernel.ids import DocumentId, JobId, VersionId, uuid7
from ragecho.library import writing as library
from ragecho.library.model import DocumentFilter, NamedReaders, Version
from ragecho.library.service import checked_metadata, checked_tags, get_document
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.ports.blobs import BlobStore, StoredBlob
from ragecho.tenancy import grants

INGEST_JOB = "ingest_document"
MAX_FILENAME = 4096


@dataclass(frozen=True, slots=True)
class Labels:
    """What an uploader says about a document."""

    access: Access = Access.WORKSPACE
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    named: NamedReaders = field(default_factory=NamedReaders)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one uploaded file. `duplicate_of` names the document that already holds these bytes."""

    id: DocumentId
    filename: str
    status: str
    job_id: JobId | None
    duplicate_of: DocumentId | None


class Uploads:
    """Takes files in."""

    def __init__(self, database: Database, blobs: BlobStore, *, max_file_bytes: int) -> None:
        self._database = database
        self._blobs = blobs
        self._max_file_bytes = max_file_bytes

    async def accept(
        self, caller: Caller, content: AsyncIterator[bytes], *, filename: str, content_type: str | None, labels: Labels
    ) -> Accepted:
        """Store the bytes and queue their processing; the same bytes again lead to the document that holds them.

        Raises `InvalidInput` for labels that are not acceptable, `NotFound` for readers who are not of the organisation, and
        `TooLarge` for a file over the limit.
        """
        tags, metadata, name = checked_tags(labels.tags), checked_metadata(labels.metadata), checked_filename(filename)
        blob = await self._blobs.put(caller.workspace_id, content, max_bytes=self._max_file_bytes)
        async with self._database.transaction(caller) as session:
            # Two uploads of the same bytes at once: the second one waits here and finds the first.
            await library.lock_content(session, caller, blob.sha256)
            same = await library.find_same_content(session, caller, blob.sha256)
            if same is not None:
                return Accepted(same.id, name, same.status, None, same.id)
            version = _version(DocumentId(uuid7()), 1, name, content_type, blob)
            granted = await _granted(caller, session, labels)
            await library.insert_document(
                session,
                caller,
                version.document_id,
                version=version,
                tags=tags,
                metadata=metadata,
                access=labels.access,
                owner_id=caller.user_id,
                readers=readers_of(labels.access, owner_id=caller.user_id, granted=granted),
            )
            if granted:
                await library.replace_grants(session, caller, version.document_id, granted)
            job_id = await _enqueue(session, caller, version)
        return Accepted(version.document_id, name, "queued", job_id, None)

    async def replace(
        self,
        caller: Caller,
        document_id: DocumentId,
        content: AsyncIterator[bytes],
        *,
        filename: str,
        content_type: str | None,
    ) -> Accepted:
        """Upload a new version; the present one answers until the new one is ready. Raises `NotFound` and as `accept`."""
        name = checked_filename(filename)
        async with self._database.transaction(caller) as session:
            await get_document(caller, session, document_id)
        blob = await self._blobs.put(caller.workspace_id, content, max_bytes=self._max_file_bytes)
        async with self._database.transaction(caller) as session:
            document = await get_document(caller, session, document_id, for_update=True)
            if document.sha256 == blob.sha256 and document.status == "ready":
                return Accepted(document_id, name, document.status, None, document_id)
            number = await library.next_version_number(session, caller, document_id)
            version = _version(document_id, number, name, content_type, blob)
            await jobs.cancel_of_document(session, caller, document_id)
            await library.insert_version(session, caller, version)
            await library.set_status(session, caller, document_id, status="queued", progress=0.0, error=None)
            job_id = await _enqueue(session, caller, version)
        return Accepted(document_id, name, "queued", job_id, None)

    async def reindex(self, caller: Caller, document_id: DocumentId) -> Accepted:
        """Process the newest version again from its original bytes. Raises `NotFound`."""
        async with self._database.transaction(caller) as session:
            document = await get_document(caller, session, document_id, for_update=True)
            latest = await library.latest_version(session, caller, document_id)
            await jobs.cancel_of_document(session, caller, document_id)
            await library.forget_parsed(session, caller, latest.id)
            await library.set_status(session, caller, document_id, status="queued", progress=0.0, error=None)
            job_id = await _enqueue(session, caller, latest)
        return Accepted(document_id, document.filename, "queued", job_id, None)

    async def redeliver(self, caller: Caller, job_ids: Sequence[JobId]) -> None:
        """Hand open jobs that the queue lost to it again."""
        async with self._database.transaction(caller) as session:
            for job_id in job_ids:
                if await jobs.still_open(session, caller, job_id):
                    await jobs.deliver(session, caller, job_id)

    async def reindex_all(self, caller: Caller) -> int:
        """Queue every document of the workspace, also what others keep private: nothing is shown but how many. Returns that."""
        unseeing = Caller.worker(caller.organization_id, caller.workspace_id)
        offset, queued = 0, 0
        while True:
            async with self._database.transaction(unseeing) as session:
                page, _ = await library.list_documents(session, unseeing, DocumentFilter(), limit=200, offset=offset)
            if not page:
                return queued
            for document in page:
                await self.reindex(unseeing, document.id)
            queued += len(page)
            offset += len(page)


def checked_filename(filename: str) -> str:
    """Return the name as text to store and show; it never names a file on disk. Raises `InvalidInput`."""
    name = "".join(character for character in filename.replace("\\", "/").rsplit("/", 1)[-1] if character.isprintable())
    name = name.encode("utf-8", "replace").decode().strip()
    if len(name) > MAX_FILENAME:
        raise InvalidInput(f"A file name has at most {MAX_FILENAME} characters.")
    return name or "unnamed"


def _version(
    document_id: DocumentId, number: int, filename: str, content_type: str | None, blob: StoredBlob
) -> Version:
    return Version(VersionId(uuid7()), document_id, number, filename, content_type, blob.size_bytes, blob.sha256)


async def _granted(caller: Caller, session: Session, labels: Labels) -> set[str]:
    """Return whom an upload is granted to by name. A program owns nothing: what it keeps to itself is granted to it."""
    named = labels.named
    granted = set(await grants.principals_of(caller, session, users=named.users, groups=named.groups))
    if caller.user_id is None and caller.own_principal is not None and labels.access is Access.PRIVATE:
        granted.add(caller.own_principal)
    return granted


async def _enqueue(session: Session, caller: Caller, version: Version) -> JobId:
    return await jobs.enqueue(
        session,
        caller,
        kind=INGEST_JOB,
        document_id=version.document_id,
        version_id=version.id,
        size=version.size_bytes,
    )
