"""Documents from their first version to their end: versions, and deleting many at once."""

from dataclasses import dataclass

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import InvalidInput, NotFound, SelectionChanged
from ragecho.kernel.ids import DocumentId
from ragecho.library import contents
from ragecho.library import writing as library
from ragecho.library.model import Document, DocumentFilter
from ragecho.library.service import delete_document
from ragecho.platform import audit_log
from ragecho.platform.database import Database
from ragecho.ports.blobs import BlobStore

MAX_DELETED = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """Documents to delete: those named, or all that a filter selects."""

    ids: tuple[DocumentId, ...] = ()
    wanted: DocumentFilter | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """How many documents a selection is, and the newest of them."""

    total: int
    sample: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted, and which of the ids that were named are no documents of the caller's."""

    ids: tuple[DocumentId, ...]
    not_found: tuple[DocumentId, ...] = ()


class Lifecycle:
    """Deletes many documents at once."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def preview(self, caller: Caller, wanted: DocumentFilter, *, sample: int) -> Preview:
        """Return how many documents a filter selects that the caller may read, and the newest of them."""
        async with self._database.transaction(caller) as session:
            items, total = await library.list_documents(session, caller, wanted, limit=max(1, sample), offset=0)
        return Preview(total, tuple(items[:sample]))

    async def delete(self, caller: Caller, selection: Selection, *, expected_total: int | None) -> Deleted:
        """Delete the documents, all in one transaction, at most `MAX_DELETED`.

        With a filter `expected_total` must be what it selects now: `SelectionChanged` names the present number. Raises
        `InvalidInput`.
        """
        async with self._database.transaction(caller) as session:
            ids = list(dict.fromkeys(selection.ids))
            if selection.wanted is not None:
                found, total = await library.list_documents(
                    session, caller, selection.wanted, limit=MAX_DELETED, offset=0
                )
                if total != expected_total:
                    raise SelectionChanged(
                        f"The filter selects {total} documents now. Look at them, and confirm that number.", total=total
                    )
                ids = [document.id for document in found]
                _check_number(total)
            _check_number(len(ids))
            deleted, missing = [], []
            digests: set[str] = set()
            for document_id in sorted(ids):
                try:
                    digests |= await delete_document(caller, session, document_id)
                except NotFound:
                    missing.append(document_id)
                else:
                    deleted.append(document_id)
            await audit_log.record_all(
                session,
                caller,
                [
                    audit_log.AuditEntry(
                        "document.deleted",
                        audit_log.Target("document", one),
                        caller.workspace_id,
                        details={"bulk": True},
                    )
                    for one in deleted
                ],
            )
        worker = Caller.worker(caller.organization_id, caller.workspace_id)
        await contents.remove_unreferenced(self._database, self._blobs, worker, digests)
        return Deleted(tuple(deleted), tuple(missing))

    async def versions(
        self, caller: Caller, document_id: DocumentId, *, limit: int, offset: int
    ) -> tuple[list[library.ListedVersion], int]:
        """Return one page of a document's versions, newest first, and how many there are. Raises `NotFound`."""
        async with self._database.transaction(caller) as session:
            items, total = await library.list_versions(session, caller, document_id, limit=limit, offset=offset)
        if not total:
            raise NotFound("There is no such document.")
        return items, total


def _check_number(total: int) -> None:
    if total > MAX_DELETED:
        raise InvalidInput(f"At most {MAX_DELETED} documents are deleted at once; this is {total}.", total=total)
