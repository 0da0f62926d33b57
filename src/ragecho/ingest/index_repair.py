"""Makes good what an index check finds: numbers are counted anew, documents processed again, orphans removed."""

from dataclasses import dataclass

from ragecho.ingest.service import Uploads
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound
from ragecho.kernel.ids import DocumentId, JobId
from ragecho.library import contents, index_check, reindexing
from ragecho.library.index_check import IndexHealth
from ragecho.platform.database import Database
from ragecho.ports.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done: documents queued, jobs handed to the queue again, blobs removed, counts made anew."""

    documents: int = 0
    jobs: int = 0
    blobs: int = 0
    counts: bool = False


class Index:
    """Checks and mends the index of one workspace while it is in use. Its embedding space is `Reindexing`'s to change."""

    def __init__(self, database: Database, blobs: BlobStore, uploads: Uploads) -> None:
        self._database = database
        self._blobs = blobs
        self._uploads = uploads

    async def check(self, caller: Caller) -> IndexHealth:
        """Compare blobs, documents, chunks, vectors and lexical entries. `caller` sees the whole workspace."""
        return await index_check.check_index(self._database, self._blobs, caller)

    async def rebuild(self, caller: Caller) -> Repair:
        """Mend what `check` finds and count everything anew. `caller` sees the whole workspace. Safe to repeat."""
        health = await self.check(caller)
        broken = {finding.check for finding in health.findings}
        documents = await self._process_again(caller, broken)
        lost = []
        if "undelivered_jobs" in broken:
            async with self._database.transaction(caller) as session:
                lost = [JobId(one) for one in await index_check.wrong_ids(session, caller, "undelivered_jobs")]
            await self._uploads.redeliver(caller, lost)
        if "wrong_readers" in broken:
            async with self._database.transaction(caller) as session:
                await index_check.repair_readers(session, caller)
        if "foreign_spaces" in broken:
            await self._sweep(caller)
        orphans = await index_check.orphaned_blobs(self._database, self._blobs, caller)
        removed = await contents.remove_unreferenced(self._database, self._blobs, caller, orphans)
        async with self._database.transaction(caller) as session:
            await index_check.repair_counts(session, caller)
        return Repair(documents, len(lost), removed, counts=True)

    async def _sweep(self, caller: Caller) -> None:
        """Remove what a re-indexing left that is over, or whose last jobs were lost."""
        await reindexing.sweep_all(self._database, caller)
        async with self._database.transaction(caller) as session:
            known = await reindexing.get(session, caller, for_update=True)
            if known is not None and known.status is reindexing.ReindexStatus.SWITCHING:
                await reindexing.set_status(session, caller, reindexing.ReindexStatus.DONE)

    async def _process_again(self, caller: Caller, broken: set[str]) -> int:
        wanted: set[DocumentId] = set()
        async with self._database.transaction(caller) as session:
            for check in index_check.MENDED_BY_PROCESSING:
                if check in broken:
                    wanted |= {DocumentId(one) for one in await index_check.wrong_ids(session, caller, check)}
        queued = 0
        for document_id in sorted(wanted):
            try:
                await self._uploads.reindex(caller, document_id)
            except NotFound:
                continue  # deleted meanwhile, or pieces that belong to no document: they go with the recount
            queued += 1
        return queued
