"""Text to index terms: the one analysis that documents and questions share.

Unicode words (NFKC, case-folded), stop words left out, stemmed by Snowball; runs of Han, Kana, Hangul and Thai, which
are written without spaces, become overlapping pairs of characters. A term's id is a hash of workspace and term, so the
posting lists of the shared GIN index never mix tenants and need no table of words.
"""

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

import Stemmer

from ragecho.kernel.ids import WorkspaceId

# Stored terms are comparable only within one version; a change needs a new embedding space (its `chunking` names this).
ANALYSIS_VERSION = "terms1"
# sparsevec counts its dimensions from 1 to 10^9.
TERM_SPACE = 1_000_000_000

_UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f"
_TOKEN = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")
_UNSPACED_START = re.compile(rf"[{_UNSPACED}]")
_POSSESSIVE = re.compile(r"['’]s?$")
_STOP_WORDS = frozenset(
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


def terms_of(text: str) -> list[str]:
    """Return the index terms of `text`, in order, repeated as often as they stand there."""
    words: list[str] = []
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        token = match.group()
        if _UNSPACED_START.match(token):
            words.extend(_pairs(token))
            continue
        token = _POSSESSIVE.sub("", token)
        if token and token not in _STOP_WORDS:
            words.append(token)
    return list(_stemmer().stemWords(words))


def query_terms_of(text: str) -> dict[str, int]:
    """Return the distinct terms of a question and how often each stands there; stop words alone are kept if all else is empty."""
    terms = terms_of(text)
    if not terms:
        terms = [match.group() for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text).casefold())]
    return dict(Counter(terms))


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


def _stemmer() -> "Stemmer.Stemmer":
    # A Snowball stemmer is not thread-safe.
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english")
    return _local.stemmer
