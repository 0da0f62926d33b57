"""Embedding spaces: the one that a workspace's queries use, and the one that is to take its place.

A space is what vectors may be compared within, and what chunks were cut and analysed by. A workspace has one; while it is
re-indexed it has a second one, the target, which every change of a document is written to as well, and no query reads.
"""

from collections import OrderedDict
from uuid import UUID

from ragecho.kernel.errors import NotFound
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.library import store_spaces
from ragecho.platform.database import Database
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

REMEMBERED_SPACES = 1_000


async def spaces_in_use(database: Database) -> list[tuple[EmbeddingSpace, int]]:
    """Return the spaces of all active workspaces and how many workspaces are in each: numbers for the operator."""
    async with database.anonymous() as session:
        return await store_spaces.spaces_in_use(session)


async def tell_other_spaces(database: Database, configured: EmbeddingSpace) -> None:
    """Log how many workspaces do not use what is configured now: they go on as they are, which may not be what was meant."""
    try:
        found = await spaces_in_use(database)
    except Exception:
        log.warning("index.spaces_unknown", exc_info=True)  # it is information only
        return
    for other, workspaces in found:
        if other.id != configured.id:
            log.warning(
                "index.other_space",
                workspaces=workspaces,
                model=other.model,
                dimensions=other.dimensions,
                chunking=other.chunking,
                configured_model=configured.model,
                configured_chunking=configured.chunking,
                fix="ragecho reindex --all",
            )


class SpaceCache:
    """Spaces by id. What a space is never changes, so each is read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[UUID, EmbeddingSpace] = OrderedDict()

    async def get(self, space_id: UUID) -> EmbeddingSpace:
        """Return a space. Raises `NotFound`."""
        known = self._known.get(space_id)
        if known is None:
            async with self._database.anonymous() as session:
                known = await store_spaces.get_space(session, space_id)
            if known is None:
                raise NotFound("There is no such embedding space.")
            self._known[space_id] = known
            while len(self._known) > REMEMBERED_SPACES:
                self._known.popitem(last=False)
        return known
