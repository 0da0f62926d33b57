"""Which workspaces' indexes are held in memory, and when they are read.

What is held is a cache: it counts only in exactly the state that the database is in, so a change makes it useless at that
moment, and searches go to the database until it has been read again. Reading takes a bounded share of the time.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
import orjson
from anyio.to_thread import run_sync
from numpy.typing import NDArray

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import WorkspaceId
from ragecho.library import store_resident
from ragecho.library.resident_index import Postings, ResidentIndex
from ragecho.library.resident_vectors import ResidentVectors
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
_BYTES_PER_TERM, _BYTES_PER_CHUNK = 8, 40
_ID_LENGTH, _SPARSE_HEAD, _HALF_HEAD = 36, 3, 2
_NO_TERMS: Final = np.empty(0, dtype=np.int32)
_NO_WEIGHTS: Final = np.empty(0, dtype=np.float32)


@dataclass(slots=True)
class _Held:
    """What is known of one workspace: its index, if held, and when it may be read (again)."""

    index: ResidentIndex | None = None
    searches: int = 0
    rests_until: float = 0.0
    reading: asyncio.Task[None] | None = None


class ResidentIndexes:
    """Indexes of workspaces that are searched often, within `budget_bytes`: words, and vectors where there is room for both."""

    def __init__(self, database: Database, *, budget_bytes: int) -> None:
        self._database = database
        self._budget_bytes = budget_bytes
        self._held: OrderedDict[WorkspaceId, _Held] = OrderedDict()

    def at(self, caller: Caller, space_id: UUID, version: int) -> ResidentIndex | None:
        """Return the index of the caller's workspace if it is held in this state; if not, it may be read meanwhile."""
        held = self._held.setdefault(caller.workspace_id, _Held())
        self._held.move_to_end(caller.workspace_id)
        index = held.index
        is_hit = index is not None and index.is_of(space_id, version)
        count_cache_lookup("index", is_hit=is_hit)
        if is_hit:
            return index
        held.searches += 1
        is_due = held.searches >= SEARCHES_BEFORE_READING and time.monotonic() >= held.rests_until
        if is_due and held.reading is None:
            worker = Caller.worker(caller.organization_id, caller.workspace_id)
            held.reading = asyncio.get_running_loop().create_task(self._read(worker, held))
        return None

    def peek(self, caller: Caller, space_id: UUID, version: int) -> ResidentIndex | None:
        """Return the index as `at` does, for work ahead of the search that will ask: nothing is counted or read."""
        held = self._held.get(caller.workspace_id)
        index = held.index if held is not None else None
        return index if index is not None and index.is_of(space_id, version) else None

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
            if size is None:
                return None
            with_vectors = self._make_room(held, _bytes_of(size, with_vectors=True))
            if not with_vectors and not self._make_room(held, _bytes_of(size, with_vectors=False)):
                return None
            parts = _Parts(size)
            async for piece in store_resident.pieces(session, worker, size.space_id, with_vectors=with_vectors):
                await run_sync(parts.add, piece)
        return await run_sync(parts.index)

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


def _bytes_of(size: IndexSize, *, with_vectors: bool) -> int:
    """Return how much an index takes at most."""
    vectors = ResidentVectors.bytes_per_vector(size.dimensions) if with_vectors else 0
    return size.terms * _BYTES_PER_TERM + size.chunks * (_BYTES_PER_CHUNK + vectors)


class _Parts:
    """What was read so far, each piece coded as it comes: a large index as it is sent would take several times the room."""

    def __init__(self, size: IndexSize) -> None:
        self._size = size
        self._ids: list[bytes] = []
        self._lengths: list[int] = []
        self._sets: dict[str, int] = {}
        self._labels: list[int] = []
        self._terms: list[NDArray[np.int32]] = []
        self._weights: list[NDArray[np.float32]] = []
        self._vectors: ResidentVectors | None = None

    def add(self, piece: Piece) -> None:
        """Take a piece apart. CPU work."""
        self._ids.append(piece.ids.encode())
        self._lengths += piece.lengths
        self._labels += [self._sets.setdefault(readers, len(self._sets)) for readers in piece.readers]
        terms, weights = _words_of(piece)
        self._terms.append(terms)
        self._weights.append(weights)
        if piece.vectors is not None:
            rows = np.frombuffer(piece.vectors, dtype=">f2").reshape(-1, self._size.dimensions + _HALF_HEAD)
            if self._vectors is None:
                self._vectors = ResidentVectors(self._size.dimensions)
            self._vectors.add(rows[:, _HALF_HEAD:].astype(np.float32))

    def index(self) -> ResidentIndex:
        """Put the pieces together, once. CPU work."""
        terms, weights = np.concatenate(self._terms or [_NO_TERMS]), np.concatenate(self._weights or [_NO_WEIGHTS])
        self._terms, self._weights = [], []
        if self._vectors is not None:
            self._vectors.finish()
        return ResidentIndex(
            self._size.space_id,
            self._size.version,
            np.frombuffer(b"".join(self._ids), dtype=f"S{_ID_LENGTH}"),
            Postings.of(terms, weights, np.array(self._lengths, dtype=np.int64)),
            np.array(self._labels, dtype=np.int32),
            [frozenset(orjson.loads(readers)) for readers in self._sets],
            self._vectors,
        )


def _words_of(piece: Piece) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the terms and weights of a piece's chunks, one chunk after the other."""
    words = np.frombuffer(piece.weights, dtype=">i4")
    counts = np.array(piece.lengths, dtype=np.int64)
    # Each chunk's words: the head, the indices, as many values.
    firsts = np.cumsum(2 * counts + _SPARSE_HEAD) - 2 * counts
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.repeat(firsts, counts) + within
    weights = words[places + np.repeat(counts, counts)].view(">f4").astype(np.float32)
    return (words[places] + 1).astype(np.int32), weights
