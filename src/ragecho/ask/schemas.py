"""HTTP shapes of answering."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.ask.model import Answer, AskRequest
from ragecho.audit.records import AnswerRecord
from ragecho.kernel.passages import Citation, Passage, Usage
from ragecho.library.schemas import QueryOut, SearchFilters

Tag = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class TurnIn(BaseModel):
    """Something said before in the same conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant"]
    content: str = Field(max_length=20_000)


class AskIn(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(description="At most 4 000 characters.", examples=["How long is the notice period?"])
    k: int | None = Field(None, ge=1, le=50, description="Passages to answer from.")
    tags: list[Tag] = Field(default_factory=list, max_length=50, description="Only documents with all of these tags.")
    model: str | None = Field(None, max_length=200, description="A configured generator, or `extractive`.")
    filters: SearchFilters | None = None
    history: list[TurnIn] = Field(
        default_factory=list,
        max_length=50,
        description="What was said before, oldest first; used where query rewriting by history is configured.",
    )
    rewrite: bool = Field(
        True, description="Where query rewriting is configured; false searches the question as it is."
    )
    fresh: bool = Field(False, description="Answer anew, though the same question was answered a moment ago.")

    def to_request(self) -> AskRequest:
        """Return what the flow takes."""
        return AskRequest(
            question=self.question,
            k=self.k,
            wanted=(self.filters or SearchFilters()).with_tags(self.tags),
            model=self.model,
            history=tuple((turn.role, turn.content) for turn in self.history),
            is_rewritten=self.rewrite,
            is_fresh=self.fresh,
        )


class ChatIn(AskIn):
    """A question in a conversation; without `session_id` it stands alone."""

    session_id: UUID | None = None


class CitationOut(BaseModel):
    """Words quoted from a document; `start` and `end` count Unicode code points of its text."""

    n: int = Field(description="The number in the answer's text: `[n]`.")
    document_id: UUID
    filename: str
    page: int | None
    start: int
    end: int
    quote: str
    verified: bool = Field(description="The quote is the stored text, and it holds what the sentence says.")

    @classmethod
    def of(cls, citation: Citation) -> Self:
        """Return the shape of a citation."""
        return cls(
            n=citation.n,
            document_id=citation.document_id,
            filename=citation.filename,
            page=citation.page,
            start=citation.start,
            end=citation.end,
            quote=citation.quote,
            verified=citation.is_verified,
        )


class UsageOut(BaseModel):
    """Tokens of the generator."""

    input_tokens: int
    output_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Return the shape of a usage."""
        total = usage.input_tokens + usage.output_tokens
        return cls(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=total)


class AnswerOut(BaseModel):
    """An answer with its proof, or a refusal."""

    id: UUID
    answer: str
    citations: list[CitationOut]
    refused: bool
    refusal_reason: str | None = Field(
        description="no_passages, no_evidence, unsupported_answer or source_withdrawn; null when answered."
    )
    confidence: float = Field(description="Probability, from calibration, that the documents hold an answer.")
    model: str
    usage: UsageOut
    cost_usd: float
    timings_ms: dict[str, float]
    cached: bool = Field(description="It had been given before and still holds; its sources were read again.")
    queries: list[QueryOut] = Field(description="What was searched, the question itself first.")
    unsupported: list[str] = Field(description="Sentences of the answer for which no passage holds the words.")
    warnings: list[str]
    session_id: UUID | None = None

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """Return the shape of an answer."""
        return cls(
            id=answer.id,
            answer=answer.text,
            citations=[CitationOut.of(citation) for citation in answer.citations],
            refused=answer.is_refused,
            refusal_reason=answer.refusal_reason,
            confidence=answer.confidence,
            model=answer.model,
            usage=UsageOut.of(answer.usage),
            cost_usd=answer.usage.cost_usd,
            timings_ms=dict(answer.timings_ms),
            cached=answer.is_cached,
            queries=[QueryOut.model_validate(query) for query in answer.queries],
            unsupported=list(answer.unsupported),
            warnings=list(answer.warnings),
        )


class PassageOut(BaseModel):
    """A passage that was considered."""

    chunk_id: UUID
    document_id: UUID
    filename: str
    title: str | None
    page: int | None
    start: int
    end: int
    text: str
    score: float
    scores: dict[str, float]

    @classmethod
    def of(cls, passage: Passage) -> Self:
        """Return the shape of a passage."""
        return cls.model_validate(passage, from_attributes=True)


class RetrievedOut(BaseModel):
    """A passage in an answer's record: which words it was and what each signal said."""

    model_config = ConfigDict(from_attributes=True)

    chunk_id: UUID
    document_id: UUID
    version_id: UUID
    content_sha256: str
    scores: dict[str, float]


class RecordOut(AnswerOut):
    """The record of an answer: what is needed to explain and to replay it."""

    question: str
    created_at: datetime
    user_id: UUID | None
    api_key_id: UUID | None
    principals: list[str]
    prompt_version: str
    settings: dict[str, Any]
    retrieved: list[RetrievedOut]
    trace_id: str | None

    @classmethod
    def of_record(cls, record: AnswerRecord) -> Self:
        """Return the shape of a record."""
        return cls(
            id=record.id,
            answer=record.answer,
            citations=[CitationOut.of(citation) for citation in record.citations],
            refused=record.is_refused,
            refusal_reason=record.refusal_reason,
            confidence=record.confidence,
            model=record.model,
            usage=UsageOut.of(record.usage),
            cost_usd=record.usage.cost_usd,
            timings_ms=dict(record.timings_ms),
            cached=record.is_cached,
            queries=[QueryOut.model_validate(query) for query in record.queries],
            unsupported=list(record.unsupported),
            warnings=list(record.warnings),
            question=record.question,
            created_at=record.created_at,
            user_id=record.user_id,
            api_key_id=record.api_key_id,
            principals=list(record.principals),
            prompt_version=record.prompt_version,
            settings=dict(record.settings),
            retrieved=[RetrievedOut.model_validate(passage) for passage in record.retrieved],
            trace_id=record.trace_id,
        )
