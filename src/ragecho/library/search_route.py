"""How a workspace is searched for one caller: through the whole index, or through the little that may be found.

A graph or a list of candidates that mostly leads to what a caller may not read finds too little and costs much; what is
readable, or passes a filter, is looked at directly while it is small. docs/how-to/benchmark.md has the measurements.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from ragecho.library import analysis


class Among(StrEnum):
    """What restricts the rows that are looked at besides their policy."""

    ALL = "all"
    READERS = "readers"
    DOCUMENTS = "documents"


@dataclass(frozen=True, slots=True)
class SearchTuning:
    """Constants of retrieval; docs/how-to/evaluate.md says how each was measured.

    `exact_below_chunks`: a workspace smaller than this is scanned. `few_chunks`: in a larger one, a caller who may read
    fewer, or a filter that leaves fewer, is served by a scan of those. `widest_cap`: how far `candidate_cap` is stretched
    for callers who may read a part. `long_list`: candidates in the graph's walk from `long_list_from_chunks` on, and
    where less than half may be found.
    """

    exact_below_chunks: int = 20_000
    few_chunks: int = 12_000
    candidate_cap: int = 5_000
    widest_cap: int = 100_000
    long_list: int = 200
    long_list_from_chunks: int = 300_000
    depth: int = 100
    vector_share: float | None = None  # None: as measured for the embedding model (fusion.py)


@dataclass(frozen=True, slots=True)
class IndexState:
    """What decides how a workspace is searched. `version` grows with every change that a search could show.

    `readable` are the chunks that the caller may read at most, by the labels' counts; `surely_readable` at least.
    `is_graphed`: all vectors are in the graph; those of a small workspace are not.
    """

    space_id: UUID
    dimensions: int
    chunks: int
    stemmings: tuple[str, ...] = (analysis.ENGLISH,)
    version: int = 0
    readable: int = 0
    surely_readable: int = 0
    is_graphed: bool = True

    def is_unsure(self, tuning: SearchTuning) -> bool:
        """Return whether the labels' counts leave open if the caller may read few chunks of a large workspace."""
        limit = tuning.few_chunks
        return self.chunks >= tuning.exact_below_chunks and self.surely_readable < limit <= self.readable < self.chunks


@dataclass(frozen=True, slots=True)
class Route:
    """How the two sides find their candidates. A `candidate_cap` of None ranks everything `among`.

    `graph_list` is how many candidates the walk through the graph keeps; None means the connection's default.
    """

    is_graph: bool
    vector_among: Among
    lexical_among: Among
    candidate_cap: int | None
    graph_list: int | None = None


def route_of(state: IndexState, tuning: SearchTuning, *, matching: int | None = None) -> Route:
    """Return the route for an index; `matching` is how many chunks a filter leaves (None without a filter)."""
    among = Among.ALL if matching is None else Among.DOCUMENTS
    found = min(state.chunks, state.readable if matching is None else matching)
    if state.chunks < tuning.exact_below_chunks:
        # The cap is for sizes at which ranking every row would be slow.
        return Route(False, among, among, _cap(found, state, tuning) if matching is None else None)
    if matching is None and found < state.chunks:
        among = Among.READERS
    is_few = found < tuning.few_chunks
    cap = None if found <= tuning.candidate_cap and among is not Among.ALL else _cap(found, state, tuning)
    # Where most is readable, finding rows by their labels too costs more than looking at some in vain.
    is_most = among is Among.READERS and 2 * found > state.chunks
    is_long = not is_few and (state.chunks >= tuning.long_list_from_chunks or 2 * found < state.chunks)
    return Route(
        state.is_graphed and not is_few,
        among if is_few else Among.ALL,
        Among.ALL if is_most else among,
        cap,
        tuning.long_list if is_long else None,
    )


def _cap(found: int, state: IndexState, tuning: SearchTuning) -> int:
    """Return the cap of rows looked at by their terms, of which only a share will be readable. Powers of two: few plans."""
    widening = 1 << round(math.log2(max(state.chunks, 1) / max(found, 1)))
    return min(tuning.candidate_cap * widening, max(tuning.widest_cap, tuning.candidate_cap))
