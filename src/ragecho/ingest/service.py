"""Accept uploads: bytes are durable and jobs are queued before the answer is sent; of one request all files, or none."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from ragecho.ingest import addresses, store
from ragecho.ingest.addresses import FETCH_JOB, URI_LIST
from ragecho.ingest.allowance import Allowance, Room
from ragecho.ingest.model import Accepted, AcceptedUpload, Handling, Incoming, Labels
from ragecho.ingest.repetition import Repetition
from ragecho.kernel.caller import Access, Caller, readers_of
from ragecho.kernel.errors import InvalidInput, TooLarge, Unavailable
from ragecho.kernel.ids import DocumentId, JobId, VersionId, uuid7
from ragecho.library import writing as library
from ragecho.library.locked_files import FILE_PASSWORD
from ragecho.library.model import Version
from ragecho.library.service import checked_metadata, checked_tags, get_document
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Priority
from ragecho.ports.blobs import BlobStore, StoredBlob
from ragecho.ports.sealer import Sealer
from ragecho.tenancy import grants

__all__ = [
    "INGEST_JOB",
    "Accepted",
    "AcceptedUpload",
    "Handling",
    "Incoming",
    "Labels",
    "Uploads",
    "checked_filename",
    "once",
]

INGEST_JOB = "ingest_document"
MAX_FILENAME = 4096
MAX_PASSWORD = 1024
REINDEXED_TOGETHER = 100


class Uploads:
    """Takes files in."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        max_file_bytes: int,
        allowance: Allowance | None = None,
        sealer: Sealer | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._max_file_bytes = max_file_bytes
        self._room = Room(allowance or Allowance())
        self._sealer = sealer

    @property
    def max_file_bytes(self) -> int:
        """The largest file that is accepted."""
        return self._max_file_bytes

    async def accept_all(
        self,
        caller: Caller,
        files: Sequence[Incoming],
        *,
        labels: Labels,
        handling: Handling | None = None,
        sealed: str | None = None,
    ) -> AcceptedUpload:
        """Store the files and queue their processing, all of them in one transaction or none.

        The same bytes again lead to the document that holds them. A repetition with the same idempotency key within 24 hours
        gets the answer of the first. `sealed` is a password that was sealed before. Raises `InvalidInput` (also `WorkspaceFull`),
        `NotFound` for readers who are not of the organisation, `TooLarge` with the file's name, `RateLimited`, and as
        `Repetition.known_answer`.
        """
        handling = handling or Handling()
        tags, metadata = checked_tags(labels.tags), checked_metadata(labels.metadata)
        named = [(checked_filename(file.filename), file) for file in files]
        sealed = sealed or self.seal(handling.password)
        blobs = [await self._put(caller, name, file) for name, file in named]
        repetition = _repetition(caller, handling, labels, named, blobs)
        batch_id = handling.batch_id or uuid7()
        async with self._database.transaction(caller) as session:
            if (known := await repetition.known_answer(session)) is not None:
                return upload_of(known)
            held = await self._hold_contents(session, caller, named, blobs)
            arriving: dict[str, Version] = {}
            for (name, file), blob in zip(named, blobs, strict=True):
                if blob.sha256 not in held and blob.sha256 not in arriving:
                    arriving[blob.sha256] = _version(DocumentId(uuid7()), 1, name, file.content_type, blob)
            versions = list(arriving.values())
            size_bytes = sum(version.size_bytes for version in versions)
            await self._room.take(session, caller, documents=len(versions), size_bytes=size_bytes)
            granted = await _granted(caller, session, labels)
            await self._insert(session, caller, versions, replace(labels, tags=tags, metadata=metadata), granted)
            job_ids = await _enqueue_all(session, caller, versions, handling, batch_id=batch_id, sealed=sealed)
            queued = dict(zip(arriving, job_ids, strict=True))
            accepted: list[Accepted] = []
            for (name, _), blob in zip(named, blobs, strict=True):
                if blob.sha256 in queued:
                    document_id = arriving[blob.sha256].document_id
                    accepted.append(Accepted(document_id, name, "queued", queued.pop(blob.sha256), None))
                    held[blob.sha256] = (document_id, "queued")
                else:
                    same, status = held[blob.sha256]
                    accepted.append(Accepted(same, name, status, None, same))
            answer = AcceptedUpload(batch_id, tuple(accepted))
            await repetition.keep(session, asdict(answer))
        return answer

    async def accept(
        self, caller: Caller, content: AsyncIterator[bytes], *, filename: str, content_type: str | None, labels: Labels
    ) -> Accepted:
        """Take in one file; as `accept_all`."""
        file = Incoming(filename, content_type, once(content))
        return (await self.accept_all(caller, [file], labels=labels)).documents[0]

    async def replace(
        self,
        caller: Caller,
        document_id: DocumentId,
        content: AsyncIterator[bytes],
        *,
        filename: str,
        content_type: str | None,
        handling: Handling | None = None,
    ) -> Accepted:
        """Upload a new version; the present one answers until the new one is ready. Raises `NotFound` and as `accept_all`."""
        handling = handling or Handling()
        name, file = checked_filename(filename), Incoming(filename, content_type, once(content))
        sealed = self.seal(handling.password)
        async with self._database.transaction(caller) as session:
            await get_document(caller, session, document_id)
        blob = await self._put(caller, name, file)
        asked = {
            "document": document_id,
            "file": [name, content_type, blob.sha256],
            "priority": str(handling.priority),
        }
        repetition = Repetition(caller, handling.idempotency_key, "replace", asked)
        async with self._database.transaction(caller) as session:
            if (known := await repetition.known_answer(session)) is not None:
                return _accepted_of(known)
            await library.lock_contents(session, caller, [blob.sha256])
            await self._see_to(caller, blob.sha256, name, file)
            document = await get_document(caller, session, document_id, for_update=True)
            if document.sha256 == blob.sha256 and document.status == "ready":
                return Accepted(document_id, name, document.status, None, document_id)
            number = await library.next_version_number(session, caller, document_id)
            version = _version(document_id, number, name, content_type, blob)
            await jobs.cancel_of_document(session, caller, document_id)
            await library.insert_version(session, caller, version)
            await library.set_status(session, caller, document_id, status="queued", progress=0.0, error=None)
            job_id = await _enqueue(session, caller, version, handling, sealed=sealed)
            accepted = Accepted(document_id, name, "queued", job_id, None)
            await repetition.keep(session, asdict(accepted))
        return accepted

    async def reindex(self, caller: Caller, document_id: DocumentId, handling: Handling | None = None) -> Accepted:
        """Process the newest version again from its original bytes, or fetch the page that never arrived once more.

        Raises `NotFound`, and as `Repetition.known_answer`.
        """
        handling = handling or Handling()
        sealed = self.seal(handling.password)
        asked = {"document": document_id, "priority": str(handling.priority)}
        repetition = Repetition(caller, handling.idempotency_key, "reindex", asked)
        async with self._database.transaction(caller) as session:
            if (known := await repetition.known_answer(session)) is not None:
                return _accepted_of(known)
            document = await get_document(caller, session, document_id, for_update=True)
            job_id = await self._again(session, caller, document_id, handling, sealed)
            accepted = Accepted(document_id, document.filename, "queued", job_id, None)
            await repetition.keep(session, asdict(accepted))
        return accepted

    async def reindex_all(self, caller: Caller, *, idempotency_key: str | None = None) -> int:
        """Queue every document of the workspace, after what else waits in it, and return how many these are.

        Also what others keep private: nothing is shown but the number. Raises as `Repetition.known_answer`.
        """
        repetition = Repetition(caller, idempotency_key, "reindex_all", {})
        worker = Caller.worker(caller.organization_id, caller.workspace_id)
        if idempotency_key is None:
            return await self._reindex_each(worker)
        # The key is held in a transaction of its own: the documents are queued some at a time, so that none is locked for long.
        async with self._database.transaction(caller) as session:
            if (known := await repetition.known_answer(session)) is not None:
                return int(known["queued"])
            queued = await self._reindex_each(worker)
            await repetition.keep(session, {"queued": queued})
        return queued

    async def _reindex_each(self, worker: Caller) -> int:
        queued, last = 0, None
        while True:
            async with self._database.transaction(worker) as session:
                page = await store.documents_after(session, worker, last, limit=REINDEXED_TOGETHER)
                locked = await library.lock_documents(session, worker, page)
                for document_id in sorted(locked):
                    await self._again(session, worker, document_id, Handling(Priority.LOW), None)
            if not page:
                return queued
            queued, last = queued + len(locked), page[-1]

    async def _again(
        self, session: Session, caller: Caller, document_id: DocumentId, handling: Handling, sealed: str | None
    ) -> JobId:
        """Queue the newest version of a document that is locked."""
        latest = await library.latest_version(session, caller, document_id)
        kind = INGEST_JOB
        if latest.content_type == URI_LIST and await self._is_unfetched(caller, latest):
            kind = FETCH_JOB
        await jobs.cancel_of_document(session, caller, document_id)
        await library.forget_parsed(session, caller, latest.id)
        await library.set_status(session, caller, document_id, status="queued", progress=0.0, error=None)
        return await _enqueue(session, caller, latest, handling, kind=kind, sealed=sealed)

    async def _is_unfetched(self, caller: Caller, version: Version) -> bool:
        """Return whether the version holds only the address of its page. A list of addresses that was uploaded is text."""
        if version.size_bytes > addresses.MAX_BYTES:
            return False
        content = b"".join([piece async for piece in self._blobs.open(caller.workspace_id, version.sha256)])
        return addresses.address_in(version.document_id, content) is not None

    async def redeliver(self, caller: Caller, job_ids: Sequence[JobId]) -> None:
        """Hand open jobs that the queue lost to it again."""
        async with self._database.transaction(caller) as session:
            for job_id in job_ids:
                if await jobs.still_open(session, caller, job_id):
                    await jobs.deliver(session, caller, job_id)

    def seal(self, password: str | None) -> str | None:
        """Return the password of a file as it may be stored. Raises `InvalidInput`."""
        if not password:
            return None
        if len(password) > MAX_PASSWORD:
            raise InvalidInput(f"A password has at most {MAX_PASSWORD} characters.")
        if self._sealer is None:
            raise InvalidInput("Passwords of files cannot be kept safely here.")
        return self._sealer.seal(password, purpose=FILE_PASSWORD)

    async def _put(self, caller: Caller, name: str, file: Incoming) -> StoredBlob:
        try:
            return await self._blobs.put(caller.workspace_id, file.content(), max_bytes=self._max_file_bytes)
        except TooLarge as error:
            facts = {"max_bytes": self._max_file_bytes, "filename": name, "setting": "RAGECHO_MAX_FILE_BYTES"}
            raise TooLarge(f"'{name}': the file is larger than {self._max_file_bytes} bytes.", **facts) from error

    async def _hold_contents(
        self, session: Session, caller: Caller, named: Sequence[tuple[str, Incoming]], blobs: Sequence[StoredBlob]
    ) -> dict[str, tuple[DocumentId, str]]:
        """Lock the bytes of all files and return the documents that hold some of them already (id, status)."""
        by_digest = {blob.sha256: one for one, blob in zip(named, blobs, strict=True)}
        await library.lock_contents(session, caller, list(by_digest))
        for sha256, (name, file) in by_digest.items():
            await self._see_to(caller, sha256, name, file)
        return await library.find_same_contents(session, caller, list(by_digest))

    async def _insert(
        self, session: Session, caller: Caller, versions: Sequence[Version], labels: Labels, granted: set[str]
    ) -> None:
        await library.insert_documents(
            session,
            caller,
            versions,
            tags=labels.tags,
            metadata=labels.metadata,
            access=labels.access,
            owner_id=caller.user_id,
            readers=readers_of(labels.access, owner_id=caller.user_id, granted=granted),
        )
        for version in versions if granted else ():
            await library.replace_grants(session, caller, version.document_id, granted)

    async def _see_to(self, caller: Caller, sha256: str, name: str, file: Incoming) -> None:
        """See that locked bytes are there: a deletion may have removed them since `_put`.

        Two uploads of the same bytes at once: the second one waits for the lock, and finds the first.
        """
        if not await self._blobs.exists(caller.workspace_id, sha256):
            await self._put(caller, name, file)


