"""Find passages for a question: words and vectors, fused, within what the caller may read."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ChunkId, VersionId
from ragecho.kernel.passages import EmbeddingSpace, Passage
from ragecho.library import store_chunks, store_documents
from ragecho.library.caching import IndexVersion, Kept, QueryVectors, ResultCache, key_of
from ragecho.library.literals import vector_literal
from ragecho.library.model import SearchFilter
from ragecho.library.query.options import Expand, Facts, SearchOptions
from ragecho.library.query.queries import Query as Wording
from ragecho.library.query.together import fuse
from ragecho.library.refining import Refining, Request, Spans, expanded, passage_of
from ragecho.library.residency import ResidentIndexes
from ragecho.library.search_route import IndexState, Route, SearchTuning, route_of
from ragecho.library.search_sql import (
    READABLE_CHUNKS,
    filter_parameters,
    matching_size_statement,
)
from ragecho.library.search_state import StateKey, state_key, state_of, state_query
from ragecho.library.search_statements import SearchMode, Statements, asked_of, in_thread_if_large
from ragecho.library.spaces import SpaceCache
from ragecho.platform.background import begun
from ragecho.platform.database import Database
from ragecho.platform.telemetry import span
from ragecho.platform.telemetry.metrics import observe_search
from ragecho.ports.cache import Cache
from ragecho.ports.embedder import Embedders, Vectors

__all__ = ["Found", "IndexState", "PassageSearch", "SearchMode", "SearchTuning", "vector_literal"]

# Workspaces whose state is kept in memory between searches; a state is confirmed by every answer it led to.
REMEMBERED_STATES = 10_000
# What memory found is read by keys, whatever they are: planning it anew takes longer than reading it. A plan that is kept must
# not be one that went through a table while that was small.
READING_BY_KEYS = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_hashjoin": "off"}


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, best first, and what each step took in milliseconds. `is_cached`: they had been found before, and still hold.

    `space` is the one that all of them come from; None where a test does not say. `matches` says where in the document of
    an expanded passage what was found lies.
    """

    passages: list[Passage]
    timings_ms: dict[str, float] = field(default_factory=dict)
    is_cached: bool = False
    space: EmbeddingSpace | None = None
    facts: Facts = field(default_factory=Facts)
    matches: dict[ChunkId, Spans] = field(default_factory=dict)


