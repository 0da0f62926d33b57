"""Find passages for a question: words and vectors, fused, within what the caller may read."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound
from ragecho.kernel.ids import ChunkId, VersionId, WorkspaceId
from ragecho.kernel.passages import Passage
from ragecho.library import analysis, store_chunks, store_documents
from ragecho.library.caching import IndexVersion, Kept, QueryVectors, ResultCache, key_of
from ragecho.library.fusion import vector_share
from ragecho.library.model import SearchFilter
from ragecho.library.query.options import Expand, Facts, SearchOptions
from ragecho.library.refining import Refining, Request, expanded, passage_of
from ragecho.library.search_route import IndexState, Route, SearchTuning, route_of
from ragecho.library.search_sql import (
    GRAPH_LIST,
    INDEX_STATE,
    READABLE_CHUNKS,
    filter_parameters,
    matching_size_statement,
    search_statement,
)
from ragecho.platform.database import Database, Query
from ragecho.platform.telemetry import span
from ragecho.platform.telemetry.metrics import observe_search
from ragecho.ports.cache import Cache
from ragecho.ports.embedder import Embedder, Vectors

__all__ = ["Found", "IndexState", "PassageSearch", "SearchMode", "SearchTuning", "vector_literal"]

# Workspaces whose state is kept in memory between searches; a state is confirmed by every answer it led to.
REMEMBERED_STATES = 10_000
StateKey = tuple[WorkspaceId, tuple[str, ...], bool]


class SearchMode(StrEnum):
    """Which signals are used."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    LEXICAL = "lexical"


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, best first, and what each step took in milliseconds. `is_cached`: they had been found before, and still hold.

    `matches` says where in an expanded passage's document what was found lies, by its chunk.
    """

    passages: list[Passage]
    timings_ms: dict[str, float] = field(default_factory=dict)
    is_cached: bool = False
    facts: Facts = field(default_factory=Facts)
    matches: dict[ChunkId, tuple[int, int]] = field(default_factory=dict)


def vector_literal(vector: Vectors) -> str:
    """Return pgvector's text form: the shortest digits that give the same single-precision numbers."""
    return orjson.dumps(np.ascontiguousarray(vector, dtype=np.float32), option=orjson.OPT_SERIALIZE_NUMPY).decode()