def once(content: AsyncIterator[bytes]) -> Callable[[], AsyncIterator[bytes]]:
    """Return the content as `Incoming` has it, of a stream that cannot be read again. The second call raises `Unavailable`."""
    left = [content]

    def take() -> AsyncIterator[bytes]:
        if not left:
            raise Unavailable("The same bytes were deleted at the same moment; send them again.", retry_after_seconds=1)
        return left.pop()

    return take


def checked_filename(filename: str) -> str:
    """Return the name as text to store and show; it never names a file on disk. Raises `InvalidInput`."""
    name = "".join(character for character in filename.replace("\\", "/").rsplit("/", 1)[-1] if character.isprintable())
    name = name.encode("utf-8", "replace").decode().strip()
    if len(name) > MAX_FILENAME:
        raise InvalidInput(f"A file name has at most {MAX_FILENAME} characters.")
    return name or "unnamed"


def _repetition(
    caller: Caller,
    handling: Handling,
    labels: Labels,
    named: Sequence[tuple[str, Incoming]],
    blobs: Sequence[StoredBlob],
) -> Repetition:
    asked = {
        "files": [[name, file.content_type, blob.sha256] for (name, file), blob in zip(named, blobs, strict=True)],
        "labels": [str(labels.access), labels.tags, labels.metadata, asdict(labels.named)],
        "handling": [str(handling.priority), handling.batch_id],
    }
    return Repetition(caller, handling.idempotency_key, "upload", asked)


