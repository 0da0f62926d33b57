"""The documents of a source: made, replaced, relabelled and removed, each in one transaction with the item's own row.

Lock order: the index, the document, jobs, items.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ragecho.ingest.service import INGEST_JOB
from ragecho.ingest.sources import store, store_items
from ragecho.ingest.sources.intake import Intake
from ragecho.ingest.sources.model import Run, SourceLabels, StoredItem, StoredSource
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound, Unavailable
from ragecho.kernel.ids import ApiKeyId, DocumentId, VersionId, uuid7
from ragecho.library import writing as library
from ragecho.library.model import Version
from ragecho.library.service import DocumentChange, change_document, delete_document
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.ports.blobs import BlobStore, StoredBlob
from ragecho.ports.source import Fetched, Gone, Item, Outcome, Skipped, Unchanged

# Letters of a name; it is shown, and never names a file on disk.
MAX_NAME = 1000


@dataclass(frozen=True, slots=True)
class Visit:
    """A run of a source under way: who works, on what, and how many items it may look at."""

    caller: Caller
    source: StoredSource
    run: Run
    max_items: int


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Something fetched whose bytes are stored."""

    page: Fetched
    blob: StoredBlob


class Holding:
    """What is held of sources."""

    def __init__(self, database: Database, blobs: BlobStore, intake: Intake, *, max_bytes: int) -> None:
        self._database = database
        self._blobs = blobs
        self._intake = intake
        self._max_bytes = max_bytes

    async def take(self, visit: Visit, item: StoredItem, outcome: Outcome) -> None:
        """Write what came of an item. Raises `TooLarge` and what the content raises while it is read."""
        caller = visit.caller
        if isinstance(outcome, Gone):
            await self.remove(visit, item)
            return
        if isinstance(outcome, Skipped):
            await self._skip(visit, item, outcome)
            return
        if isinstance(outcome, Unchanged):
            async with self._database.transaction(caller) as session:
                status = await _standing(session, visit, item, item.sha256)
                await store_items.put_item(session, caller, visit.source.id, visit.run.id, item.key, status=status)
                await store.count(session, caller, visit.run.id, unchanged=1)
                await self.follow(session, visit, item, item.links)
            return
        async with aclosing(outcome.content) as content:
            blob = await self._blobs.put(caller.workspace_id, content, max_bytes=self._max_bytes)
        dropped = await self._store(visit, item, _Arrival(outcome, blob))
        await self._forget(caller, dropped)

    async def follow(self, session: Session, visit: Visit, item: StoredItem, links: Sequence[str]) -> None:
        """Add what an item leads to, as long as there is room in the run."""
        if not links:
            return
        caller, run_id = visit.caller, visit.run.id
        now = await store.get_run(session, caller, run_id)
        room = max(visit.max_items - (now.listed if now else 0), 0)
        found = [Item(link, depth=item.depth + 1) for link in links if len(link.encode()) <= store_items.MAX_KEY]
        new = await store_items.unseen(session, caller, visit.source.id, run_id, found)
        seen, _ = await store_items.see(session, caller, visit.source.id, run_id, new[:room])
        await store.count(session, caller, run_id, listed=seen)
        if len(new) > room:
            await store.truncate_run(session, caller, run_id)

    async def remove(self, visit: Visit, item: StoredItem) -> None:
        """Remove an item and its document, if nothing else in the source stands for the same one."""
        caller = visit.caller
        async with self._database.transaction(caller) as session:
            dropped = await self._drop_document(session, visit, item)
            await store_items.delete_item(session, caller, visit.source.id, item.key)
            if item.document_id is not None:
                await store.count(session, caller, visit.run.id, removed=1)
        await self._forget(caller, dropped)

    async def relabel(self, session: Session, caller: Caller, source: StoredSource, item: StoredItem) -> None:
        """Give an item's document the labels that the source has now."""
        labels = SourceLabels.from_json(source.labels).of(item.key)
        if item.document_id is not None:
            change = DocumentChange(tags=labels.tags, access=labels.access, named=labels.named)
            try:
                await change_document(acting_for(caller, source), session, item.document_id, change)
                await library.merge_metadata(session, caller, item.document_id, labels.metadata)
            except NotFound:
                pass  # it, or a reader, was removed meanwhile: what is not there needs no labels
        await store_items.set_labelled(session, caller, source.id, item.key, labels_version=source.labels_version)

    async def _skip(self, visit: Visit, item: StoredItem, outcome: Skipped) -> None:
        caller = visit.caller
        async with self._database.transaction(caller) as session:
            dropped = await self._drop_document(session, visit, item)
            await store_items.put_item(
                session,
                caller,
                visit.source.id,
                visit.run.id,
                item.key,
                status="skipped",
                error={"code": "skipped", "message": outcome.reason},
                document_id=None,
                sha256=None,
                links=outcome.links,
                revision=outcome.revision,
            )
            await store.count(session, caller, visit.run.id, skipped=1)
            await self.follow(session, visit, item, outcome.links)
        await self._forget(caller, dropped)

    async def _store(self, visit: Visit, item: StoredItem, arrival: _Arrival) -> set[str]:
        """Write an arrival under the key that it really has; return digests that nothing may need any more."""
        page, blob, caller, source = arrival.page, arrival.blob, visit.caller, visit.source
        dropped = {blob.sha256}
        async with self._database.transaction(caller) as session:
            # Two items with the same bytes at once: the second one waits here and finds the first.
            await library.lock_contents(session, caller, [blob.sha256])
            if page.key != item.key:
                target = await self._follow_alias(session, visit, item, page.key, dropped)
                if target is None:
                    return dropped  # another address led to the same page before
                item = target
            count, document_id, status = await self._place(session, visit, item, arrival, dropped)
            await store_items.put_item(
                session,
                caller,
                source.id,
                visit.run.id,
                item.key,
                status=status,
                name=page.name[:MAX_NAME],
                depth=item.depth,
                revision=page.revision,
                etag=page.etag,
                last_modified=page.last_modified,
                sha256=blob.sha256,
                links=page.links,
                document_id=document_id,
                fetched_at=datetime.now(UTC),
            )
            if count == "added":
                await store_items.set_labelled(
                    session, caller, source.id, item.key, labels_version=source.labels_version
                )
            await store.count(session, caller, visit.run.id, **{count: 1})
            await self.follow(session, visit, item, page.links)
            if not await self._blobs.exists(caller.workspace_id, blob.sha256):
                raise Unavailable("The stored bytes were removed along with another document that had the same.")
        return dropped

    async def _follow_alias(
        self, session: Session, visit: Visit, item: StoredItem, key: str, dropped: set[str]
    ) -> StoredItem | None:
        """Note that an item is another one; return that one, or None where it was seen in this run already."""
        caller, source_id = visit.caller, visit.source.id
        dropped |= await self._drop_document(session, visit, item)
        await store_items.put_item(
            session, caller, source_id, visit.run.id, item.key, status="alias", document_id=None, sha256=None,
            links=(key,), etag=None, last_modified=None,
        )  # fmt: skip
        target = await store_items.get_item(session, caller, source_id, key)
        if target is not None and target.run_id == visit.run.id and target.status != "waiting":
            return None
        return target or replace(item, key=key, document_id=None, sha256=None, links=())

    async def _place(
        self, session: Session, visit: Visit, item: StoredItem, arrival: _Arrival, dropped: set[str]
    ) -> tuple[str, DocumentId | None, str]:
        """Return what is counted, the document that stands for the item, and the item's status."""
        caller, source, blob = visit.caller, visit.source, arrival.blob
        provenance = _provenance(source, arrival.page)
        is_own = item.document_id is not None and not await store_items.is_shared(
            session, caller, source.id, item.document_id, but=item.key
        )
        if item.sha256 == blob.sha256:
            # Without a document it was deleted by hand: it comes back when its original changes.
            if item.document_id is not None and is_own:
                await library.merge_metadata(session, caller, item.document_id, provenance)
            return "unchanged", item.document_id, await _standing(session, visit, item, blob.sha256)
        same = await store_items.with_same_content(session, caller, source.id, sha256=blob.sha256, but=item.key)
        if same is not None:
            dropped |= await self._drop_document(session, visit, item)
            return "unchanged", same.document_id, "same"
        if item.document_id is not None and is_own and await self._replace(session, caller, item.document_id, arrival):
            await library.merge_metadata(session, caller, item.document_id, provenance)
            return "changed", item.document_id, "held"
        return "added", await self._insert(session, caller, source, item.key, arrival), "held"

    async def _insert(
        self, session: Session, caller: Caller, source: StoredSource, key: str, arrival: _Arrival
    ) -> DocumentId:
        labels = SourceLabels.from_json(source.labels).of(key)
        labels = replace(labels, metadata=labels.metadata | _provenance(source, arrival.page, has_nulls=False))
        version = _version(DocumentId(uuid7()), 1, arrival)
        await self._intake.insert(session, acting_for(caller, source), version, labels)
        await _enqueue(session, caller, version)
        return version.document_id

    async def _replace(self, session: Session, caller: Caller, document_id: DocumentId, arrival: _Arrival) -> bool:
        """Add a version; the present one answers until the new one is ready. Return whether the document is there still."""
        if not await library.lock_documents(session, caller, [document_id]):
            return False
        number = await library.next_version_number(session, caller, document_id)
        version = _version(document_id, number, arrival)
        await jobs.cancel_of_document(session, caller, document_id)
        await library.insert_version(session, caller, version)
        await library.set_status(session, caller, document_id, status="queued", progress=0.0, error=None)
        await _enqueue(session, caller, version)
        return True

    async def _drop_document(self, session: Session, visit: Visit, item: StoredItem) -> set[str]:
        """Delete the item's document unless another item needs it; return the digests of its blobs."""
        if item.document_id is None or await store_items.is_shared(
            session, visit.caller, visit.source.id, item.document_id, but=item.key
        ):
            return set()
        try:
            return await delete_document(visit.caller, session, item.document_id)
        except NotFound:
            return set()

    async def _forget(self, caller: Caller, digests: set[str]) -> None:
        """Delete those blobs that no version holds."""
        if not digests:
            return
        async with self._database.transaction(caller) as session:
            unused = await library.unreferenced_contents(session, caller, sorted(digests))
        for sha256 in sorted(unused):
            await self._blobs.delete(caller.workspace_id, sha256)