class PassageSearch:
    """Hybrid search over one database. Stateless apart from its collaborators and what it remembers of indexes."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        tuning: SearchTuning | None = None,
        *,
        cache: Cache | None = None,
        cache_seconds: float = 600,
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._tuning = tuning or SearchTuning()
        self._states: OrderedDict[StateKey, IndexState] = OrderedDict()
        self._cache = cache
        self._results = ResultCache(cache, ttl_seconds=cache_seconds) if cache is not None else None
        self._vectors = QueryVectors(embedder, cache, ttl_seconds=cache_seconds)

    async def search(
        self,
        caller: Caller,
        *,
        query: str,
        k: int,
        mode: SearchMode = SearchMode.HYBRID,
        wanted: SearchFilter | None = None,
        options: SearchOptions | None = None,
    ) -> Found:
        """Return the best `k` passages that the caller may read. `score` is the fused score; `scores` its parts."""
        started = time.perf_counter()
        timings: dict[str, float] = {}
        among, chosen = wanted or SearchFilter(), options or SearchOptions()

        async def one(text: str, *, k: int, mode: str, wanted: SearchFilter, is_word: bool = False) -> Kept:
            took: dict[str, float] = {}
            kept = await self._find(caller, text, took, k=k, mode=SearchMode(mode), wanted=wanted)
            timings.update({name: timings.get(name, 0.0) + spent for name, spent in took.items()})
            return kept

        async def embed(text: str, space_id: UUID) -> str:
            return vector_literal(await self._vectors.embed(text))

        async def find() -> Kept:
            steps = Refining(
                self._database, find=one, embed=embed, stemmings=lambda: self._states[_key(caller)].stemmings
            )
            return await steps.search(Request(caller, query, k, str(mode), among, chosen))

        if self._results is None:
            kept, is_cached = await find(), False
        else:
            key = key_of(
                caller, self._embedder, self._tuning, query=query, k=k, mode=str(mode), wanted=among, options=chosen
            )
            kept, is_cached = await self._results.get(key, present=lambda: self._version(caller), find=find)
        timings["total"] = (time.perf_counter() - started) * 1e3
        for step, milliseconds in timings.items():
            observe_search(step, milliseconds / 1e3)
        rounded = {name: round(value, 3) for name, value in timings.items()}
        return Found(kept.passages, rounded, is_cached, facts=kept.facts)

    async def _find(
        self,
        caller: Caller,
        query: str,
        timings: dict[str, float],
        *,
        k: int,
        mode: SearchMode,
        wanted: SearchFilter,
    ) -> Kept:
        started = time.perf_counter()
        vector = None
        if mode is not SearchMode.LEXICAL:
            with span("search.embed"):
                vector = vector_literal(await self._vectors.embed(query))
        embedded = time.perf_counter()
        with span("search.query", mode=str(mode), k=k):
            rows, state = await self._query(caller, query, vector, k=k, mode=mode, wanted=wanted)
        timings |= {"embed": (embedded - started) * 1e3, "query": (time.perf_counter() - embedded) * 1e3}
        return Kept(IndexVersion(state.space_id, state.version), [passage_of(row) for row in rows])

    async def expand(self, caller: Caller, found: Found, how: Expand) -> Found:
        """Return what was found with what stands around each passage; `matches` says where in it what was found lies."""
        passages, matches = await expanded(self._database, caller, found.passages, how)
        return replace(found, passages=passages, matches=matches)

    async def _version(self, caller: Caller) -> IndexVersion:
        (rows,) = await self._database.read(caller, _state_query(caller))
        state = _state(caller, rows)
        return IndexVersion(state.space_id, state.version)

    async def close(self) -> None:
        """Let the cache's connections go."""
        if self._cache is not None:
            await self._cache.close()

    async def readable(self, caller: Caller, chunk_ids: Sequence[ChunkId]) -> set[ChunkId]:
        """Return which of the chunks the caller may read now: the last check before a prompt."""
        async with self._database.transaction(caller) as session:
            return await store_chunks.readable_chunks(session, caller, chunk_ids)

    async def version_text(self, caller: Caller, version_id: VersionId, *, start: int, end: int) -> str | None:
        """Return code points `start` to `end` of a version's stored text; None when it is not readable now."""
        async with self._database.transaction(caller) as session:
            return await store_documents.version_text(session, caller, version_id, start=start, end=end)

    async def _query(
        self, caller: Caller, query: str, vector: str | None, *, k: int, mode: SearchMode, wanted: SearchFilter
    ) -> tuple[Sequence[Mapping[str, Any]], IndexState]:
        """Ask under the state that was seen last; the answer counts if the state of its own moment leads the same way."""
        filters = filter_parameters(wanted)
        matching = await self._chunks_matching(caller, filters) if filters else None
        state = self._states.get(_key(caller)) or await self._present_state(caller)
        while True:
            route = route_of(state, self._tuning, matching=matching)
            terms = analysis.query_terms_of(query, state.stemmings) if mode is not SearchMode.VECTOR else {}
            statement = self._statement(
                caller, state, route, terms=terms, vector=vector, filters=filters, k=k, mode=mode
            )
            *_, now, found = await self._database.read(
                caller, *_graph_setting(route), _state_query(caller), statement, is_snapshot=True
            )
            present = await self._counted(caller, _state(caller, now))
            self._remember(caller, present)
            is_alike = present.space_id == state.space_id and present.stemmings == state.stemmings
            if is_alike and route_of(present, self._tuning, matching=matching) == route:
                return found, present
            state = present

    async def _chunks_matching(self, caller: Caller, filters: Mapping[str, Any]) -> int:
        """Return how many chunks a filter lets through: a graph that mostly leads elsewhere would find too little."""
        parameters = {"workspace_id": caller.workspace_id, **filters}
        (rows,) = await self._database.read(caller, (matching_size_statement(frozenset(filters)), parameters))
        return int(rows[0]["chunks"])

    def _statement(
        self,
        caller: Caller,
        state: IndexState,
        route: Route,
        *,
        terms: Mapping[str, int],
        vector: str | None,
        filters: Mapping[str, Any],
        k: int,
        mode: SearchMode,
    ) -> Query:
        tuning = self._tuning
        statement, names = search_statement(
            str(mode),
            route,
            dimensions=state.dimensions,
            filters=frozenset(filters),
            share=tuning.vector_share if tuning.vector_share is not None else vector_share(self._embedder.model),
        )
        parameters: dict[str, Any] = {
            **filters,
            "workspace_id": caller.workspace_id,
            "space_id": state.space_id,
            "limit": k,
            "depth": max(tuning.depth, k),
            "vector": vector,
            "terms": analysis.TermIds(caller.workspace_id).of(terms),
            "weights": [float(times) for times in terms.values()],
            "candidate_cap": route.candidate_cap,
            "sees_all": caller.sees_all,
            "principals": list(caller.principals),
        }
        return statement, {name: parameters[name] for name in names}

    async def _present_state(self, caller: Caller) -> IndexState:
        (rows,) = await self._database.read(caller, _state_query(caller))
        return await self._counted(caller, _state(caller, rows))

    async def _counted(self, caller: Caller, state: IndexState) -> IndexState:
        """Return the state with the readable chunks counted where their labels' counts leave the way open."""
        if not state.is_unsure(self._tuning):
            return state
        known = self._states.get(_key(caller))
        if known is not None and known.version == state.version:
            return known
        limit = self._tuning.few_chunks
        (rows,) = await self._database.read(caller, (READABLE_CHUNKS, {"limit": limit}))
        counted = int(rows[0]["counted"])
        readable = counted if counted < limit else state.readable
        return replace(state, readable=readable, surely_readable=counted)

    def _remember(self, caller: Caller, state: IndexState) -> None:
        self._states[_key(caller)] = state
        self._states.move_to_end(_key(caller))
        while len(self._states) > REMEMBERED_STATES:
            self._states.popitem(last=False)


def _key(caller: Caller) -> StateKey:
    return caller.workspace_id, caller.principals, caller.sees_all


def _graph_setting(route: Route) -> tuple[Query, ...]:
    return () if route.graph_list is None else ((GRAPH_LIST, {"length": str(route.graph_list)}),)


def _state_query(caller: Caller) -> Query:
    return INDEX_STATE, {"workspace_id": caller.workspace_id, "principals": list(caller.principals)}


def _state(caller: Caller, rows: Sequence[Mapping[str, Any]]) -> IndexState:
    if not rows:
        raise NotFound("There is no such workspace.")
    row = rows[0]
    chunks = row["chunks"]
    return IndexState(
        row["space_id"],
        row["dimensions"],
        chunks,
        tuple(row["stemmings"]),
        row["version"],
        chunks if caller.sees_all else min(chunks, row["readable"]),
        chunks if caller.sees_all else min(chunks, row["surely_readable"]),
    )