class PassageSearch:
    """Hybrid search over one database. Stateless apart from its collaborators and what it remembers of indexes."""

    def __init__(
        self,
        database: Database,
        embedders: Embedders,
        tuning: SearchTuning | None = None,
        *,
        cache: Cache | None = None,
        cache_seconds: float = 600,
        resident: ResidentIndexes | None = None,
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._spaces = SpaceCache(database)
        self._tuning = tuning or SearchTuning()
        self._statements = Statements(self._tuning)
        self._states: OrderedDict[StateKey, IndexState] = OrderedDict()
        self._cache = cache
        self._results = ResultCache(cache, ttl_seconds=cache_seconds) if cache is not None else None
        self._vectors = QueryVectors(cache, ttl_seconds=cache_seconds)
        self._resident = resident

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
        return await self.search_all(caller, queries=(Wording(query),), k=k, mode=mode, wanted=wanted, options=options)

    async def search_all(
        self,
        caller: Caller,
        *,
        queries: Sequence[Wording],
        k: int,
        mode: SearchMode = SearchMode.HYBRID,
        wanted: SearchFilter | None = None,
        options: SearchOptions | None = None,
    ) -> Found:
        """Return the best `k` passages of all `queries`, wordings of one question, found in one read of one moment."""
        started = time.perf_counter()
        timings: dict[str, float] = {}
        among, chosen = wanted or SearchFilter(), options or SearchOptions()
        # A made-up answer is searched by its meaning only.
        asked = [one for one in queries if mode is not SearchMode.LEXICAL or not one.embed_as_passage]

        async def find() -> Kept:
            steps = self._steps(caller, asked, timings)
            return await steps.search(Request(caller, asked[0].text, k, str(mode), among, chosen))

        if self._results is None:
            kept, is_cached = await find(), False
        else:
            key = key_of(caller, self._tuning, queries=asked, k=k, mode=str(mode), wanted=among, options=chosen)
            kept, is_cached = await self._results.get(key, present=lambda: self.index_version(caller), find=find)
        timings["total"] = (time.perf_counter() - started) * 1e3
        for step, milliseconds in timings.items():
            observe_search(step, milliseconds / 1e3)
        rounded = {name: round(value, 3) for name, value in timings.items()}
        return Found(kept.passages, rounded, is_cached, await self._spaces.get(kept.index.space_id), kept.facts)

    def _steps(self, caller: Caller, queries: Sequence[Wording], timings: dict[str, float]) -> Refining:
        """Return the steps around the hot path, which searches all `queries`; what it takes is added to the timings."""

        async def find(text: str, *, k: int, mode: str, wanted: SearchFilter, is_word: bool = False) -> Kept:
            wordings = [Wording(text)] if is_word else [replace(queries[0], text=text), *queries[1:]]
            took: dict[str, float] = {}
            kept = await self._find(caller, wordings, took, k=k, mode=SearchMode(mode), wanted=wanted)
            timings.update({name: timings.get(name, 0.0) + spent for name, spent in took.items()})
            return kept

        async def embed(text: str, space_id: UUID) -> str:
            embedder = self._embedders.of(await self._spaces.get(space_id))
            return vector_literal(await self._vectors.embed(embedder, text))

        async def knows(word: str, space_id: UUID) -> bool:
            tokens = self._embedders.of(await self._spaces.get(space_id)).tokens
            return len(tokens.offsets([word])[0]) == 1

        return Refining(
            self._database,
            find=find,
            embed=embed,
            knows=knows,
            stemmings=lambda: self._states[state_key(caller)].stemmings,
        )

    async def expand(self, caller: Caller, found: Found, how: Expand) -> Found:
        """Return what was found with what stands around each passage, as far as the caller may read it."""
        passages, matches = await expanded(self._database, caller, found.passages, how)
        return replace(found, passages=passages, matches=matches)

    async def _find(
        self,
        caller: Caller,
        queries: Sequence[Wording],
        timings: dict[str, float],
        *,
        k: int,
        mode: SearchMode,
        wanted: SearchFilter,
    ) -> Kept:
        state = self._states.get(state_key(caller)) or await self._present_state(caller)
        while True:
            started = time.perf_counter()
            space = await self._spaces.get(state.space_id)
            vectors: Sequence[Vectors | None] = [None] * len(queries)
            if mode is not SearchMode.LEXICAL:
                with span("search.embed"):
                    embedder = self._embedders.of(space)
                    embedding = begun(self._vectors.embed_all(embedder, queries))
                    try:
                        if not embedding.done():
                            await self._find_words_meanwhile(caller, state, queries, k=k, mode=mode, wanted=wanted)
                        vectors = await embedding
                    finally:
                        embedding.cancel()
            embedded = time.perf_counter()
            with span("search.query", mode=str(mode), k=k):
                found, state = await self._query(
                    caller, queries, vectors, state=state, space=space, k=k, mode=mode, wanted=wanted
                )
            timings |= {"embed": (embedded - started) * 1e3, "query": (time.perf_counter() - embedded) * 1e3}
            if state.space_id == space.id:
                break
            # The workspace changed its space at this moment: the queries are embedded again, for the new one.
        lists = [[passage_of(row) for row in rows] for rows in found]
        passages = lists[0] if len(lists) == 1 else fuse(queries, lists, k=k)
        return Kept(IndexVersion(state.space_id, state.version), passages)

    async def _find_words_meanwhile(
        self,
        caller: Caller,
        state: IndexState,
        queries: Sequence[Wording],
        *,
        k: int,
        mode: SearchMode,
        wanted: SearchFilter,
    ) -> None:
        """Let an index in memory find by words while the model is at work in its own threads; it remembers them."""
        index = self._resident.peek(caller, state.space_id, state.version) if self._resident else None
        if index is None or mode is not SearchMode.HYBRID or filter_parameters(wanted):
            return
        for query in queries:
            asked = asked_of(caller, state, query, None, k=k, mode=mode)
            await in_thread_if_large(
                index, partial(self._statements.words, caller, index, route_of(state, self._tuning), asked)
            )

    async def index_version(self, caller: Caller) -> IndexVersion:
        """Return the state that the index is in now. Raises `NotFound` without the workspace."""
        (rows,) = await self._database.read(caller, state_query(caller))
        state = state_of(caller, rows)
        return IndexVersion(state.space_id, state.version)

    async def close(self) -> None:
        """Let the cache's connections and what is held in memory go."""
        if self._resident is not None:
            await self._resident.close()
        if self._cache is not None:
            await self._cache.close()

    async def readable(self, caller: Caller, passages: Sequence[Passage]) -> set[ChunkId]:
        """Return the chunks of those passages that the caller may read now: the last check before a prompt."""
        async with self._database.transaction(caller) as session:
            return await store_chunks.readable_passages(session, caller, passages)

    async def version_text(self, caller: Caller, version_id: VersionId, *, start: int, end: int) -> str | None:
        """Return code points `start` to `end` of a version's stored text; None when it is not readable now."""
        async with self._database.transaction(caller) as session:
            return await store_documents.version_text(session, caller, version_id, start=start, end=end)

    async def _query(
        self,
        caller: Caller,
        queries: Sequence[Wording],
        vectors: Sequence[Vectors | None],
        *,
        state: IndexState,
        space: EmbeddingSpace,
        k: int,
        mode: SearchMode,
        wanted: SearchFilter,
    ) -> tuple[list[list[dict[str, Any]]], IndexState]:
        """Ask under the state that was seen last; the answer counts if the state of its own moment leads the same way.

        Nothing counts where that is in another space than the `vectors`; the state returned says in which.
        """
        filters = filter_parameters(wanted)
        matching = await self._chunks_matching(caller, filters) if filters else None
        while True:
            route = route_of(state, self._tuning, matching=matching)
            asked = [
                asked_of(caller, state, query, vector, k=k, mode=mode)
                for query, vector in zip(queries, vectors, strict=True)
            ]
            # A filter is the database's to judge.
            index = self._resident.at(caller, state.space_id, state.version) if self._resident and not filters else None
            held = [await self._statements.of_memory(caller, index, route, one, space=space) for one in asked]
            statements = [
                known
                or self._statements.of_database(caller, state, route, one, space=space, filters=filters, index=index)
                for known, one in zip(held, asked, strict=True)
            ]
            settings = READING_BY_KEYS if all(held) else _graph_settings(route)
            now, *found = await self._database.read(caller, state_query(caller), *statements, settings=settings)
            present = await self._counted(caller, state_of(caller, now))
            self._remember(caller, present)
            if present.space_id != space.id:
                return [[] for _ in queries], present
            # What was proposed from memory counts in exactly the state that it was made in.
            is_held = index is None or present.version == state.version
            is_alike = present.stemmings == state.stemmings and is_held
            if is_alike and route_of(present, self._tuning, matching=matching) == route:
                return found, present
            state = present

    async def _chunks_matching(self, caller: Caller, filters: Mapping[str, Any]) -> int:
        """Return how many chunks a filter lets through: a graph that mostly leads elsewhere would find too little."""
        parameters = {"workspace_id": caller.workspace_id, **filters}
        (rows,) = await self._database.read(caller, (matching_size_statement(frozenset(filters)), parameters))
        return int(rows[0]["chunks"])

    async def _present_state(self, caller: Caller) -> IndexState:
        (rows,) = await self._database.read(caller, state_query(caller))
        return await self._counted(caller, state_of(caller, rows))

    async def _counted(self, caller: Caller, state: IndexState) -> IndexState:
        """Return the state with the readable chunks counted where their labels' counts leave the way open."""
        if not state.is_unsure(self._tuning):
            return state
        known = self._states.get(state_key(caller))
        if known is not None and known.version == state.version:
            return known
        limit = self._tuning.few_chunks
        (rows,) = await self._database.read(caller, (READABLE_CHUNKS, {"limit": limit}))
        counted = int(rows[0]["counted"])
        readable = counted if counted < limit else state.readable
        return replace(state, readable=readable, surely_readable=counted)

    def _remember(self, caller: Caller, state: IndexState) -> None:
        self._states[state_key(caller)] = state
        self._states.move_to_end(state_key(caller))
        while len(self._states) > REMEMBERED_STATES:
            self._states.popitem(last=False)


def _graph_settings(route: Route) -> dict[str, str]:
    return {} if route.graph_list is None else {"hnsw.ef_search": str(route.graph_list)}
