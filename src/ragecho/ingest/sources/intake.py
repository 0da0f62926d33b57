"""Puts documents that come from elsewhere into the library, in the transaction that also notes where they are from."""

from ragecho.ingest.allowance import Room
from ragecho.ingest.model import Labels
from ragecho.kernel.caller import Access, Caller, readers_of
from ragecho.library import writing as library
from ragecho.library.model import Version
from ragecho.library.service import checked_metadata, checked_tags
from ragecho.platform.database import Session
from ragecho.tenancy import grants


class Intake:
    """Makes documents. Their bytes are stored already; who calls this queues their processing."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = room

    async def insert(self, session: Session, caller: Caller, version: Version, labels: Labels) -> None:
        """Create a queued document with its first version.

        Raises `InvalidInput` for labels that are not acceptable (also `WorkspaceFull`), `RateLimited` while too many documents
        wait, and `NotFound` for readers who are not of the organisation.
        """
        if self._room is not None:
            await self._room.take(session, caller, documents=1, size_bytes=version.size_bytes)
        granted = await _granted(session, caller, labels)
        await library.insert_documents(
            session,
            caller,
            [version],
            tags=checked_tags(labels.tags),
            metadata=checked_metadata(labels.metadata),
            access=labels.access,
            owner_id=caller.user_id,
            readers=readers_of(labels.access, owner_id=caller.user_id, granted=granted),
        )
        if granted:
            await library.replace_grants(session, caller, version.document_id, granted)


async def _granted(session: Session, caller: Caller, labels: Labels) -> set[str]:
    """Return whom a document is granted to by name. A program owns nothing: what it keeps to itself is granted to it."""
    granted = set(await grants.principals_of(caller, session, users=labels.named.users, groups=labels.named.groups))
    if caller.user_id is None and caller.own_principal is not None and labels.access is Access.PRIVATE:
        granted.add(caller.own_principal)
    return granted
