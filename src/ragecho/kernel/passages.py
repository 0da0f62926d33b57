"""Chunks as they are stored, passages as they are found, citations as they are shown."""

from bisect import bisect_right
from dataclasses import dataclass, field
from uuid import UUID

from ragecho.kernel.ids import ChunkId, DocumentId, VersionId


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """A chunk before it is stored: a span of the document's text and the context that is embedded with it.

    `text[start:end]` of the document is the chunk's text. `page` is the page on which it starts (None without pages).
    `tokens` counts the embedder's tokens of prefix and text together. Chunks of one document overlap where asked to.
    """

    ordinal: int
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    tokens: int
    embedded_text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk found for a question. `scores` names each signal, e.g. vector, lexical, fused, rerank.

    `page` is where it starts; `page_breaks` are the offsets inside it at which the following pages start.
    """

    chunk_id: ChunkId
    document_id: DocumentId
    version_id: VersionId
    filename: str
    title: str | None
    heading_path: tuple[str, ...]
    page: int | None
    start: int
    end: int
    text: str
    content_sha256: str
    score: float
    scores: dict[str, float] = field(default_factory=dict)
    page_breaks: tuple[int, ...] = ()

    def page_at(self, offset: int) -> int | None:
        """Return the page that holds the code point at `offset` of the version's text; None without pages."""
        return None if self.page is None else self.page + bisect_right(self.page_breaks, offset)


@dataclass(frozen=True, slots=True)
class Citation:
    """Words quoted from a document. `n` is the number in the answer; offsets count code points of the version's text."""

    n: int
    document_id: DocumentId
    version_id: VersionId
    chunk_id: ChunkId
    filename: str
    page: int | None
    start: int
    end: int
    quote: str
    is_verified: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model call cost. Tokens are the model's own."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """A set of vectors that may be compared: model, revision, dimensions and chunking version (ARCHITECTURE decision 5)."""

    id: UUID
    model: str
    revision: str
    dimensions: int
    chunking: str
