"""Chunks and their vectors to rows of the index."""

from collections.abc import Sequence
from hashlib import sha256

from ragecho.kernel.ids import ChunkId, WorkspaceId, uuid7
from ragecho.kernel.parsed import Page
from ragecho.kernel.passages import ChunkSpan
from ragecho.library import analysis
from ragecho.library.model import IndexedChunk


def analyse(
    workspace_id: WorkspaceId,
    chunks: Sequence[ChunkSpan],
    vectors: Sequence[str],
    pages: Sequence[Page] = (),
    *,
    language: str | None = None,
) -> list[IndexedChunk]:
    """Return one row per chunk; `vectors` are in pgvector's text form. The lexical side indexes what was embedded: title and headings are findable words."""
    if len(chunks) != len(vectors):
        # Fewer vectors than chunks would be a silent loss; it has been one elsewhere.
        raise AssertionError(f"{len(chunks)} chunks but {len(vectors)} vectors")
    ids, algorithm = analysis.TermIds(workspace_id), analysis.algorithm_of(language)
    rows = []
    for chunk, vector in zip(chunks, vectors, strict=True):
        terms = ids.of(analysis.terms_of(chunk.embedded_text, algorithm))
        distinct, frequencies = analysis.count(terms)
        rows.append(
            IndexedChunk(
                id=ChunkId(uuid7()),
                ordinal=chunk.ordinal,
                start=chunk.start,
                end=chunk.end,
                page=chunk.page,
                page_breaks=tuple(page.start for page in pages if _follows(page, chunk)),
                heading_path=chunk.heading_path,
                tokens=chunk.tokens,
                sha256=sha256(chunk.text.encode()).digest(),
                text=chunk.text,
                embedding=vector,
                length=len(terms),
                terms=distinct,
                frequencies=frequencies,
            )
        )
    return rows


def _follows(page: Page, chunk: ChunkSpan) -> bool:
    return chunk.page is not None and page.number > chunk.page and page.start < chunk.end
