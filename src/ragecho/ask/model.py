"""What goes into answering and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ragecho.audit.records import AnswerRecord
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import AnswerId, ChunkId, VersionId
from ragecho.kernel.passages import Citation, Passage, Usage
from ragecho.library.caching import IndexVersion
from ragecho.library.model import SearchFilter
from ragecho.library.query.queries import Query
from ragecho.library.search import Found, SearchMode

EXTRACTIVE = "extractive"
REFUSAL_TEXT = "I found nothing in the documents that answers this question."


class PassageSource(Protocol):
    """The library, as answering needs it. No call keeps a database session open after it returns."""

    async def search(
        self,
        caller: Caller,
        *,
        query: str,
        k: int,
        mode: SearchMode = SearchMode.HYBRID,
        wanted: SearchFilter | None = None,
    ) -> Found:
        """Return the best `k` passages that the caller may read, best first."""
        ...

    async def search_all(
        self,
        caller: Caller,
        *,
        queries: Sequence[Query],
        k: int,
        mode: SearchMode = SearchMode.HYBRID,
        wanted: SearchFilter | None = None,
    ) -> Found:
        """Return the best `k` passages of several wordings of one question, best first."""
        ...

    async def index_version(self, caller: Caller) -> IndexVersion:
        """Return the state that the index is in now; every change that a search could show moves it."""
        ...

    async def readable(self, caller: Caller, passages: Sequence[Passage]) -> set[ChunkId]:
        """Return the chunks of those passages that the caller may read now."""
        ...

    async def version_text(self, caller: Caller, version_id: VersionId, *, start: int, end: int) -> str | None:
        """Return code points `start` to `end` of a version's stored text; None when it is not readable."""
        ...


class RecordStore(Protocol):
    """Where answers are kept."""

    async def record(self, caller: Caller, record: AnswerRecord) -> None:
        """Keep a record."""
        ...

    async def get(self, caller: Caller, answer_id: AnswerId) -> AnswerRecord | None:
        """Return the caller's own record, or None."""
        ...


@dataclass(frozen=True, slots=True)
class AskRequest:
    """A question. `k` passages are used (the configured number when None); `model` names one configured generator.

    `history` are the turns before it, oldest first (role, text). `is_rewritten`: where a rewriter is configured, it may word
    the question anew. `is_fresh`: an answer that was kept is not wanted.
    """

    question: str
    k: int | None = None
    wanted: SearchFilter = field(default_factory=SearchFilter)
    model: str | None = None
    mode: SearchMode = SearchMode.HYBRID
    history: tuple[tuple[str, str], ...] = ()
    is_rewritten: bool = True
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer or a refusal. Every `[n]` in `text` is a citation's `n`; a refusal has no citations.

    `refusal_reason` is no_passages, no_evidence, unsupported_answer or source_withdrawn. `unsupported` lists sentences
    of the answer for which no passage holds the words; `warnings` are stable words such as generation_failed. `queries` are
    what was searched, the question itself first.
    """

    id: AnswerId
    text: str
    citations: tuple[Citation, ...]
    is_refused: bool
    refusal_reason: str | None
    confidence: float
    model: str
    usage: Usage
    timings_ms: Mapping[str, float]
    unsupported: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_cached: bool = False
    queries: tuple[Query, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """A step begins: understand, retrieve, judge, generate, verify, or cache; `restart` means that what was streamed so far is void."""

    step: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PassagesFound:
    """The passages considered, best first."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """Words of the answer, checked; all tokens together are the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation whose mark is in the next token."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer, whole; the last event of a question that did not fail."""

    answer: Answer


Event = Status | PassagesFound | Token | Cited | Answered
