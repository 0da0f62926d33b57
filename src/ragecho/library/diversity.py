"""Fewer passages that say the same: texts that stand in several places, many passages of one document, near repetitions."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from ragecho.kernel.ids import DocumentId
from ragecho.kernel.passages import Passage
from ragecho.library.query.options import Duplicate

# Of two texts that differ in fewer words than this, one is shown; numbers are never among what may differ.
_SAME_WORDS: Final = 0.95
_SAME_LENGTH: Final = 0.9
_SAME_NEARNESS: Final = 0.02
_SAMPLE: Final = 24
_OVERLAPPING: Final = 0.5
_SPREAD: Final = 30
_POOL: Final = 100
_MEANING = re.compile(r"[^\W_]{4,}")


def fold(passages: Sequence[Passage], *, k: int) -> tuple[list[Passage], list[Duplicate]]:
    """Return the passages with repetitions left out, the last first, while more than `k` remain; and what was left out.

    So a repetition goes only where something else comes in its place. A repetition has the same text as a better passage,
    or all but the same words and exactly the same numbers, or is a window of the same document that lies half in a better one.
    """
    if len(passages) <= k:
        return list(passages), []
    repeated = _repeated(passages)
    gone = sorted(repeated, reverse=True)[: len(passages) - k]
    left_out = [_duplicate(passages[repeated[at]], passages[at]) for at in reversed(gone)]
    return [passage for at, passage in enumerate(passages) if at not in gone], left_out


def repeats(passages: Sequence[Passage]) -> bool:
    """Tell whether a passage repeats a better one."""
    return bool(_repeated(passages))


def _repeated(passages: Sequence[Passage]) -> dict[int, int]:
    """Return the place of each repetition, and of the passage that it repeats."""
    words: dict[int, frozenset[str]] = {}
    kept: list[int] = []
    found: dict[int, int] = {}
    about = [_about(passage) for passage in passages]
    by_digest: dict[str, int] = {}
    for at, passage in enumerate(passages):
        first = by_digest.get(passage.content_sha256)
        if first is None:
            first = next((one for one in kept if _is_repetition(about[one], about[at], words)), None)
        if first is not None:
            found[at] = first
            continue
        kept.append(at)
        by_digest[passage.content_sha256] = at
    return found


def _duplicate(first: Passage, passage: Passage) -> Duplicate:
    return Duplicate(first.chunk_id, passage.chunk_id, passage.document_id, passage.filename)


class _About(NamedTuple):
    """A passage, and the numbers by which nearly all pairs are told apart."""

    passage: Passage
    version: int
    nearness: float
    length: int


def _about(passage: Passage) -> _About:
    return _About(passage, passage.version_id.int, passage.scores.get("vector", 0.0), len(passage.text))


def _is_repetition(one: _About, other: _About, words: dict[int, frozenset[str]]) -> bool:
    if one.version == other.version and _overlaps(one.passage, other.passage):
        return True
    return (
        abs(one.nearness - other.nearness) <= _SAME_NEARNESS
        and min(one.length, other.length) >= _SAME_LENGTH * max(one.length, other.length)
        and _says_the_same(one.passage, other.passage, words)
    )


def _overlaps(one: Passage, other: Passage) -> bool:
    """Tell whether two windows of one version share more than half of the smaller one."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared > _OVERLAPPING * min(one.end - one.start, other.end - other.start)


def _says_the_same(one: Passage, other: Passage, words: dict[int, frozenset[str]]) -> bool:
    """Compare words only where some samples are the same: of what a search finds, next to nothing."""
    text, its_text = one.text, other.text
    shorter = min(len(text), len(its_text))
    middle, quarter = shorter // 2, shorter // 4
    if text[middle : middle + _SAMPLE] not in its_text and text[quarter : quarter + _SAMPLE] not in its_text:
        return False
    mine, its = (words.setdefault(id(passage), frozenset(passage.text.split())) for passage in (one, other))
    differing = mine ^ its
    if len(differing) > (1 - _SAME_WORDS) * (len(mine) + len(its)):
        return False
    return not any(any(map(str.isdigit, word)) for word in differing)


def capped(passages: Sequence[Passage], limit: int) -> list[Passage]:
    """Return at most `limit` passages of each document, the best ones."""
    seen: Counter[DocumentId] = Counter()
    kept = []
    for passage in passages:
        seen[passage.document_id] += 1
        if seen[passage.document_id] <= limit:
            kept.append(passage)
    return kept


def spread(passages: Sequence[Passage], k: int, weight: float) -> list[Passage]:
    """Return `k` passages by maximal marginal relevance (Carbonell and Goldstein 1998); likeness is shared words.

    `weight` 0 leaves the order as it is, 1 looks at nothing but likeness to what was chosen. From the 31st on the order is
    that of relevance.
    """
    if not weight or len(passages) <= 1:
        return list(passages[:k])
    if k > _SPREAD:
        # Whoever reads that far reads everything; comparing all with all would take too long.
        first = spread(passages[: max(k, _POOL)], _SPREAD, weight)
        shown = {passage.chunk_id for passage in first}
        return [*first, *(passage for passage in passages if passage.chunk_id not in shown)][:k]
    best = max(passage.score for passage in passages) or 1.0
    relevance = [passage.score / best for passage in passages]
    words = [frozenset(_MEANING.findall(passage.text.casefold())) for passage in passages]
    likeness = [0.0] * len(passages)
    left = list(range(len(passages)))
    chosen: list[int] = []
    while left and len(chosen) < k:
        place = max(left, key=lambda at: ((1 - weight) * relevance[at] - weight * likeness[at], -at))
        left.remove(place)
        chosen.append(place)
        for other in left:
            likeness[other] = max(likeness[other], _alike(words[place], words[other]))
    return [passages[place] for place in chosen]


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0