def upload_of(stored: Mapping[str, Any]) -> AcceptedUpload:
    """Return an answer that was kept (`Repetition`)."""
    return AcceptedUpload(UUID(stored["batch_id"]), tuple(map(_accepted_of, stored["documents"])))


def _accepted_of(stored: Mapping[str, Any]) -> Accepted:
    job, same = stored["job_id"], stored["duplicate_of"]
    return Accepted(
        DocumentId(UUID(stored["id"])),
        stored["filename"],
        stored["status"],
        JobId(UUID(job)) if job else None,
        DocumentId(UUID(same)) if same else None,
    )


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


async def _enqueue(
    session: Session,
    caller: Caller,
    version: Version,
    handling: Handling,
    *,
    kind: str = INGEST_JOB,
    sealed: str | None = None,
) -> JobId:
    (job_id,) = await _enqueue_all(session, caller, [version], handling, kind=kind, sealed=sealed)
    return job_id


async def _enqueue_all(
    session: Session,
    caller: Caller,
    versions: Sequence[Version],
    handling: Handling,
    *,
    kind: str = INGEST_JOB,
    batch_id: UUID | None = None,
    sealed: str | None = None,
) -> list[JobId]:
    return await jobs.enqueue_all(
        session,
        caller,
        [jobs.Work(version.document_id, version.id, version.size_bytes) for version in versions],
        kind=kind,
        priority=handling.priority,
        batch_id=batch_id,
        sealed=sealed,
    )