async def _standing(session: Session, visit: Visit, item: StoredItem, sha256: str | None) -> str:
    """Return how an unchanged item stands: for itself, or beside one that holds the same document."""
    if sha256 is None or item.document_id is None:
        return "held"
    other = await store_items.with_same_content(session, visit.caller, visit.source.id, sha256=sha256, but=item.key)
    return "same" if other is not None and other.document_id == item.document_id else "held"


def acting_for(caller: Caller, source: StoredSource) -> Caller:
    """Return the worker as whoever made the source: what they keep private belongs to them."""
    if source.owner_id is not None:
        return replace(caller, user_id=source.owner_id)
    kind, _, name = (source.made_by or "").partition(":")
    if kind == "service":
        return replace(caller, client_id=name)
    if kind == "key":
        return replace(caller, api_key_id=ApiKeyId(UUID(name)))
    return caller


def _version(document_id: DocumentId, number: int, arrival: _Arrival) -> Version:
    page, blob = arrival.page, arrival.blob
    name = "".join(character for character in page.name if character.isprintable()).strip()[:MAX_NAME]
    return Version(
        VersionId(uuid7()), document_id, number, name or "unnamed", page.content_type, blob.size_bytes, blob.sha256
    )


def _provenance(source: StoredSource, page: Fetched, *, has_nulls: bool = True) -> dict[str, Any]:
    """Return what is known of where a document is from; None takes a key away."""
    known = {
        **page.metadata,
        "source": str(source.id),
        "etag": page.etag,
        "last_modified": page.last_modified,
    }
    return known if has_nulls else {name: value for name, value in known.items() if value is not None}


async def _enqueue(session: Session, caller: Caller, version: Version) -> None:
    await jobs.enqueue(
        session,
        caller,
        kind=INGEST_JOB,
        document_id=version.document_id,
        version_id=version.id,
        size=version.size_bytes,
    )
