"""Which workspaces' indexes are held in memory, and when they are read.

What is held is a cache: it counts only in exactly the state that the database is in, so a change makes it useless at that
moment, and searches go to the database until it has been read again. Reading takes a bounded share of the time.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import orjson
from anyio.to_thread import run_sync

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import WorkspaceId
from ragecho.library import store_resident
from ragecho.library.resident_index import Postings, ResidentIndex
from ragecho.library.store_resident import IndexSize, Piece
from ragecho.platform.database import Database
from ragecho.platform.telemetry import get_logger
from ragecho.platform.telemetry.metrics import count_cache_lookup

log = get_logger(__name__)

# A workspace is read once it is searched again: most are searched now and then, and never by many.
SEARCHES_BEFORE_READING = 3
# At most a twentieth of the time goes into reading one workspace anew.
REST_PER_SECOND_OF_READING = 20.0
LEAST_REST_SECONDS = 1.0
REST_AFTER_REFUSAL_SECONDS = 60.0
_BYTES_PER_TERM, _BYTES_PER_CHUNK, _BYTES_PER_NUMBER = 8, 40, 4
_ID_LENGTH, _SPARSE_HEAD, _HALF_HEAD = 36, 3, 2


@dataclass(slots=True)
class _Held:
    """What is known of one workspace: its index, if held, and when it may be read (again)."""

    index: ResidentIndex | None = None
    searches: int = 0
    rests_until: float = 0.0
    reading: asyncio.Task[None] | None = None


class ResidentIndexes:
    """Indexes of workspaces that are searched often, within `budget_bytes`; vectors of those below `vectors_below` chunks."""

    def __init__(self, database: Database, *, budget_bytes: int, vectors_below: int) -> None:
        self._database = database
        self._budget_bytes = budget_bytes
        self._vectors_below = vectors_below
        self._held: OrderedDict[WorkspaceId, _Held] = OrderedDict()

    def at(self, caller: Caller, space_id: UUID, version: int) -> ResidentIndex | None:
        """Return the index of the caller's workspace if it is held in this state; if not, it may be read meanwhile."""
        held = self._held.setdefault(caller.workspace_id, _Held())
        self._held.move_to_end(caller.workspace_id)
        index = held.index
        is_hit = index is not None and (index.space_id, index.version) == (space_id, version)
        count_cache_lookup("index", is_hit=is_hit)
        if is_hit:
            return index
        held.searches += 1
        is_due = held.searches >= SEARCHES_BEFORE_READING and time.monotonic() >= held.rests_until
        if is_due and held.reading is None:
            worker = Caller.worker(caller.organization_id, caller.workspace_id)
            held.reading = asyncio.get_running_loop().create_task(self._read(worker, held))
        return None

    async def settled(self) -> None:
        """Wait until nothing is being read."""
        while running := [held.reading for held in self._held.values() if held.reading is not None]:
            await asyncio.gather(*running, return_exceptions=True)

    async def close(self) -> None:
        """Stop reading and let everything go."""
        for held in self._held.values():
            if held.reading is not None:
                held.reading.cancel()
        await self.settled()
        self._held.clear()

    async def _read(self, worker: Caller, held: _Held) -> None:
        started = time.monotonic()
        try:
            index = await self._load(worker, held)
            took = time.monotonic() - started
            rest = REST_AFTER_REFUSAL_SECONDS if index is None else took * REST_PER_SECOND_OF_READING
            held.rests_until = time.monotonic() + max(rest, LEAST_REST_SECONDS)
            held.index, held.searches = index, 0
            if index is not None:
                log.info(
                    "index.held",
                    workspace_id=str(worker.workspace_id),
                    chunks=len(index.ids),
                    megabytes=round(index.size_bytes / 1e6, 1),
                    duration_ms=round(took * 1e3),
                )
        except Exception:
            # Searches go on without it; whatever is wrong with the database shows there.
            held.rests_until = time.monotonic() + REST_AFTER_REFUSAL_SECONDS
            log.warning("index.not_held", workspace_id=str(worker.workspace_id), exc_info=True)
        finally:
            held.reading = None

    async def _load(self, worker: Caller, held: _Held) -> ResidentIndex | None:
        async with self._database.transaction(worker, is_snapshot=True) as session:
            size = await store_resident.index_size(session, worker)
            if size is None or not self._make_room(held, self._bytes_of(size)):
                return None
            with_vectors = size.chunks < self._vectors_below
            pieces = [
                piece
                async for piece in store_resident.pieces(session, worker, size.space_id, with_vectors=with_vectors)
            ]
        return await run_sync(_index_of, size, pieces)

    def _bytes_of(self, size: IndexSize) -> int:
        """Return how much an index takes at most."""
        vectors = size.dimensions * _BYTES_PER_NUMBER if size.chunks < self._vectors_below else 0
        return size.terms * _BYTES_PER_TERM + size.chunks * (_BYTES_PER_CHUNK + vectors)

    def _make_room(self, wanted_by: _Held, wanted: int) -> bool:
        """Let go of what was searched longest ago until `wanted` bytes fit; False when they never will."""
        if wanted > self._budget_bytes:
            return False
        wanted_by.index = None
        taken = sum(held.index.size_bytes for held in self._held.values() if held.index is not None)
        for workspace_id, held in list(self._held.items()):
            if taken + wanted <= self._budget_bytes:
                break
            if held is not wanted_by and held.reading is None:
                taken -= held.index.size_bytes if held.index is not None else 0
                del self._held[workspace_id]
        return True


def _index_of(size: IndexSize, pieces: list[Piece]) -> ResidentIndex:
    """Put the pieces together. CPU work."""
    lengths = np.array([length for piece in pieces for length in piece.lengths], dtype=np.int64)
    sets: dict[str, int] = {}
    labels = [sets.setdefault(readers, len(sets)) for piece in pieces for readers in piece.readers]
    ids = np.frombuffer("".join(piece.ids for piece in pieces).encode(), dtype=f"S{_ID_LENGTH}")
    vectors = None
    if pieces and pieces[0].vectors is not None:
        rows = np.concatenate([np.frombuffer(piece.vectors or b"", dtype=">f2") for piece in pieces])
        vectors = rows.reshape(len(ids), size.dimensions + _HALF_HEAD)[:, _HALF_HEAD:].astype(np.float32)
    return ResidentIndex(
        size.space_id,
        size.version,
        ids,
        _postings(lengths, pieces),
        np.array(labels, dtype=np.int32),
        [frozenset(orjson.loads(readers)) for readers in sets],
        vectors,
    )


def _postings(lengths: np.ndarray[tuple[int], np.dtype[np.int64]], pieces: list[Piece]) -> Postings:
    terms, weights = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    for piece in pieces:
        words = np.frombuffer(piece.weights, dtype=">i4")
        counts = np.array(piece.lengths, dtype=np.int64)
        # Each chunk's words: the head, the indices, as many values.
        firsts = np.cumsum(2 * counts + _SPARSE_HEAD) - 2 * counts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(firsts, counts) + within
        terms.append((words[places] + 1).astype(np.int32))
        weights.append(words[places + np.repeat(counts, counts)].view(">f4").astype(np.float32))
    return Postings.of(np.concatenate(terms), np.concatenate(weights), lengths)
