"""A workspace's lexical index and vectors, held in memory in one state: what SQL would find, sooner.

Ranks as the statements of `search_sql` and `ragecho_lexical_candidates` do (tests compare them): the same BM25, the same
cut to the rarest terms, the same fusion, the same order. It only proposes: whoever asks joins the ids to tables with
policies, and takes them only if the index is still in this state at that moment.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from ragecho.kernel.caller import Caller
from ragecho.library.fusion import BEYOND_SPREAD, SPREAD
from ragecho.library.literals import reals_literal
from ragecho.library.resident_vectors import Mask, Numbers, ResidentVectors

Reals = NDArray[np.float32] | NDArray[np.float64]

# Callers of whom it is remembered which chunks they may read: a byte per chunk each.
_REMEMBERED_CALLERS = 32
_UNKNOWN: Final = np.empty(0, dtype=bool)
_SORTED_AT_ONCE = 1 << 20
# Of 100 numbers and scores each.
_REMEMBERED_ANSWERS = 64
# From this many times more postings than candidates on, looking candidates up beats going through the postings.
_LOOK_UP_FROM = 8


@dataclass(frozen=True, slots=True)
class Ranked:
    """Chunks by number with scores, best first."""

    numbers: Numbers
    scores: Reals


@dataclass(frozen=True, slots=True)
class Candidates:
    """Chunks with scores, best first, as PostgreSQL's array literals. `parts` are a fused score's, by side; null for none."""

    ids: str
    scores: str
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Postings:
    """Chunks by term: those of `terms[i]` are `numbers[starts[i]:starts[i + 1]]`, ascending, with their BM25 weights."""

    terms: NDArray[np.int32]
    starts: Numbers
    numbers: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, terms: NDArray[np.int32], weights: NDArray[np.float32], lengths: Numbers) -> "Postings":
        """Turn chunks' own terms and weights, one chunk after the other, around; `lengths` are terms per chunk."""
        # Sorting numbers in place takes a quarter of the time of finding an order; blocks, because a large index has many.
        keys = terms.astype(np.uint64) << np.uint64(32)
        keys |= np.arange(len(terms), dtype=np.uint64)
        keys.sort()
        chunks = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        ordered, numbers, ordered_weights = np.empty_like(terms), np.empty_like(chunks), np.empty_like(weights)
        for first in range(0, len(keys), _SORTED_AT_ONCE):
            block = slice(first, first + _SORTED_AT_ONCE)
            ordered[block] = keys[block] >> np.uint64(32)
            order = (keys[block] & np.uint64(0xFFFFFFFF)).view(np.int64)
            numbers[block], ordered_weights[block] = chunks[order], weights[order]
        is_first = np.empty(len(ordered), dtype=bool)
        is_first[:1] = True
        np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
        starts = np.flatnonzero(is_first)
        return cls(ordered[starts], np.append(starts, len(ordered)), numbers, ordered_weights)

    def places_of(self, terms: NDArray[np.int32]) -> Numbers:
        """Return where the terms are; -1 for those that no chunk has."""
        if not len(self.terms):
            return np.full(len(terms), -1)
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        return np.where(self.terms[places] == terms, places, -1)


