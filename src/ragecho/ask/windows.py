"""Windows of a few sentences inside passages, and how much of a question's words they hold.

Judging and quoting both look at windows instead of whole passages: a cross-encoder reads a short window in a tenth of
the time, and one good sentence is not drowned by its neighbours.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Self

from ragecho.kernel.passages import Passage
from ragecho.kernel.sentences import sentence_spans
from ragecho.library.analysis import query_terms_of, terms_of

WINDOW_SENTENCES = 3
WINDOW_CHARS = 700
# Longer "sentences" (tables, code, lists without punctuation) are cut at line ends, so that a quote stays readable.
SENTENCE_CHARS = 400
HEADING_CHARS = 90
_MAX_SENTENCES = 120
_SENTENCE_ENDS = (".", "!", "?", ":", "…", "。", "！", "？", "：", "|", ";")
_BLANK_LINE = re.compile(r"[ \t]*\n[ \t]*\n")
_LINE = re.compile(r"[^\n]+")


@dataclass(frozen=True, slots=True)
class Window:
    """`text[start:end]` of the passage at `passage` (its index), made of the sentences `spans`, in order."""

    passage: int
    start: int
    end: int
    spans: tuple[tuple[int, int], ...]
    coverage: float = 0.0

    def at(self, passage: int) -> Self:
        """Return the same window for passages in another order."""
        return replace(self, passage=passage)


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """A window and how well it answers the question: the cross-encoder's probability, else the coverage."""

    window: Window
    score: float


def quotable_spans(text: str) -> list[tuple[int, int]]:
    """Return the smallest spans worth quoting: sentences, and single lines of what has no sentences."""
    spans: list[tuple[int, int]] = []
    for start, end in sentence_spans(text):
        piece = text[start:end]
        if end - start <= SENTENCE_CHARS or "\n" not in piece:
            spans.append((start, end))
            continue
        spans.extend((start + line.start(), start + line.end()) for line in re.finditer(r"\S[^\n]*\S|\S", piece))
    return [span for span in spans if not is_rule(text[span[0] : span[1]])][:_MAX_SENTENCES]


def windows_of(passage: int, text: str) -> list[Window]:
    """Return every window of up to three sentences of `text`, one starting at each sentence; the last ones are shorter."""
    spans = quotable_spans(text)
    windows: list[Window] = []
    for first in range(len(spans)):
        last = first
        while (
            last + 1 < len(spans)
            and last + 1 - first < WINDOW_SENTENCES
            and spans[last + 1][1] - spans[first][0] <= WINDOW_CHARS
        ):
            last += 1
        chosen = tuple(spans[first : last + 1])
        windows.append(Window(passage, chosen[0][0], chosen[-1][1], chosen))
        if last == len(spans) - 1:
            break
    return windows


def is_heading(text: str, start: int, end: int) -> bool:
    """Tell whether a span is a line that announces what follows: short, no full stop, a blank line after it."""
    line = text[start:end]
    is_short = end - start <= HEADING_CHARS and "\n" not in line
    return is_short and not line.rstrip().endswith(_SENTENCE_ENDS) and _BLANK_LINE.match(text, end) is not None


def is_rule(text: str) -> bool:
    """Tell whether this is the rule under a Markdown table's header, or white space: nothing to read."""
    return not any(char.isalnum() for char in text)


def table_head(text: str, position: int) -> tuple[int, int] | None:
    """Return the span of the header row of the Markdown table that `position` lies in, None above it or without one."""
    start = text.rfind("\n\n", 0, position) + 2 if "\n\n" in text[:position] else 0
    rows = [line for line in _LINE.finditer(text, start, position) if line[0].lstrip().startswith("|")]
    return (rows[0].start(), rows[0].end()) if rows else None


def reading_of(text: str, start: int, end: int) -> str:
    """Return a span as a reader takes it in: on one line, and a table row with the names of its columns.

    A cross-encoder sees nothing in "| Leipzig | 120 |"; "Plant: Leipzig, Output: 120" it understands.
    """
    lines = []
    for line in _LINE.finditer(text, start, end):
        head = table_head(text, line.start()) if line[0].lstrip().startswith("|") else None
        if head is None:
            lines.append(line[0])
            continue
        if is_rule(line[0]):
            continue
        names, cells = _cells(text[head[0] : head[1]]), _cells(line[0])
        pairs = zip_longest(names, cells[: len(names)], fillvalue="")
        lines.append(", ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell) + ".")
    return " ".join(" ".join(lines).split())


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def context_of(passage: Passage) -> str:
    """Return the title and headings above a passage: "it" in a sentence often means what they name."""
    parts = [passage.title or "", *passage.heading_path]
    return " > ".join(dict.fromkeys(part.strip() for part in parts if part.strip()))


def read_with_context(passage: Passage, start: int, end: int) -> str:
    """Return what the cross-encoder reads for a span of a passage."""
    text = reading_of(passage.text, start, end)
    context = context_of(passage)
    return f"{context}: {text}" if context and context not in text else text


def term_weights(question: str, passages: Sequence[Passage]) -> dict[str, float]:
    """Return the question's terms weighted by how rare they are among the passages (those in none weigh most).

    The weights add up to 1. An idf over what was retrieved needs no statistics of the whole library.
    """
    terms = query_terms_of(question)
    counts: Counter[str] = Counter()
    for passage in passages:
        counts.update(set(terms_of(f"{context_of(passage)} {passage.text}")) & terms.keys())
    raw = {term: math.log(1 + (len(passages) + 1) / (counts[term] + 0.5)) for term in terms}
    total = sum(raw.values()) or 1.0
    return {term: weight / total for term, weight in raw.items()}


def coverage(weights: Mapping[str, float], text: str) -> float:
    """Return the share of the weighted question terms that `text` contains, 0 to 1."""
    found = set(terms_of(text))
    return sum(weight for term, weight in weights.items() if term in found)


def best_windows(weights: Mapping[str, float], passages: Sequence[Passage], *, quotas: Sequence[int]) -> list[Window]:
    """Return the windows worth reading closely: for the n-th passage at most `quotas[n]`, by coverage, not overlapping."""
    chosen: list[Window] = []
    for index, (passage, quota) in enumerate(zip(passages, quotas, strict=False)):
        context = context_of(passage)
        windows = [
            Window(w.passage, w.start, w.end, w.spans, coverage(weights, f"{context} {passage.text[w.start : w.end]}"))
            for w in windows_of(index, passage.text)
        ]
        kept: list[Window] = []
        for window in sorted(windows, key=lambda w: (-w.coverage, w.start)):
            if len(kept) < quota and all(window.end <= k.start or window.start >= k.end for k in kept):
                kept.append(window)
        chosen.extend(kept)
    return chosen
