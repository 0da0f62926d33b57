"""Results of searches that are kept, keyed by everything they depend on.

The key holds who asks (workspace and principals), what (question, number, mode, filters) and how (analysis, tuning); the
value holds the embedding space and the index's version that it was found under. A version moves in the transaction of every change that a search
could show, and a hit counts only if the version that is read *after* the question came is still that one: what was
deleted, replaced, re-tagged or re-classified is absent from the very next query. Who leaves a group, or loses a
level, has other principals and so another key.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId
from ragecho.kernel.passages import Passage
from ragecho.library.analysis import ANALYSIS_VERSION
from ragecho.library.model import SearchFilter
from ragecho.library.query.options import Facts, SearchOptions, facts_of
from ragecho.library.query.queries import Query
from ragecho.library.search_route import SearchTuning
from ragecho.platform.cache import SingleFlight
from ragecho.platform.telemetry.metrics import count_cache_lookup
from ragecho.ports.cache import Cache
from ragecho.ports.embedder import Embedder, Vectors

# Of the stored form and of the ranking behind it: processes of two releases may share one cache.
FORMAT = 2


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """Which state of a workspace's index something was found in."""

    space_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class Kept:
    """Passages as they were found in one state of the index."""

    index: IndexVersion
    passages: list[Passage]
    facts: Facts = field(default_factory=Facts)


def key_of(
    caller: Caller,
    tuning: SearchTuning,
    *,
    queries: Sequence[Query],
    k: int,
    mode: str,
    wanted: SearchFilter,
    options: SearchOptions,
) -> str:
    """Return the key of one caller's search: the digest of everything that its result depends on but the index.

    The index is one of an embedding space, so that the model belongs to it (`IndexVersion`).
    """
    parts = [
        FORMAT,
        str(caller.organization_id),
        str(caller.workspace_id),
        sorted(caller.principals),
        caller.sees_all,
        ANALYSIS_VERSION,
        asdict(tuning),
        [(query.text, query.embed_as_passage) for query in queries],
        k,
        mode,
        asdict(wanted),
        asdict(options),
    ]
    return "search:" + blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=24).hexdigest()


class ResultCache:
    """Results of searches in a `Cache`, and one run for those who ask the same at the same moment."""

    def __init__(self, cache: Cache, *, ttl_seconds: float) -> None:
        self._cache = cache
        self._ttl_seconds = ttl_seconds
        self._flights: SingleFlight[Kept] = SingleFlight()

    async def get(
        self,
        key: str,
        *,
        present: Callable[[], Awaitable[IndexVersion]],
        find: Callable[[], Coroutine[Any, Any, Kept]],
    ) -> tuple[Kept, bool]:
        """Return what `find` gives, or gave in the `present` state of the index; and whether it was found before.

        `present` is asked after this was called, each time that something older is at hand.
        """
        stored = await self._cache.get(key)
        kept = _decoded(stored) if stored is not None else None
        is_hit = kept is not None and kept.index == await present()
        count_cache_lookup("search", is_hit=is_hit)
        if kept is not None and is_hit:
            return kept, True
        kept, is_joined = await self._flights.run(key, lambda: self._found(key, find))
        if is_joined and kept.index != await present():
            return await self._found(key, find), False
        return kept, is_joined

    async def _found(self, key: str, find: Callable[[], Coroutine[Any, Any, Kept]]) -> Kept:
        kept = await find()
        await self._cache.put(key, _encoded(kept), ttl_seconds=self._ttl_seconds)
        return kept


class QueryVectors:
    """Embeds questions: those that are asked at the same moment once, and through a cache that other processes share."""

    def __init__(self, cache: Cache | None, *, ttl_seconds: float) -> None:
        # Within one process the embedders remember by themselves.
        self._cache = cache if cache is not None and cache.is_shared else None
        self._ttl_seconds = ttl_seconds
        self._flights: SingleFlight[Vectors] = SingleFlight()

    async def embed(self, embedder: Embedder, query: str) -> Vectors:
        """Return the question's unit vector by this embedder, (dimensions,) float32."""
        parts = [FORMAT, embedder.model, embedder.revision, embedder.dimensions, query]
        key = "vector:" + blake2b(orjson.dumps(parts), digest_size=24).hexdigest()
        vector, _ = await self._flights.run(key, lambda: self._embed(embedder, query, key))
        return vector

    async def embed_all(self, embedder: Embedder, queries: Sequence[Query]) -> list[Vectors]:
        """Return the unit vector of each query; all are embedded at the same time."""
        if len(queries) == 1 and not queries[0].embed_as_passage:  # nearly always: it needs no tasks
            return [await self.embed(embedder, queries[0].text)]
        made_up = [query.text for query in queries if query.embed_as_passage]
        *asked, passages = await asyncio.gather(
            *(self.embed(embedder, query.text) for query in queries if not query.embed_as_passage),
            _passages(embedder, made_up),
        )
        of_asked, of_passages = iter(asked), iter(passages)
        return [next(of_passages if query.embed_as_passage else of_asked) for query in queries]

    async def _embed(self, embedder: Embedder, query: str, key: str) -> Vectors:
        if self._cache is None:
            return await embedder.embed_query(query)
        stored = await self._cache.get(key)
        is_hit = stored is not None and len(stored) == embedder.dimensions * 4
        count_cache_lookup("query_vector", is_hit=is_hit)
        if stored is not None and is_hit:
            return np.frombuffer(stored, dtype="<f4").astype(np.float32)
        vector = await embedder.embed_query(query)
        await self._cache.put(key, vector.astype("<f4").tobytes(), ttl_seconds=self._ttl_seconds)
        return vector


async def _passages(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    return await embedder.embed_passages(texts) if texts else np.zeros((0, 0), np.float32)


def _encoded(kept: Kept) -> bytes:
    return orjson.dumps(
        {"space": kept.index.space_id, "version": kept.index.version, "passages": kept.passages, "facts": kept.facts}
    )


def _decoded(stored: bytes) -> Kept | None:
    """Return what was stored; None for what another release stored."""
    try:
        found = orjson.loads(stored)
        passages = [read_passage(one) for one in found["passages"]]
        return Kept(IndexVersion(UUID(found["space"]), found["version"]), passages, facts_of(found["facts"]))
    except (ValueError, KeyError, TypeError):
        return None


def read_passage(stored: dict[str, Any]) -> Passage:
    """Return the passage of its JSON form. Raises `ValueError`, `KeyError` or `TypeError` when it is none."""
    read = {
        "chunk_id": ChunkId(UUID(stored["chunk_id"])),
        "document_id": DocumentId(UUID(stored["document_id"])),
        "version_id": VersionId(UUID(stored["version_id"])),
        "heading_path": tuple(stored["heading_path"]),
        "page_breaks": tuple(stored["page_breaks"]),
    }
    return Passage(**stored | read)
