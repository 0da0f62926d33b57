"""Documents by URL. The document is there at once, with its address as its content; a job fetches the page behind it."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any

import httpx

from ragecho.ingest.addresses import FETCH_JOB, MAX_BYTES, URI_LIST, address_in, uri_list
from ragecho.ingest.model import Accepted, AcceptedUpload, Labels
from ragecho.ingest.repetition import Repetition
from ragecho.ingest.service import INGEST_JOB, upload_of
from ragecho.ingest.sources.intake import Intake
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.kernel.ids import DocumentId, JobId, VersionId, uuid7
from ragecho.kernel.urls import canonical_url, page_name
from ragecho.library import writing as library
from ragecho.library.model import Version
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Job
from ragecho.platform.outbound import AddressRefused, check_url, is_public
from ragecho.platform.telemetry import get_logger
from ragecho.ports.blobs import BlobStore, StoredBlob
from ragecho.ports.source import Fetched, Gone, Pages, Skipped, SourceRefused

log = get_logger(__name__)

AT_ONCE = 8


def checked_address(url: str, *, allow_private: bool) -> str:
    """Return the canonical address. Raises `AddressRefused` where its form, or the number it is, says enough already."""
    host = check_url(url.strip()).host
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        literal = None  # a name: the worker looks at its addresses
    if literal is not None and not allow_private and not is_public(literal):
        raise AddressRefused(f"{host} is not on the public internet.")
    canonical = canonical_url(url)
    if canonical is None:
        raise InvalidInput("That is not the address of a page, or it is too long.")
    return canonical


class UrlUploads:
    """Takes addresses in."""

    def __init__(self, database: Database, blobs: BlobStore, intake: Intake, *, allow_private: bool = False) -> None:
        self._database = database
        self._blobs = blobs
        self._intake = intake
        self._allow_private = allow_private

    async def accept(
        self, caller: Caller, url: str, *, labels: Labels, idempotency_key: str | None = None
    ) -> AcceptedUpload:
        """Make the document and queue its fetching.

        Raises `AddressRefused`, what uploads raise for their labels, and as `Repetition.known_answer`.
        """
        address = checked_address(url, allow_private=self._allow_private)
        document_id, batch_id = DocumentId(uuid7()), uuid7()
        labels = replace(labels, metadata=labels.metadata | {"url": address})
        asked = {
            "url": address,
            "labels": [str(labels.access), labels.tags, labels.metadata, asdict(labels.named)],
        }
        repetition = Repetition(caller, idempotency_key, "add_url", asked)
        async with self._database.transaction(caller) as session:
            if (known := await repetition.known_answer(session)) is not None:
                return upload_of(known)
            blob = await self._blobs.put(caller.workspace_id, _uri_list(document_id, address), max_bytes=MAX_BYTES)
            version = Version(
                VersionId(uuid7()), document_id, 1, page_name(address), URI_LIST, blob.size_bytes, blob.sha256
            )
            await self._intake.insert(session, caller, version, labels)
            job_id = await jobs.enqueue(
                session, caller, kind=FETCH_JOB, document_id=document_id, version_id=version.id, batch_id=batch_id
            )
            answer = AcceptedUpload(batch_id, (Accepted(document_id, version.filename, "queued", job_id, None),))
            await repetition.keep(session, asdict(answer))
        return answer


class UrlFetching:
    """The handler of jobs that fetch the page behind a document."""

    def __init__(self, database: Database, blobs: BlobStore, pages: Pages, *, max_bytes: int) -> None:
        self._database = database
        self._blobs = blobs
        self._pages = pages
        self._max_bytes = max_bytes

    async def run(self, caller: Caller, batch: Sequence[Job]) -> Mapping[JobId, Exception]:
        """Fetch what each job is about and hand it on to be processed; return why others failed."""
        failures: dict[JobId, Exception] = {}
        free = asyncio.Semaphore(AT_ONCE)

        async def one(job: Job) -> None:
            async with free:
                try:
                    await self._fetch(caller, job)
                except Exception as error:  # noqa: BLE001 - one document's failure, told to the runner with its job
                    failures[job.id] = error

        async with asyncio.TaskGroup() as group:
            for job in batch:
                group.create_task(one(job))
        return failures

    async def _fetch(self, caller: Caller, job: Job) -> None:
        version, url = await self._wanted(caller, job)
        if url is None:  # an earlier attempt got as far, or it is no address of ours
            await self._hand_on(caller, job, version, None)
            return
        outcome = await self._pages.fetch(url)
        if isinstance(outcome, Gone):
            raise SourceRefused("not_found", "There is no such page.")
        if isinstance(outcome, Skipped):
            raise SourceRefused("nothing_to_read", outcome.reason)
        if not isinstance(outcome, Fetched):
            raise SourceRefused("unexpected_answer", "The server said that nothing changed, without being asked.")
        async with aclosing(outcome.content) as content:
            blob = await self._blobs.put(caller.workspace_id, content, max_bytes=self._max_bytes)
        await self._hand_on(caller, job, _filled(version, outcome, blob), _metadata(outcome))
        await self._forget(caller, version.sha256)
        log.info("url.fetched", document_id=str(version.document_id), bytes=blob.size_bytes)

    async def _wanted(self, caller: Caller, job: Job) -> tuple[Version, str | None]:
        async with self._database.transaction(caller) as session:
            found = await library.get_version(session, caller, VersionId(job.version_id or job.id))
        if found is None:
            raise NotFound("The document was deleted.")
        if found.content_type != URI_LIST:
            return found, None
        content = b"".join([piece async for piece in self._blobs.open(caller.workspace_id, found.sha256)])
        return found, address_in(found.document_id, content)

    async def _hand_on(self, caller: Caller, job: Job, version: Version, metadata: dict[str, Any] | None) -> None:
        async with self._database.transaction(caller) as session:
            # Lock order everywhere: the documents, then the jobs.
            if not await library.lock_documents(session, caller, [version.document_id]):
                raise NotFound("The document was deleted.")
            if not await jobs.still_open(session, caller, job.id):
                return
            if metadata is not None:
                await library.fill_version(session, caller, version)
                await library.merge_metadata(session, caller, version.document_id, metadata)
            await jobs.enqueue(
                session,
                caller,
                kind=INGEST_JOB,
                document_id=version.document_id,
                version_id=version.id,
                size=version.size_bytes,
                batch_id=job.batch_id,
            )
            await jobs.succeed(session, caller, [job.id])

    async def _forget(self, caller: Caller, sha256: str) -> None:
        async with self._database.transaction(caller) as session:
            unused = await library.unreferenced_contents(session, caller, [sha256])
        for one in unused:
            await self._blobs.delete(caller.workspace_id, one)


async def _uri_list(document_id: DocumentId, address: str) -> AsyncIterator[bytes]:
    yield uri_list(document_id, str(httpx.URL(address)))


def _filled(version: Version, page: Fetched, blob: StoredBlob) -> Version:
    return replace(
        version,
        filename=page.name,
        content_type=page.content_type,
        size_bytes=blob.size_bytes,
        sha256=blob.sha256,
    )


def _metadata(page: Fetched) -> dict[str, Any]:
    return {**page.metadata, "etag": page.etag, "last_modified": page.last_modified}
