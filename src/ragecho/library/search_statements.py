"""What is asked of the database for one question: the passages that memory found, or the whole search."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from anyio.to_thread import run_sync

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import WorkspaceId
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.library import analysis
from ragecho.library.fusion import vector_share
from ragecho.library.literals import vector_literal
from ragecho.library.query.queries import Query as Wording
from ragecho.library.resident_index import Candidates, Ranked, ResidentIndex
from ragecho.library.search_route import IndexState, Route, SearchTuning
from ragecho.library.search_sql import held_statement, search_statement
from ragecho.platform.database import Query, array_literal
from ragecho.ports.embedder import Vectors

OTHER_THREAD_FROM_CHUNKS = 150_000


class SearchMode(StrEnum):
    """Which signals are used."""

    HYBRID = "hybrid"
    VECTOR = "vector"
    LEXICAL = "lexical"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the index takes it: its terms' ids with how often each stands in it, and its unit vector."""

    terms: Mapping[int, float]
    vector: Vectors | None
    k: int
    mode: SearchMode


def asked_of(
    caller: Caller, state: IndexState, query: Wording, vector: Vectors | None, *, k: int, mode: SearchMode
) -> Asked:
    """Return a wording as the index takes it; a made-up answer is searched by its meaning only."""
    if query.embed_as_passage:
        mode = SearchMode.VECTOR
    is_by_words = mode is not SearchMode.VECTOR
    terms = _terms_of(caller.workspace_id, query.text, state.stemmings) if is_by_words else MappingProxyType({})
    return Asked(terms, vector, k, mode)


@lru_cache(maxsize=256)
def _terms_of(workspace_id: WorkspaceId, question: str, stemmings: tuple[str, ...]) -> Mapping[int, float]:
    """Return a question's terms; asked for twice in a search, while the model is at work and after it."""
    words = analysis.query_terms_of(question, stemmings)
    ids = analysis.TermIds(workspace_id).of(words)
    return MappingProxyType(dict(zip(ids, map(float, words.values()), strict=True)))


class Statements:
    """Makes the statements of questions with the constants of retrieval."""

    def __init__(self, tuning: SearchTuning) -> None:
        self._tuning = tuning

    def words(self, caller: Caller, index: ResidentIndex, route: Route, asked: Asked) -> Ranked:
        """Return what an index in memory finds by words."""
        depth = max(self._tuning.depth, asked.k)
        return index.words(caller, asked.terms, cap=route.candidate_cap, depth=depth)

    async def of_memory(
        self, caller: Caller, index: ResidentIndex | None, route: Route, asked: Asked, *, space: EmbeddingSpace
    ) -> Query | None:
        """Return what reads the passages that memory finds; None where it cannot answer every side."""
        if index is None or (asked.vector is not None and index.vectors is None):
            return None

        def find() -> Candidates:
            words = nearest = None
            if asked.mode is not SearchMode.VECTOR:
                words = self.words(caller, index, route, asked)
            if asked.vector is not None:
                nearest = index.nearest(caller, asked.vector, depth=max(self._tuning.depth, asked.k))
            return index.fused(words, nearest, asked.vector, share=self._share(space), limit=asked.k)

        found = await in_thread_if_large(index, find)
        parameters: dict[str, Any] = {
            "workspace_id": caller.workspace_id,
            "sees_all": caller.sees_all,
            "principals": array_literal(caller.principals),
            "held_ids": found.ids,
            "held_scores": found.scores,
            **{f"held_{side}": scores for side, scores in found.parts.items()},
        }
        return held_statement(frozenset(found.parts)), parameters

    def _share(self, space: EmbeddingSpace) -> float:
        return self._tuning.vector_share if self._tuning.vector_share is not None else vector_share(space.model)

    def of_database(
        self,
        caller: Caller,
        state: IndexState,
        route: Route,
        asked: Asked,
        *,
        space: EmbeddingSpace,
        filters: Mapping[str, Any],
        index: ResidentIndex | None,
    ) -> Query:
        """Return what asks the database; where there was only room for words, memory proposes those."""
        proposed = None
        if index is not None and asked.mode is not SearchMode.VECTOR:
            proposed = index.proposed(self.words(caller, index, route, asked))
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
            "principals": array_literal(caller.principals),
        }
        if proposed is not None:
            parameters |= {"lexical_ids": proposed.ids, "lexical_scores": proposed.scores}
        return statement, {name: parameters[name] for name in names}


async def in_thread_if_large[T](index: ResidentIndex, find: Callable[[], T]) -> T:
    """Look into an index: others would wait for a large one, to change threads costs more than a small one."""
    return await run_sync(find) if len(index.ids) >= OTHER_THREAD_FROM_CHUNKS else find()