@dataclass(slots=True)
class ResidentIndex:
    """One state of one workspace's index. Chunks are numbered in the order of their ids.

    `labels` gives each chunk's place in `label_sets`, the readers' labels. `vectors` are None where there was no room.
    """

    space_id: UUID
    version: int
    ids: NDArray[np.bytes_]
    postings: Postings
    labels: NDArray[np.int32]
    label_sets: Sequence[frozenset[str]]
    vectors: ResidentVectors | None = None
    _masks: OrderedDict[tuple[str, ...], Mask | None] = field(default_factory=OrderedDict)
    _found: OrderedDict[Any, Ranked] = field(default_factory=OrderedDict)

    @property
    def size_bytes(self) -> int:
        """Memory that is held, without Python's own."""
        held = self.postings
        size = held.terms.nbytes + held.starts.nbytes + held.numbers.nbytes + held.weights.nbytes
        return size + self.ids.nbytes + self.labels.nbytes + (0 if self.vectors is None else self.vectors.nbytes)

    def is_of(self, space_id: UUID, version: int) -> bool:
        """Return whether this is the index of that state."""
        return (self.space_id, self.version) == (space_id, version)

    def words(self, caller: Caller, terms: Mapping[int, float], *, cap: int | None, depth: int) -> Ranked:
        """Return the chunks that the caller may read, by BM25 over `terms` (id to weight in the question).

        Looked at are those that hold one of the rarest terms, as many terms as stand in `cap` chunks together, and one at least.
        The last answers are remembered.
        """
        asked = (None if caller.sees_all else caller.principals, *terms.items(), cap, depth)
        known = self._found.get(asked)
        if known is None:
            known = self._found[asked] = self._words(caller, terms, cap=cap, depth=depth)
            while len(self._found) > _REMEMBERED_ANSWERS:
                self._found.popitem(last=False)
        return known

    def _words(self, caller: Caller, terms: Mapping[int, float], *, cap: int | None, depth: int) -> Ranked:
        wanted = np.fromiter(terms, dtype=np.int32, count=len(terms))
        times = np.fromiter(terms.values(), dtype=np.float64, count=len(terms))
        places = self.postings.places_of(wanted)
        is_known = places >= 0
        places, times = places[is_known], times[is_known]
        starts, ends = self.postings.starts[places], self.postings.starts[places + 1]
        frequencies = ends - starts
        total = len(self.ids)
        idf = (times * np.log(1 + (total - frequencies + 0.5) / (frequencies + 0.5))).astype(np.float32)
        rarest = np.lexsort((wanted[is_known], frequencies))
        if cap is not None and len(rarest):
            rarest = rarest[: max(1, int(np.searchsorted(np.cumsum(frequencies[rarest]), cap, side="right")))]
        is_candidate = np.zeros(total, dtype=bool)
        for place in rarest:
            is_candidate[self.postings.numbers[starts[place] : ends[place]]] = True
        mask = self._mask(caller)
        if mask is not None:
            is_candidate &= mask
        candidates = np.flatnonzero(is_candidate)
        scores = np.zeros(len(candidates), dtype=np.float32)
        spread = np.zeros(total, dtype=np.float32)
        for first, past, weight in zip(starts.tolist(), ends.tolist(), idf.tolist(), strict=True):
            numbers, weights = self.postings.numbers[first:past], self.postings.weights[first:past]
            if past - first < _LOOK_UP_FROM * len(candidates):
                spread[numbers] += weights * weight
            else:
                found = np.minimum(np.searchsorted(numbers, candidates), past - first - 1)
                scores += np.where(numbers[found] == candidates, weights[found] * weight, 0)
        scores += spread[candidates]
        return _best(candidates, scores, depth)

    def nearest(self, caller: Caller, vector: NDArray[np.float32], *, depth: int) -> Ranked:
        """Return the chunks that the caller may read, by inner product. Only where `vectors` are held."""
        assert self.vectors is not None
        return _best(*self.vectors.nearest(vector, self._mask(caller), depth), depth)

    def fused(
        self,
        words: Ranked | None,
        nearest: Ranked | None,
        vector: NDArray[np.float32] | None,
        *,
        share: float,
        limit: int,
    ) -> Candidates:
        """Return the best `limit` of both sides with their parts' scores; `share` is the vectors' (fusion.py)."""
        shares = {"vector": share, "lexical": 1 - share} if words and nearest else {"vector": 1.0, "lexical": 1.0}
        laid = [
            (side.numbers, lay(side.scores) * shares[name])
            for name, side, lay in (("vector", nearest, _laid_vectors), ("lexical", words, _laid_words))
            if side is not None
        ]
        numbers, places = np.unique(np.concatenate([numbers for numbers, _ in laid]), return_inverse=True)
        best = _best(numbers, np.bincount(places, np.concatenate([scores for _, scores in laid]), len(numbers)), limit)
        parts = {}
        if nearest is not None and vector is not None and self.vectors is not None:
            # What only the words found gets its similarity too: later steps judge by it.
            parts["vector"] = reals_literal(self.vectors.products(vector, best.numbers))
        if words is not None:
            parts["lexical"] = reals_literal(_scores_of(best.numbers, words))
        return self.proposed(best, parts)

    def proposed(self, ranked: Ranked, parts: Mapping[str, str] | None = None) -> Candidates:
        """Return what is ranked as literals."""
        ids = b",".join(self.ids[ranked.numbers].tolist()).decode()
        return Candidates("{" + ids + "}", reals_literal(ranked.scores), parts or {})

    def _mask(self, caller: Caller) -> Mask | None:
        """Return which chunks the caller may read; None for all."""
        if caller.sees_all:
            return None
        # Several threads look into a large index: what is in here may be gone a moment later.
        mask = self._masks.get(caller.principals, _UNKNOWN)
        if mask is _UNKNOWN:
            principals = frozenset(caller.principals)
            may = np.fromiter((not principals.isdisjoint(one) for one in self.label_sets), dtype=bool)
            mask = self._masks[caller.principals] = None if may.all() else may[self.labels]
            while len(self._masks) > _REMEMBERED_CALLERS:
                self._masks.popitem(last=False)
        return mask


def _best(numbers: Numbers, scores: Reals, depth: int) -> Ranked:
    if len(scores) > depth:
        least = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        kept = np.flatnonzero(scores >= least)
        numbers, scores = numbers[kept], scores[kept]
    order = np.lexsort((numbers, -scores))[:depth]
    return Ranked(numbers[order], scores[order])


def _laid_vectors(scores: Reals) -> NDArray[np.float64]:
    """Lay scores, best first, on 0 to 1 between the best and the SPREAD-th; deeper ones follow just below 0."""
    if not len(scores):
        return np.empty(0)
    least = float(scores[min(SPREAD, len(scores)) - 1])
    width = float(scores[0]) - least
    laid = (scores.astype(np.float64) - least) / width if width else np.ones(len(scores))
    return np.where(laid < 0, laid / BEYOND_SPREAD, laid)


def _laid_words(scores: Reals) -> NDArray[np.float64]:
    """Lay scores, best first, on 0 to 1 as shares of the best."""
    if not len(scores) or not scores[0]:
        return np.ones(len(scores))
    return scores.astype(np.float64) / float(scores[0])


def _scores_of(numbers: Numbers, ranked: Ranked) -> NDArray[np.float32]:
    """Return the scores of chunks as they are ranked; not a number for those that are not."""
    is_same = numbers[:, None] == ranked.numbers
    if not is_same.size:
        return np.full(len(numbers), np.nan, dtype=np.float32)
    return np.where(is_same.any(axis=1), ranked.scores[is_same.argmax(axis=1)], np.nan).astype(np.float32)
