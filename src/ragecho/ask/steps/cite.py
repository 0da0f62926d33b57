"""A generated sentence with `[n]` marks to citations whose words are found in the passages.

Support is judged by words: the share of the sentence's content words (stemmed) that stand in a span of at most three
neighbouring sentences of the passage, and every number of the sentence must stand there too. What shares few words may
be a paraphrase: the cross-encoder, where there is one, decides those.
"""

import itertools
import re
from collections.abc import Sequence

from ragecho.ask.answers import CheckedSentence, Support
from ragecho.ask.windows import WINDOW_SENTENCES, context_of, quotable_spans
from ragecho.kernel.passages import Passage
from ragecho.kernel.sentences import sentence_spans
from ragecho.library.analysis import terms_of
from ragecho.ports.reranker import Reranker

MARK = re.compile(r"[ \t]?\[\s*(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\s*\]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# A sentence is supported when this share of its content words stands in the span it cites.
SUPPORTED = 0.5
# Without a mark, or when the marked passage does not hold the words, a passage that holds this share is cited instead.
SURELY_FROM = 0.75
# The cross-encoder's probability that a span is about what the sentence says; only for what shares few words.
PARAPHRASE = 0.5
# Fewer shared words than this and even a good cross-encoder's score is about the topic, not the statement.
LEAST_SHARED = 0.25
# A longer sentence is not given a longer quote: a further sentence must add this much support.
_GAIN = 0.12
# A span without the sentence's numbers gives way to one that has them.
_WITHOUT_NUMBERS = 0.5


def split_complete(buffer: str) -> tuple[list[str], str]:
    """Return the sentences of a growing text that are complete, each with what follows it, and the unfinished rest.

    The last sentence is never complete: a mark or its end may still be on the way.
    """
    spans = sentence_spans(buffer)
    if len(spans) < 2:  # noqa: PLR2004 - one is unfinished
        return [], buffer
    starts = [0, *[start for start, _ in spans[1:]]]
    pieces = [buffer[a:b] for a, b in itertools.pairwise(starts)]
    return pieces, buffer[starts[-1] :]


async def check_sentence(piece: str, passages: Sequence[Passage], *, reranker: Reranker | None) -> CheckedSentence:
    """Return the sentence with its marks resolved to spans of `passages` (mark `[1]` is `passages[0]`).

    Numbers of passages that were not shown are dropped. A wrong or missing mark is repaired only by clear words.
    """
    text, trailing = _without_marks(piece)
    wanted = [n - 1 for n in _marked(piece) if 1 <= n <= len(passages)]
    found = [_best_support(text, index, passages[index]) for index in wanted]
    supports = [support for support in found if support.is_supported]
    doubtful = [support for support in found if not support.is_supported]
    if not supports:
        supports = _surely_from(text, passages, exclude=wanted)
    if not supports and doubtful and reranker is not None:
        supports, doubtful = await _paraphrased(text, doubtful, passages, reranker)
    if supports:
        return CheckedSentence(text, trailing, tuple(supports))
    return CheckedSentence(text, trailing, tuple(doubtful))


def _marked(piece: str) -> list[int]:
    numbers = [int(n) for group in MARK.findall(piece) for n in re.findall(r"\d+", group)]
    return list(dict.fromkeys(numbers))


def _without_marks(piece: str) -> tuple[str, str]:
    """Return the sentence without marks and its trailing white space; "costs 5 [1]." becomes "costs 5."."""
    clean = MARK.sub("", piece)
    body = clean.rstrip()
    return body, clean[len(body) :]


def _surely_from(text: str, passages: Sequence[Passage], *, exclude: Sequence[int]) -> list[Support]:
    if len(terms_of(text)) < 3:  # noqa: PLR2004 - two words stand in many places by chance
        return []
    found = [_best_support(text, i, passage) for i, passage in enumerate(passages) if i not in exclude]
    sure = [support for support in found if support.is_supported and support.score >= SURELY_FROM]
    return [max(sure, key=lambda s: (s.score, -s.index))] if sure else []


def _best_support(text: str, index: int, passage: Passage) -> Support:
    """Return the span of up to three sentences that holds most of the sentence's words; a longer one must earn it."""
    terms, numbers = set(terms_of(text)), set(_numbers(text))
    context = context_of(passage)
    # Words of the headings count once the span itself shares one: "it" stands for them.
    known, known_numbers = set(terms_of(context)) & terms, set(_numbers(context))
    spans = quotable_spans(passage.text)
    held = [set(terms_of(passage.text[start:end])) & terms for start, end in spans]
    best, best_value = Support(index, 0, 0, 0.0, is_supported=False), -1.0
    for first in range(len(spans)):
        for last in range(first, min(first + WINDOW_SENTENCES, len(spans))):
            start, end = spans[first][0], spans[last][1]
            words = set().union(*held[first : last + 1])
            share = len(words | (known if words else set())) / (len(terms) or 1)
            has_numbers = numbers <= known_numbers | set(_numbers(passage.text[start:end]))
            value = share - _GAIN * (last - first) - (0 if has_numbers else _WITHOUT_NUMBERS)
            if value > best_value:
                best_value = value
                best = Support(index, start, end, share, is_supported=share >= SUPPORTED and has_numbers)
    return best


def _numbers(text: str) -> list[str]:
    return [number.replace(",", "").rstrip(".") for number in _NUMBER.findall(text)]


async def _paraphrased(
    text: str, doubtful: list[Support], passages: Sequence[Passage], reranker: Reranker
) -> tuple[list[Support], list[Support]]:
    candidates = [s for s in doubtful if s.score >= LEAST_SHARED and _numbers_stand_there(text, s, passages)]
    if not candidates:
        return [], doubtful
    quotes = [passages[s.index].text[s.start : s.end] for s in candidates]
    scores = await reranker.score(text, quotes)
    accepted = [
        Support(s.index, s.start, s.end, score, is_supported=True)
        for s, score in zip(candidates, scores, strict=True)
        if score >= PARAPHRASE
    ]
    return accepted, doubtful


def _numbers_stand_there(text: str, support: Support, passages: Sequence[Passage]) -> bool:
    passage = passages[support.index]
    return set(_numbers(text)) <= set(_numbers(f"{context_of(passage)} {passage.text[support.start : support.end]}"))
