"""Original files that nothing refers to any more, removed so that no upload of the same bytes loses its own."""

from collections.abc import Iterable

from ragecho.kernel.caller import Caller
from ragecho.library import store_documents, store_uploads
from ragecho.platform.database import Database
from ragecho.ports.blobs import BlobStore


async def remove_unreferenced(database: Database, blobs: BlobStore, caller: Caller, digests: Iterable[str]) -> int:
    """Remove those of the blobs that no version and no unfinished upload of the workspace holds; return how many.

    Each under the lock that an upload of the same bytes takes before it sees whether they are there. `caller` sees all.
    """
    removed = 0
    for digest in sorted(set(digests)):
        async with database.transaction(caller) as session:
            await store_uploads.lock_contents(session, caller, [digest])
            if digest in await store_documents.unreferenced_contents(session, caller, [digest]):
                await blobs.delete(caller.workspace_id, digest)
                removed += 1
    return removed
