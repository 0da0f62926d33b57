"""HTTP shapes of the library."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.kernel.caller import Access
from ragecho.kernel.passages import Passage
from ragecho.library.model import Document, StoredChunk
from ragecho.library.search import Found, SearchMode

Tag = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


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
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, document: Document) -> Self:
        """Return the shape of a document."""
        return cls.model_validate(document)


class DocumentPatch(BaseModel):
    """What to change; a field that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = None
    tags: list[Tag] | None = None
    metadata: dict[str, Any] | None = None
    access: Access | None = None


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
    """Which documents to search."""

    model_config = ConfigDict(extra="forbid")

    document_ids: list[UUID] | None = Field(None, max_length=1000)


class SearchIn(BaseModel):
    """A search."""

    model_config = ConfigDict(extra="forbid")

    query: Question
    k: int = Field(10, ge=1, le=200)
    tags: list[Tag] = Field(default_factory=list, max_length=50, description="Only documents with all of these tags.")
    filters: SearchFilters | None = None
    mode: SearchMode = SearchMode.HYBRID
    rerank: bool = False


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

    @classmethod
    def of(cls, passage: Passage) -> Self:
        """Return the shape of a passage."""
        return cls(
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


class SearchOut(BaseModel):
    """Passages, best first, and how long each step took."""

    results: list[SearchResult]
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, found: Found) -> Self:
        """Return the shape of what was found."""
        return cls(results=[SearchResult.of(passage) for passage in found.passages], timings_ms=found.timings_ms)
