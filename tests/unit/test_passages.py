"""A citation names the page of its words, not of its chunk."""

from uuid import UUID

import pytest

from ragecho.ingest.steps.analyse import analyse
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId, WorkspaceId
from ragecho.kernel.parsed import Page
from ragecho.kernel.passages import ChunkSpan, Passage

ANY = UUID(int=1)


def passage(page: int | None, breaks: tuple[int, ...]) -> Passage:
    return Passage(
        ChunkId(ANY), DocumentId(ANY), VersionId(ANY), "f", None, (), page, 0, 100, "x" * 100, "", 1.0, {}, breaks
    )


@pytest.mark.parametrize(("offset", "page"), [(0, 3), (39, 3), (40, 4), (69, 4), (70, 6), (99, 6)])
def test_the_page_of_an_offset_counts_empty_pages_too(offset: int, page: int) -> None:
    assert passage(3, (40, 70, 70)).page_at(offset) == page


def test_a_document_without_pages_has_none_to_cite() -> None:
    assert passage(None, ()).page_at(10) is None


def test_page_breaks_of_a_chunk_are_the_pages_that_start_inside_it() -> None:
    pages = [Page(1, 0, 50), Page(2, 50, 80), Page(3, 80, 80), Page(4, 80, 200), Page(5, 200, 300)]
    span = ChunkSpan(0, 60, 180, "word " * 24, (), 2, 30, "word " * 24)
    (row,) = analyse(WorkspaceId(ANY), [span], [[1.0, 0.0]], pages)
    assert row.page_breaks == (80, 80)
