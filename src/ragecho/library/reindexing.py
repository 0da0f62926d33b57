"""What re-indexing may do to the library. The stores themselves are private to it; this list is their open side."""

from uuid import UUID

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound
from ragecho.kernel.ids import DocumentId
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.library import store_spaces
from ragecho.library.store_chunks import lock_index
from ragecho.library.store_reindexes import (
    Reindex,
    ReindexStatus,
    begin,
    begin_pass,
    get,
    move,
    note_failure,
    open_jobs,
    open_target,
    set_status,
)
from ragecho.library.store_spaces import (
    chunks_in,
    count_documents,
    count_lacking,
    lacking,
    sizes_of_pieces,
    use_space,
    versions_in,
)
from ragecho.platform.database import Database, Session

__all__ = [
    "Reindex",
    "ReindexStatus",
    "begin",
    "begin_pass",
    "chunks_in",
    "count_documents",
    "count_lacking",
    "get",
    "lacking",
    "move",
    "note_failure",
    "open_jobs",
    "open_target",
    "own_space",
    "set_status",
    "sizes_of_pieces",
    "space",
    "spaces_of",
    "sweep",
    "sweep_all",
    "use_space",
    "versions_in",
]

_SWEPT_AT_ONCE = 500


async def own_space(session: Session, caller: Caller) -> EmbeddingSpace:
    """Return the space that the queries of the caller's workspace use."""
    return (await store_spaces.workspace_spaces(session, caller)).own


async def space(session: Session, space_id: UUID) -> EmbeddingSpace:
    """Return a space. Raises `NotFound`."""
    found = await store_spaces.get_space(session, space_id)
    if found is None:
        raise NotFound("There is no such embedding space.")
    return found


async def spaces_of(session: Session, reindex: Reindex) -> tuple[EmbeddingSpace, EmbeddingSpace]:
    """Return the spaces that a re-indexing leads from and to."""
    return await space(session, reindex.from_space_id), await space(session, reindex.to_space_id)


async def sweep(session: Session, caller: Caller, *, after: UUID | None, limit: int) -> DocumentId | None:
    """Remove what some documents have in spaces that the workspace has no more; return where to go on, None at the end.

    The caller holds the index lock.
    """
    kept = (await store_spaces.workspace_spaces(session, caller)).all
    return await store_spaces.remove_other_spaces(session, caller, [one.id for one in kept], after=after, limit=limit)


async def sweep_all(database: Database, caller: Caller) -> None:
    """Remove everything in spaces that the workspace has no more."""
    after: UUID | None = None
    while True:
        async with database.transaction(caller) as session:
            await lock_index(session, caller)
            after = await sweep(session, caller, after=after, limit=_SWEPT_AT_ONCE)
        if after is None:
            return
