"""Text to index terms: the one analysis that documents and questions share.

Unicode words (NFKC, case-folded), stop words left out, stemmed by the Snowball algorithm of the document's language; runs
of Han, Kana, Hangul, Thai and other scripts that are written without spaces become overlapping pairs of characters. A
question is stemmed in every language that its workspace holds: nobody has to say which one it is in. A term's id is a hash of workspace and term, so the
posting lists of the shared GIN index never mix tenants and need no table of words.
"""

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from hashlib import blake2b

import Stemmer

from ragecho.kernel.ids import WorkspaceId

# Stored terms are comparable only within one version; a change needs a new embedding space (its `chunking` names this).
ANALYSIS_VERSION = "terms2"
# sparsevec counts its dimensions from 1 to 10^9.
TERM_SPACE = 1_000_000_000

UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f"
)
# What stands on letters and belongs to the word, and the scripts of India, whose vowel signs are no letters to `re`.
_MARKS = (
    r"\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    r"\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0900-\u0963\u0966-\u0df3"
)
_LETTERS = rf"(?:[^\W_{UNSPACED}]|[{_MARKS}])+"
_TOKEN = re.compile(rf"[{UNSPACED}]+|{_LETTERS}(?:['’]{_LETTERS})*")
_UNSPACED_START = re.compile(rf"[{UNSPACED}]")
_POSSESSIVE = re.compile(r"['’]s?$")
_ENGLISH_STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "some",
        "such",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whom",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
_local = threading.local()


ENGLISH = "english"
# ISO 639-1 codes to Snowball's algorithms. What is not named here is stemmed as English: a Japanese manual is full of it.
_ALGORITHMS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": ENGLISH,
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
# Lists that are short enough to hold no words of meaning; other languages go without, their frequent words weigh little.
_WITH_STOP_WORDS = frozenset(
    [
        "catalan",
        "danish",
        "dutch",
        "french",
        "german",
        "italian",
        "norwegian",
        "polish",
        "portuguese",
        "russian",
        "swedish",
    ]
)


def algorithm_of(language: str | None) -> str:
    """Return the name of the stemming that texts in a language (ISO 639-1, None when unknown) get."""
    return _ALGORITHMS.get(language or "en", ENGLISH)


def terms_of(text: str, algorithm: str = ENGLISH) -> list[str]:
    """Return the index terms of `text`, in order, repeated as often as they stand there."""
    words: list[str] = []
    stop_words = _stop_words(algorithm)
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        token = match.group()
        if _UNSPACED_START.match(token):
            words.extend(_pairs(token))
            continue
        token = _POSSESSIVE.sub("", token)
        if token and token not in stop_words:
            words.append(token)
    return list(_stemmer(algorithm).stemWords(words))


def query_terms_of(text: str, algorithms: Iterable[str] = (ENGLISH,)) -> dict[str, int]:
    """Return the distinct terms of a question in each way of stemming, and how often each stands there.

    Stop words alone are kept if all else is empty.
    """
    found: dict[str, int] = {}
    for algorithm in sorted(set(algorithms)) or [ENGLISH]:
        for term, times in Counter(terms_of(text, algorithm)).items():
            found[term] = max(times, found.get(term, 0))
    if found:
        return found
    return dict(Counter(match.group() for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text).casefold())))


def stems_of(words: Sequence[str], algorithm: str = ENGLISH) -> list[str]:
    """Return the stem of each of some words, case-folded and of letters only, in order."""
    return list(_stemmer(algorithm).stemWords(words))


def is_stop_word(word: str, algorithm: str = ENGLISH) -> bool:
    """Tell whether a word, case-folded, is left out of the index of texts in a language."""
    return word in _stop_words(algorithm)


class TermIds:
    """Ids of terms in one workspace."""

    def __init__(self, workspace_id: WorkspaceId) -> None:
        self._key = workspace_id.bytes

    def of(self, terms: Iterable[str]) -> list[int]:
        """Return the ids of `terms`, in order, each 1 to 10^9."""
        return [_term_id(self._key, term) for term in terms]


def count(ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return distinct term ids in ascending order, and how often each occurs (at most 32 767)."""
    counted = sorted(Counter(ids).items())
    return [term for term, _ in counted], [min(times, 32_767) for _, times in counted]


@lru_cache(maxsize=200_000)
def _term_id(key: bytes, term: str) -> int:
    return int.from_bytes(blake2b(term.encode(), digest_size=8, key=key).digest()) % TERM_SPACE + 1


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]


@cache
def _stop_words(algorithm: str) -> frozenset[str]:
    if algorithm == ENGLISH:
        return _ENGLISH_STOP_WORDS
    if algorithm not in _WITH_STOP_WORDS:
        return frozenset()
    from stop_words import get_stop_words

    return frozenset(word.strip().casefold() for word in get_stop_words(algorithm))


def _stemmer(algorithm: str) -> "Stemmer.Stemmer":
    # A Snowball stemmer is not thread-safe.
    known: dict[str, Stemmer.Stemmer] = _local.__dict__.setdefault("stemmers", {})
    if algorithm not in known:
        known[algorithm] = Stemmer.Stemmer(algorithm)
    return known[algorithm]
