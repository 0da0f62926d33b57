"""Exact identifiers in questions: part numbers, error codes, invoice numbers.

To a model SL-60 and SL-40 mean the same. To whoever asks they do not: what the documents say of one is no answer about
the other.
"""

import re
from collections.abc import Iterable
from itertools import pairwise

from ragecho.ask.windows import context_of
from ragecho.kernel.passages import Passage

_WORD = re.compile(r"[^\W_]+(?:[-_][^\W_]+)*")
_SEPARATORS = re.compile(r"[-_/.\s]+")
_MIN_LENGTH = 4


def identifiers_of(question: str) -> frozenset[str]:
    """Return the question's identifiers, normalised: words of capitals and digits such as SL-60 or K7-E042.

    Years, amounts, ordinals ("19th") and units ("15kg") are none; a code typed in small letters is not recognised.
    """
    found = (word for word in _WORD.findall(question) if _is_identifier(word))
    return frozenset(_normal(word) for word in found)


def mentions(passage: Passage, identifiers: Iterable[str]) -> bool:
    """Tell whether a passage, its title, headings or file name holds one of the identifiers."""
    return holds(f"{passage.filename} {context_of(passage)} {passage.text}", identifiers)


def holds(text: str, identifiers: Iterable[str]) -> bool:
    """Tell whether `text` holds one of the identifiers as a word of its own, with or without its hyphens."""
    words = text.split()
    normal = {_normal(part) for word in words for part in _WORD.findall(word)}
    # "SL 60" is written with a space at times.
    pairs = {_normal(a + b) for a, b in pairwise(words)}
    return any(identifier in normal or identifier in pairs for identifier in identifiers)


def _is_identifier(word: str) -> bool:
    capitals = sum(char.isupper() for char in word)
    is_coded = capitals > 1 or (capitals == 1 and ("-" in word or "_" in word))
    return is_coded and any(char.isdigit() for char in word) and len(word) >= _MIN_LENGTH


def _normal(word: str) -> str:
    return _SEPARATORS.sub("", word).casefold().strip(",;:!?()[]\"'")
