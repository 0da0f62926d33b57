"""A workspace's lexical index, and the vectors of a small one, held in memory in one state: what SQL would find, sooner.

Ranks as the statements of `search_sql` and `ragecho_lexical_candidates` do (tests compare them): the same BM25, the same
cut to the rarest terms, the same order. It only proposes: whoever asks joins the ids to tables with policies, and takes
them only if the index is still in this state at that moment.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from ragecho.kernel.caller import Caller
from ragecho.library.literals import reals_literal

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]

# Callers of whom it is remembered which chunks they may read: a byte per chunk each.
_REMEMBERED_CALLERS = 32
# From this many times more postings than candidates on, looking candidates up beats going through the postings.
_LOOK_UP_FROM = 8


@dataclass(frozen=True, slots=True)
class Candidates:
    """Chunks with scores, best first, as PostgreSQL's array literals."""

    ids: str
    scores: str


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
        order = np.argsort(terms, kind="stable")
        ordered = terms[order]
        is_first = np.empty(len(ordered), dtype=bool)
        is_first[:1] = True
        np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
        starts = np.flatnonzero(is_first)
        numbers = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
        return cls(ordered[starts], np.append(starts, len(ordered)), numbers, weights[order])

    def places_of(self, terms: NDArray[np.int32]) -> Numbers:
        """Return where the terms are; -1 for those that no chunk has."""
        if not len(self.terms):
            return np.full(len(terms), -1)
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        return np.where(self.terms[places] == terms, places, -1)


@dataclass(slots=True)
class ResidentIndex:
    """One state of one workspace's index. Chunks are numbered in the order of their ids.

    `labels` gives each chunk's place in `label_sets`, the readers' labels. `vectors` is (chunks, dimensions) or None.
    """

    space_id: UUID
    version: int
    ids: NDArray[np.bytes_]
    postings: Postings
    labels: NDArray[np.int32]
    label_sets: Sequence[frozenset[str]]
    vectors: NDArray[np.float32] | None = None
    _masks: OrderedDict[tuple[str, ...], Mask | None] = field(default_factory=OrderedDict)

    @property
    def size_bytes(self) -> int:
        """Memory that is held, without Python's own."""
        held = self.postings
        size = held.terms.nbytes + held.starts.nbytes + held.numbers.nbytes + held.weights.nbytes
        return size + self.ids.nbytes + self.labels.nbytes + (0 if self.vectors is None else self.vectors.nbytes)

    def words(self, caller: Caller, terms: Mapping[int, float], *, cap: int | None, depth: int) -> Candidates:
        """Return the chunks that the caller may read, by BM25 over `terms` (id to weight in the question).

        Looked at are those that hold one of the rarest terms, as many terms as stand in `cap` chunks together, and one at least.
        """
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
        return self._best(candidates, scores, depth)

    def nearest(self, caller: Caller, vector: NDArray[np.float32], *, depth: int) -> Candidates:
        """Return the chunks that the caller may read, by inner product. Only where `vectors` are held."""
        assert self.vectors is not None
        # Stored vectors are of half precision, and so is the question's where the database compares them.
        scores = self.vectors @ vector.astype(np.float16).astype(np.float32)
        mask = self._mask(caller)
        numbers = np.arange(len(scores)) if mask is None else np.flatnonzero(mask)
        return self._best(numbers, scores if mask is None else scores[numbers], depth)

    def _best(self, numbers: Numbers, scores: NDArray[np.float32], depth: int) -> Candidates:
        if len(scores) > depth:
            least = np.partition(scores, len(scores) - depth)[len(scores) - depth]
            kept = np.flatnonzero(scores >= least)
            numbers, scores = numbers[kept], scores[kept]
        order = np.lexsort((numbers, -scores))[:depth]
        ids = b",".join(self.ids[numbers[order]].tolist()).decode()
        return Candidates("{" + ids + "}", reals_literal(scores[order]))

    def _mask(self, caller: Caller) -> Mask | None:
        """Return which chunks the caller may read; None for all."""
        if caller.sees_all:
            return None
        if caller.principals not in self._masks:
            principals = frozenset(caller.principals)
            may = np.fromiter((not principals.isdisjoint(one) for one in self.label_sets), dtype=bool)
            self._masks[caller.principals] = None if may.all() else may[self.labels]
            while len(self._masks) > _REMEMBERED_CALLERS:
                self._masks.popitem(last=False)
        self._masks.move_to_end(caller.principals)
        return self._masks[caller.principals]
