"""An answer made of quotes: the best one to four sentences, as they stand in the documents. No key, no invention.

The judge has already read windows of three sentences; here the sentences of the best windows are read one by one. The
result is deterministic: ties are broken by position.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragecho.ask.answers import CheckedSentence, Support
from ragecho.ask.identifiers import holds, identifiers_of
from ragecho.ask.windows import (
    ScoredWindow,
    coverage,
    is_heading,
    is_rule,
    quotable_spans,
    read_with_context,
    table_head,
    term_weights,
)
from ragecho.kernel.passages import Passage
from ragecho.library.analysis import terms_of
from ragecho.ports.reranker import Reranker

MAX_QUOTES = 4
# Sentences are taken from this many windows; their sum bounds the cost of the second reading.
_WINDOWS = 4
_MAX_CANDIDATES = 12
# A further sentence is quoted when it is likely enough by itself and not much worse than the best one.
_LIKELY = 0.5
_NOT_MUCH_WORSE = 0.6
# Without a cross-encoder only words are compared, and a second quote needs nearly the best one's share.
_NOT_MUCH_WORSE_BY_WORDS = 0.8
# When no sentence alone reaches this share of its window's score, the answer is spread over the window: quote it whole.
_ALONE = 0.35
_SAME_WORDS = 0.8
_MAX_LIST_CHARS = 1500
_ITEM = re.compile(r"\s*(?:[-*+•–]|\d{1,3}[.)]|[a-z][.)]|\|)\s")
_LINE = re.compile(r"[^\n]+")


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: int
    start: int
    end: int
    score: float


async def answer_extractively(
    question: str,
    passages: Sequence[Passage],
    windows: Sequence[ScoredWindow],
    *,
    reranker: Reranker | None,
    most: int = MAX_QUOTES,
) -> list[CheckedSentence]:
    """Return at most `most` quotes that answer the question, best passage first, in document order within a passage.

    Every quote's support is the span it was taken from. Empty only when there are no windows.
    """
    if not windows:
        return []
    candidates = await _candidates(question, passages, windows[:_WINDOWS], reranker)
    chosen = _choose(candidates, windows[0], passages, has_reader=reranker is not None)[:most]
    spans = [_with_list(span, passages[span.passage].text) for span in chosen]
    return [_quote(span, passages[span.passage].text) for span in _in_order(spans, passages)]


async def _candidates(
    question: str, passages: Sequence[Passage], windows: Sequence[ScoredWindow], reranker: Reranker | None
) -> list[_Candidate]:
    spans = list(dict.fromkeys((w.window.passage, *span) for w in windows for span in w.window.spans))
    says = [span for span in spans if not is_heading(passages[span[0]].text, *span[1:])]
    places = _about(identifiers_of(question), says or spans, passages)[:_MAX_CANDIDATES]
    texts = [read_with_context(passages[p], start, end) for p, start, end in places]
    if reranker is not None:
        scores = await reranker.score(question, texts)
    else:
        weights = term_weights(question, passages)
        scores = [coverage(weights, text) for text in texts]
    found = [_Candidate(*place, score) for place, score in zip(places, scores, strict=True)]
    return sorted(found, key=lambda c: (-c.score, c.passage, c.start))


def _about(
    identifiers: frozenset[str], spans: list[tuple[int, int, int]], passages: Sequence[Passage]
) -> list[tuple[int, int, int]]:
    """Return the spans that hold the code asked for, or all where it stands above them (in a heading, say)."""
    return [s for s in spans if holds(passages[s[0]].text[s[1] : s[2]], identifiers)] or spans


def _choose(
    candidates: Sequence[_Candidate], best_window: ScoredWindow, passages: Sequence[Passage], *, has_reader: bool
) -> list[_Candidate]:
    best = candidates[0]
    if has_reader and best.score < _ALONE * best_window.score:
        window = best_window.window
        text = passages[window.passage].text
        start = next((start for start, end in window.spans if not is_heading(text, start, end)), window.start)
        return [_Candidate(window.passage, start, window.end, best_window.score)]
    floor = max(_LIKELY, _NOT_MUCH_WORSE * best.score) if has_reader else _NOT_MUCH_WORSE_BY_WORDS * best.score
    chosen = [best]
    for candidate in candidates[1:]:
        if len(chosen) == MAX_QUOTES or candidate.score < floor:
            break
        if not any(_says_the_same(candidate, other, passages) for other in chosen):
            chosen.append(candidate)
    return chosen


def _says_the_same(a: _Candidate, b: _Candidate, passages: Sequence[Passage]) -> bool:
    """Tell whether two spans are the same words: overlapping chunks of one version, or near duplicates elsewhere."""
    one, other = passages[a.passage], passages[b.passage]
    if one.version_id == other.version_id:
        starts = one.start + a.start, other.start + b.start
        if max(starts) < min(one.start + a.end, other.start + b.end):
            return True
    words, others = set(terms_of(one.text[a.start : a.end])), set(terms_of(other.text[b.start : b.end]))
    return len(words & others) >= _SAME_WORDS * max(1, len(words | others))


def _with_list(span: _Candidate, text: str) -> _Candidate:
    """Return the span with the list that it introduces: what follows a colon is what was asked for."""
    if not text[span.start : span.end].rstrip().endswith((":", "：")):
        return span
    end = span.end
    for start, stop in quotable_spans(text):
        if start < span.end:
            continue
        if not _ITEM.match(text[start:stop] + " ") or stop - span.start > _MAX_LIST_CHARS:
            break
        end = stop
    return _Candidate(span.passage, span.start, end, span.score)


def _in_order(spans: Sequence[_Candidate], passages: Sequence[Passage]) -> list[_Candidate]:
    """Return the spans grouped by passage, the passage with the best one first; touching spans become one."""
    first_seen = {passage: rank for rank, passage in reversed(list(enumerate(s.passage for s in spans)))}
    ordered: list[_Candidate] = []
    for span in sorted(spans, key=lambda s: (first_seen[s.passage], s.start)):
        last = ordered[-1] if ordered else None
        touches = last is not None and last.passage == span.passage
        if last is not None and touches and not passages[span.passage].text[last.end : span.start].strip():
            ordered[-1] = _Candidate(last.passage, last.start, max(last.end, span.end), max(last.score, span.score))
            continue
        ordered.append(span)
    return ordered


def _quote(span: _Candidate, text: str) -> CheckedSentence:
    quoted = Support(span.passage, span.start, span.end, 1.0, is_supported=True)
    raw = text[span.start : span.end]
    if raw.lstrip().startswith("|"):
        head = table_head(text, span.start)
        if head is None:
            return CheckedSentence(raw, "\n\n", (quoted,))
        rule = _LINE.search(text, head[1])
        end = rule.end() if rule is not None and is_rule(rule[0]) else head[1]
        supports = (Support(span.passage, head[0], end, 1.0, is_supported=True), quoted)
        return CheckedSentence(f"{text[head[0] : end]}\n{raw}", "\n\n", supports)
    is_laid_out = "\n\n" in raw or "\n    " in raw or "\t" in raw or any(map(_ITEM.match, raw.split("\n")[1:]))
    if is_laid_out:
        return CheckedSentence(raw, "\n\n", (quoted,))
    # A line break inside a sentence is where the page was full; it means nothing here.
    return CheckedSentence(" ".join(raw.split()), " ", (quoted,))
