"""Find passages for a question: words and vectors, fused, within what the caller may read."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID

from anyio.to_thread import run_sync

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ChunkId, VersionId
from ragecho.kernel.passages import EmbeddingSpace, Passage
from ragecho.library import analysis, store_chunks, store_documents
from ragecho.library.caching import IndexVersion, Kept, QueryVectors, ResultCache, key_of
from ragecho.library.fusion import vector_share
from ragecho.library.literals import vector_literal
from ragecho.library.model import SearchFilter
from ragecho.library.query.options import Expand, Facts, SearchOptions
from ragecho.library.query.queries import Query as Wording
from ragecho.library.query.together import fuse
from ragecho.library.refining import Refining, Request, Spans, expanded, passage_of
from ragecho.library.residency import ResidentIndexes
from ragecho.library.resident_index import Candidates, Ranked, ResidentIndex
from ragecho.library.search_route import IndexState, Route, SearchTuning, route_of
from ragecho.library.search_sql import (
    READABLE_CHUNKS,
    filter_parameters,
    held_statement,
    matching_size_statement,
    search_statement,
)
from ragecho.library.search_state import StateKey, state_key, state_of, state_query
from ragecho.library.spaces import SpaceCache
from ragecho.platform.database import Database, Query
from ragecho.platform.telemetry import span
from ragecho.platform.telemetry.metrics import observe_search
from ragecho.ports.cache import Cache
from ragecho.ports.embedder import Embedders, Vectors

__all__ = ["Found", "IndexState", "PassageSearch", "SearchMode", "SearchTuning", "vector_literal"]

# Workspaces whose state is kept in memory between searches; a state is confirmed by every answer it led to.
REMEMBERED_STATES = 10_000
OTHER_THREAD_FROM_CHUNKS = 150_000


class SearchMode(StrEnum):
    """Which signals are used."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    LEXICAL = "lexical"


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as the index takes it: its terms' ids with how often each stands in it, and its unit vector."""

    terms: dict[int, float]
    vector: Vectors | None
    k: int
    mode: SearchMode


def _asked(
    caller: Caller, state: IndexState, query: Wording, vector: Vectors | None, *, k: int, mode: SearchMode
) -> _Asked:
    if query.embed_as_passage:
        mode = SearchMode.VECTOR
    words = analysis.query_terms_of(query.text, state.stemmings) if mode is not SearchMode.VECTOR else {}
    ids = analysis.TermIds(caller.workspace_id).of(words)
    return _Asked(dict(zip(ids, map(float, words.values()), strict=True)), vector, k, mode)


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
                    vectors, _ = await asyncio.gather(
                        self._vectors.embed_all(embedder, queries),
                        self._find_words_meanwhile(caller, state, queries, k=k, mode=mode, wanted=wanted),
                    )
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
        # After two turns of the loop the model is at work: its tasks were made before this one.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for query in queries:
            asked = _asked(caller, state, query, None, k=k, mode=mode)
            await _in_thread_if_large(index, partial(self._words, caller, index, route_of(state, self._tuning), asked))

    def _words(self, caller: Caller, index: ResidentIndex, route: Route, asked: _Asked) -> Ranked:
        depth = max(self._tuning.depth, asked.k)
        return index.words(caller, asked.terms, cap=route.candidate_cap, depth=depth)

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
                _asked(caller, state, query, vector, k=k, mode=mode)
                for query, vector in zip(queries, vectors, strict=True)
            ]
            # A filter is the database's to judge.
            index = self._resident.at(caller, state.space_id, state.version) if self._resident and not filters else None
            statements = [
                await self._held(caller, index, route, one, space=space)
                or self._statement(caller, state, route, one, space=space, filters=filters, index=index)
                for one in asked
            ]
            now, *found = await self._database.read(
                caller, state_query(caller), *statements, is_snapshot=True, settings=_graph_settings(route)
            )
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

    async def _held(
        self, caller: Caller, index: ResidentIndex | None, route: Route, asked: _Asked, *, space: EmbeddingSpace
    ) -> Query | None:
        """Return what reads the passages that memory finds; None where it cannot answer every side."""
        if index is None or (asked.vector is not None and index.vectors is None):
            return None

        def find() -> Candidates:
            words = nearest = None
            if asked.mode is not SearchMode.VECTOR:
                words = self._words(caller, index, route, asked)
            if asked.vector is not None:
                nearest = index.nearest(caller, asked.vector, depth=max(self._tuning.depth, asked.k))
            return index.fused(words, nearest, asked.vector, share=self._share(space), limit=asked.k)

        found = await _in_thread_if_large(index, find)
        statement, names = held_statement(frozenset(found.parts))
        parameters: dict[str, Any] = {
            "workspace_id": caller.workspace_id,
            "sees_all": caller.sees_all,
            "principals": list(caller.principals),
            "held_ids": found.ids,
            "held_scores": found.scores,
            **{f"held_{side}": scores for side, scores in found.parts.items()},
        }
        return statement, {name: parameters[name] for name in names}

    def _share(self, space: EmbeddingSpace) -> float:
        return self._tuning.vector_share if self._tuning.vector_share is not None else vector_share(space.model)

    def _statement(
        self,
        caller: Caller,
        state: IndexState,
        route: Route,
        asked: _Asked,
        *,
        space: EmbeddingSpace,
        filters: Mapping[str, Any],
        index: ResidentIndex | None,
    ) -> Query:
        """Return what asks the database; where there was only room for words, memory proposes those."""
        proposed = None
        if index is not None and asked.mode is not SearchMode.VECTOR:
            proposed = index.proposed(self._words(caller, index, route, asked))
        statement, names = search_statement(
            str(asked.mode),
            route,
            dimensions=state.dimensions,
            filters=frozenset(filters),
            share=self._share(space),
            has_words=proposed is not None,
        )
        parameters: dict[str, Any] = {
            **filters,
            "workspace_id": caller.workspace_id,
            "space_id": state.space_id,
            "limit": asked.k,
            "depth": max(self._tuning.depth, asked.k),
            "vector": vector_literal(asked.vector) if asked.vector is not None else None,
            "terms": list(asked.terms),
            "weights": list(asked.terms.values()),
            "candidate_cap": route.candidate_cap,
            "sees_all": caller.sees_all,
            "principals": list(caller.principals),
        }
        if proposed is not None:
            parameters |= {"lexical_ids": proposed.ids, "lexical_scores": proposed.scores}
        return statement, {name: parameters[name] for name in names}

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


async def _in_thread_if_large[T](index: ResidentIndex, find: Callable[[], T]) -> T:
    """Look into an index: others would wait for a large one, to change threads costs more than a small one."""
    return await run_sync(find) if len(index.ids) >= OTHER_THREAD_FROM_CHUNKS else find()


def _graph_settings(route: Route) -> dict[str, str]:
    return {} if route.graph_list is None else {"hnsw.ef_search": str(route.graph_list)}
