"""HTTP shapes of the library."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.ids import DocumentId, GroupId, UserId
from ragecho.kernel.passages import Passage
from ragecho.library.model import Document, NamedReaders, SearchFilter, StoredChunk
from ragecho.library.query.rewrite import Rewritten
from ragecho.library.rerank import Reranked
from ragecho.library.schemas_search import DuplicateOut, SearchChoices, SearchFacts, SpanOut, duplicates_of
from ragecho.library.search import Found, SearchMode
from ragecho.tenancy.grants import MAX_NAMED

Tag = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


class ReadersOut(BaseModel):
    """People and groups who may read a document besides its owner and those its access level names."""

    users: list[UUID]
    groups: list[UUID]


class ReadersIn(BaseModel):
    """Exactly these people and groups of the organisation, besides the owner and those the access level names."""

    model_config = ConfigDict(extra="forbid")

    users: list[UUID] = Field(default_factory=list, max_length=MAX_NAMED)
    groups: list[UUID] = Field(default_factory=list, max_length=MAX_NAMED)

    def to_named(self) -> NamedReaders:
        """Return what the library understands."""
        return NamedReaders(tuple(map(UserId, self.users)), tuple(map(GroupId, self.groups)))


class DocumentOut(BaseModel):
    """A document as its readers see it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    filename: str
    title: str | None
    content_type: str | None
    size_bytes: int
    sha256: str
    status: str = Field(examples=["ready"], description="queued, processing, ready or failed")
    error: dict[str, Any] | None
    progress: float
    pages: int | None
    chunks: int
    tags: list[str]
    metadata: dict[str, Any]
    access: Access
    owner_id: UUID | None
    readers: ReadersOut | None = Field(description="Who was named besides; null for callers who may not write.")
    version: int
    created_at: datetime
    updated_at: datetime
    language: str | None = Field(description="ISO 639-1, recognised.")
    authors: list[str] = Field(description="Who wrote it, as the file says.")
    written_at: datetime | None = Field(description="When it was written, as the file says.")

    @classmethod
    def of(cls, document: Document, caller: Caller) -> Self:
        """Return the shape of a document for this caller."""
        named = document.named_readers if caller.may(Permission.DOCUMENTS_WRITE) else None
        readers = ReadersOut(users=list(named.users), groups=list(named.groups)) if named else None
        fields = {name: getattr(document, name) for name in cls.model_fields if name != "readers"}
        return cls.model_validate({**fields, "readers": readers})


class DocumentPatch(BaseModel):
    """What to change; a field that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = None
    tags: list[Tag] | None = None
    metadata: dict[str, Any] | None = None
    access: Access | None = None
    readers: ReadersIn | None = Field(None, description="Replaces the people and groups who were named before.")


class ChunkOut(BaseModel):
    """A chunk: `start` and `end` count Unicode code points of the document's text."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    ordinal: int
    start: int
    end: int
    page: int | None
    heading_path: list[str]
    tokens: int
    text: str

    @classmethod
    def of(cls, chunk: StoredChunk) -> Self:
        """Return the shape of a chunk."""
        return cls.model_validate(chunk)


class SearchFilters(BaseModel):
    """Which documents to search; what is left out excludes nothing."""

    model_config = ConfigDict(extra="forbid")

    document_ids: list[UUID] | None = Field(None, max_length=1000)
    tags: list[Tag] = Field(default_factory=list, max_length=50, description="All of these tags.")
    any_tags: list[Tag] = Field(default_factory=list, max_length=50, description="At least one of these tags.")
    metadata: dict[str, Any] = Field(
        default_factory=dict, max_length=50, description="Holds these keys with these values."
    )
    created_from: datetime | None = Field(None, description="Uploaded then or later.")
    created_before: datetime | None = Field(None, description="Uploaded before.")
    content_types: list[str] = Field(default_factory=list, max_length=50, examples=[["application/pdf"]])
    access: list[Access] = Field(default_factory=list)
    filename: str = Field("", max_length=200, description="A part of the file's name, in any case.")

    @field_validator("created_from", "created_before")
    @classmethod
    def _in_utc_without_a_zone(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    def with_tags(self, tags: Sequence[str]) -> SearchFilter:
        """Return the filter, with documents that have all of `tags`."""
        ids = self.document_ids
        return SearchFilter(
            tags=tuple(dict.fromkeys([*tags, *self.tags])),
            documents=None if ids is None else tuple(DocumentId(one) for one in ids),
            any_tags=tuple(self.any_tags),
            metadata=self.metadata,
            created_from=self.created_from,
            created_before=self.created_before,
            content_types=tuple(self.content_types),
            access=tuple(self.access),
            filename=self.filename,
        )


class SearchIn(SearchChoices):
    """A search."""

    query: Question
    k: int = Field(10, ge=1, le=200)
    tags: list[Tag] = Field(default_factory=list, max_length=50, description="Only documents with all of these tags.")
    filters: SearchFilters | None = None
    mode: SearchMode = SearchMode.HYBRID
    rerank: bool = False
    rewrite: bool = Field(False, description="Let the configured language model word the query anew first.")


class SearchResult(BaseModel):
    """A passage that was found."""

    document_id: UUID
    filename: str
    title: str | None
    page: int | None
    start: int
    end: int
    text: str
    score: float
    scores: dict[str, float]
    chunk_id: UUID
    heading_path: list[str]
    matched: list[SpanOut] = Field(description="What was found in a text that was expanded; empty otherwise.")
    duplicates: list[DuplicateOut] = Field(description="Where this text stands as well.")

    @classmethod
    def of(cls, passage: Passage, found: Found) -> Self:
        """Return the shape of a passage among what was found."""
        return cls(
            matched=[SpanOut(start=start, end=end) for start, end in found.matches.get(passage.chunk_id, ())],
            duplicates=duplicates_of(passage.chunk_id, found.facts),
            document_id=passage.document_id,
            filename=passage.filename,
            title=passage.title,
            page=passage.page,
            start=passage.start,
            end=passage.end,
            text=passage.text,
            score=passage.score,
            scores=passage.scores,
            chunk_id=passage.chunk_id,
            heading_path=list(passage.heading_path),
        )


class QueryOut(BaseModel):
    """What was searched."""

    model_config = ConfigDict(from_attributes=True)

    text: str
    way: str | None = Field(description="How it came about: history, decompose, hyde or translate; null as asked.")


class SearchOut(SearchFacts):
    """Passages, best first, and how long each step took."""

    results: list[SearchResult]
    timings_ms: dict[str, float]
    queries: list[QueryOut] = Field(description="What was searched, the query itself first.")
    reranked: int | None = Field(description="How many passages the reranker read; null without one.")
    warnings: list[str] = Field(
        description="Stable words: rerank_failed, rerank_timeout (the order is as found), rewrite_failed:WAY."
    )

    @classmethod
    def of(cls, found: Found, asked: Rewritten, reranked: Reranked | None = None) -> Self:
        """Return the shape of what was found."""
        warnings = [f"rewrite_failed:{way}" for way in asked.failed]
        return cls(
            **SearchFacts.of_facts(found.facts).model_dump(),
            results=[SearchResult.of(passage, found) for passage in found.passages],
            timings_ms=found.timings_ms,
            queries=[QueryOut.model_validate(query) for query in asked.queries],
            reranked=reranked.judged if reranked else None,
            warnings=[*warnings, reranked.warning] if reranked and reranked.warning else warnings,
        )
