"""What people do with documents, apart from uploading (ingest) and searching (search)."""

from dataclasses import dataclass
from typing import Any

from ragecho.kernel.caller import Access, Caller, readers_of
from ragecho.kernel.errors import Forbidden, InvalidInput, NotFound
from ragecho.kernel.ids import DocumentId
from ragecho.library import store_chunks, store_documents
from ragecho.library.model import Document, NamedReaders
from ragecho.platform.database import Session
from ragecho.tenancy import grants

MAX_TAGS = 50
MAX_TAG_LENGTH = 100
MAX_TITLE_LENGTH = 500
MAX_METADATA_KEYS = 100


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """What to change; None leaves a field as it is."""

    title: str | None = None
    tags: tuple[str, ...] | None = None
    metadata: dict[str, Any] | None = None
    access: Access | None = None
    named: NamedReaders | None = None


async def get_document(
    caller: Caller, session: Session, document_id: DocumentId, *, for_update: bool = False
) -> Document:
    """Return a document that the caller may read. Raises `NotFound`."""
    document = await store_documents.get_document(session, caller, document_id, for_update=for_update)
    if document is None:
        raise NotFound("There is no such document.")
    return document


async def change_document(
    caller: Caller, session: Session, document_id: DocumentId, change: DocumentChange
) -> Document:
    """Change title, tags, metadata or who may read it; chunks change readers in the same transaction.

    Raises `NotFound` (also for readers who are not of the organisation), `Forbidden` where the readers are not the caller's
    to change, and `InvalidInput`.
    """
    # Before the index lock: whoever removes a person or group holds their row first and takes that lock second.
    named = None
    if change.named is not None:
        named = await grants.principals_of(caller, session, users=change.named.users, groups=change.named.groups)
    # An indexing transaction must not read the old readers and write them later.
    await store_chunks.lock_index(session, caller)
    document = await get_document(caller, session, document_id, for_update=True)
    access = change.access or document.access
    readers = await _readers_after(caller, session, document, access, named)
    if change.title is not None and len(change.title) > MAX_TITLE_LENGTH:
        raise InvalidInput(f"A title has at most {MAX_TITLE_LENGTH} characters.")
    await store_documents.update_document(
        session,
        caller,
        document_id,
        title=change.title if change.title is not None else document.title,
        tags=document.tags if change.tags is None else checked_tags(change.tags),
        metadata=document.metadata if change.metadata is None else checked_metadata(change.metadata),
        access=access,
        readers=readers,
    )
    if set(readers) != set(document.readers):
        await store_chunks.relabel_chunks(session, caller, document_id, readers)
    return await get_document(caller, session, document_id)


async def _readers_after(
    caller: Caller, session: Session, document: Document, access: Access, named: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Write the grants that change and return the readers that follow from them."""
    granted = await store_documents.granted_principals(session, caller, document.id)
    if named is not None:
        # A program that keeps a document to itself is granted it, too; naming readers does not take that away.
        granted = {one for one in granted if not one.startswith(("user:", "group:"))} | set(named)
    readers = readers_of(access, owner_id=document.owner_id, granted=granted)
    if set(readers) == set(document.readers) and access is document.access:
        return document.readers
    is_own = document.owner_id is not None and document.owner_id == caller.user_id
    if document.access is Access.PRIVATE and not (is_own or caller.sees_all or document.owner_id is None):
        raise Forbidden("Who may read a private document is for its owner to say, or for an administrator.")
    if not caller.sees_all and not set(readers) & set(caller.principals):
        raise InvalidInput("This would hide the document from you; only its owner can do that.")
    if named is not None:
        await store_documents.replace_grants(session, caller, document.id, granted)
    return readers


async def delete_document(caller: Caller, session: Session, document_id: DocumentId) -> set[str]:
    """Remove a document, its versions, chunks and jobs; return the digests of its blobs. Raises `NotFound`."""
    await store_chunks.lock_index(session, caller)
    await get_document(caller, session, document_id, for_update=True)
    contents = await store_documents.list_contents(session, caller, document_id)
    await store_chunks.delete_chunks(session, caller, document_id)
    await store_documents.delete_document(session, caller, document_id)
    return contents


def checked_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tags trimmed, without repetition, in order. Raises `InvalidInput`."""
    cleaned = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if len(cleaned) > MAX_TAGS or any(len(tag) > MAX_TAG_LENGTH for tag in cleaned):
        raise InvalidInput(f"A document has at most {MAX_TAGS} tags of at most {MAX_TAG_LENGTH} characters each.")
    return cleaned


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata. Raises `InvalidInput` when there is too much of it."""
    if len(metadata) > MAX_METADATA_KEYS:
        raise InvalidInput(f"Metadata has at most {MAX_METADATA_KEYS} keys.")
    return metadata
