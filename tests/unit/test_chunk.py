"""What every chunk keeps true, whatever the document."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragecho.ingest.steps.chunk import chunk
from ragecho.kernel.parsed import Block, BlockKind, ParsedDocument
from ragecho.kernel.passages import ChunkSpan


class WordTokens:
    """Counts words; as a tokenizer, it is the simplest that is right."""

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[match.span() for match in re.finditer(r"\w+|[^\w\s]", text)] for text in texts]

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(found) for found in self.offsets(texts)]


class GreedyTokens:
    """Tokens of up to four characters from the start of a word: a part of a text may count more than its share."""

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[match.span() for match in re.finditer(r"[^\W\d]{1,4}|\d|[^\w\s]|_", text)] for text in texts]

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(found) for found in self.offsets(texts)]


def document_of(parts: Sequence[tuple[BlockKind, str]]) -> ParsedDocument:
    text = ""
    blocks: list[Block] = []
    path: tuple[str, ...] = ()
    for kind, part in parts:
        text += "\n\n" if text else ""
        own_path = () if kind is BlockKind.HEADING else path
        blocks.append(Block(kind, len(text), len(text) + len(part), int(kind is BlockKind.HEADING), own_path, page=1))
        text += part
        if kind is BlockKind.HEADING:
            path = (" ".join(part.split()),)
    return ParsedDocument(text, tuple(blocks), (), "text/plain", "test")


WORD = st.text(alphabet="abcdeäé字", min_size=1, max_size=9)
SENTENCE = st.lists(WORD, min_size=1, max_size=25).map(lambda words: " ".join(words).capitalize() + ".")
PARAGRAPH = st.lists(SENTENCE, min_size=1, max_size=8).map(" ".join)
HEADING = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
ROW = st.lists(WORD, min_size=3, max_size=3).map(lambda cells: "| " + " | ".join(cells) + " |")
TABLE = st.lists(ROW, min_size=2, max_size=30).map(lambda rows: "\n".join([rows[0], "| - | - | - |", *rows[1:]]))
LONG = st.text(alphabet="xyz", min_size=1, max_size=60).map(lambda word: word * 40)
PART = st.one_of(
    st.tuples(st.just(BlockKind.PARAGRAPH), PARAGRAPH),
    st.tuples(st.just(BlockKind.LIST_ITEM), SENTENCE),
    st.tuples(st.just(BlockKind.HEADING), HEADING),
    st.tuples(st.just(BlockKind.TABLE), TABLE),
    st.tuples(st.just(BlockKind.CODE), LONG),
    st.tuples(st.just(BlockKind.FOOTER), SENTENCE),
)
DOCUMENT = st.lists(PART, max_size=25).map(document_of)
LIMIT = st.sampled_from([24, 40, 100, 512])


def chunked(document: ParsedDocument, limit: int) -> list[ChunkSpan]:
    return chunk(document, title="The title", tokens=WordTokens(), max_tokens=limit, overlap_tokens=limit // 8)


@given(DOCUMENT, LIMIT)
def test_every_visible_character_outside_headers_and_footers_is_in_a_chunk(doc: ParsedDocument, limit: int) -> None:
    covered = bytearray(len(doc.text))
    for one in chunked(doc, limit):
        covered[one.start : one.end] = b"\1" * (one.end - one.start)
    for block in doc.blocks:
        for place in range(block.start, block.end):
            if not doc.text[place].isspace():
                assert covered[place] == (block.kind is not BlockKind.FOOTER)


@given(DOCUMENT, LIMIT)
def test_chunks_are_spans_in_order_that_make_progress(doc: ParsedDocument, limit: int) -> None:
    chunks = chunked(doc, limit)
    assert [one.ordinal for one in chunks] == list(range(len(chunks)))
    for one in chunks:
        assert one.text == doc.text[one.start : one.end]
        assert one.text == one.text.strip() != ""
        assert one.embedded_text.endswith(one.text)
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end


@given(DOCUMENT, LIMIT)
def test_no_chunk_is_longer_than_the_limit_and_the_count_is_exact(doc: ParsedDocument, limit: int) -> None:
    for one in chunked(doc, limit):
        assert one.tokens == len(WordTokens().offsets([one.embedded_text])[0]) + 2 <= limit


@given(DOCUMENT, st.sampled_from([100, 512]))
def test_a_tokenizer_that_counts_parts_as_longer_never_breaks_the_limit(doc: ParsedDocument, limit: int) -> None:
    for one in chunk(doc, title="T", tokens=GreedyTokens(), max_tokens=limit, overlap_tokens=8):
        assert one.tokens == len(GreedyTokens().offsets([one.embedded_text])[0]) + 2 <= limit


@given(DOCUMENT, LIMIT)
def test_neighbours_share_no_more_than_the_overlap(doc: ParsedDocument, limit: int) -> None:
    chunks = chunked(doc, limit)
    ends_with_heading = {block.end for block in doc.blocks if block.kind is BlockKind.HEADING}
    for before, after in pairwise(chunks):
        shared = doc.text[after.start : before.end] if after.start < before.end else ""
        if after.end not in ends_with_heading:
            assert len(WordTokens().offsets([shared])[0]) <= limit // 8


@given(st.lists(PART.filter(lambda part: part[0] is not BlockKind.FOOTER), max_size=25).map(document_of), LIMIT)
@settings(max_examples=100)
def test_no_chunk_is_a_mere_heading_unless_the_document_is(doc: ParsedDocument, limit: int) -> None:
    def is_mere_heading(one: ChunkSpan) -> bool:
        touched = [block for block in doc.blocks if block.start < one.end and one.start < block.end]
        return all(block.kind is BlockKind.HEADING for block in touched)

    longest_run = max((len(run) for run in re.findall("h+", "".join(b.kind[0] for b in doc.blocks))), default=0)
    chunks = chunked(doc, limit)
    if longest_run * 4 < limit // 4 and any(block.kind is not BlockKind.HEADING for block in doc.blocks):
        assert not any(is_mere_heading(one) for one in chunks)


@given(DOCUMENT)
def test_the_same_document_gives_the_same_chunks(doc: ParsedDocument) -> None:
    assert chunked(doc, 64) == chunked(doc, 64)


def paragraph(words: int) -> tuple[BlockKind, str]:
    return BlockKind.PARAGRAPH, " ".join(f"w{n}" for n in range(words - 1)) + "."


def test_a_heading_is_carried_over_to_the_text_it_heads() -> None:
    doc = document_of([(BlockKind.PARAGRAPH, "a " * 19 + "."), (BlockKind.HEADING, "Next"), paragraph(90)])
    chunks = chunk(doc, title="", tokens=WordTokens(), max_tokens=100, overlap_tokens=10)
    assert chunks[1].text.startswith("Next\n\nw0")
    assert chunks[1].heading_path == ("Next",)


def test_a_later_piece_of_a_table_carries_its_header_row_outside_the_span() -> None:
    rows = "\n".join(f"| name{n} | {n} |" for n in range(60))
    doc = document_of([(BlockKind.HEADING, "Prices"), (BlockKind.TABLE, f"| item | price |\n| - | - |\n{rows}")])
    chunks = chunk(doc, title="Shop", tokens=WordTokens(), max_tokens=100, overlap_tokens=10)
    assert len(chunks) > 2
    for one in chunks[1:]:
        assert one.embedded_text.startswith("Shop > Prices\n\n| item | price |\n| name")
        assert one.text.startswith("| name")
        assert one.text.endswith(" |")


def test_a_long_paragraph_is_cut_at_sentences_and_neighbours_overlap_by_whole_ones() -> None:
    sentences = [f"Sentence number {n} is here." for n in range(60)]
    doc = document_of([(BlockKind.PARAGRAPH, " ".join(sentences))])
    chunks = chunk(doc, title="", tokens=WordTokens(), max_tokens=62, overlap_tokens=13)
    for before, after in pairwise(chunks):
        assert before.text.endswith("here.")
        assert after.text.startswith("Sentence number")
        assert doc.text[after.start : before.end].count("here.") == 2


def test_small_sections_share_a_chunk_and_its_path_is_what_they_have_in_common() -> None:
    parts = [(BlockKind.HEADING, "A"), paragraph(5), (BlockKind.HEADING, "B"), paragraph(5)]
    (only,) = chunk(document_of(parts), title="T", tokens=WordTokens(), max_tokens=512)
    assert only.heading_path == ()
    assert only.embedded_text == f"T\n\n{only.text}"


def test_an_empty_document_has_no_chunks() -> None:
    assert chunk(document_of([]), title="T", tokens=WordTokens()) == []


def test_a_word_without_end_is_cut_by_length() -> None:
    doc = document_of([(BlockKind.PARAGRAPH, "x" * 100_000)])
    chunks = chunk(doc, title="", tokens=WordTokens(), max_tokens=512)
    assert max(len(one.text) for one in chunks) <= 512 * 16


@pytest.mark.parametrize(("limit", "overlap"), [(8, 0), (100, 50), (100, -1)])
def test_limits_that_leave_no_room_are_refused(limit: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="leave no room"):
        chunk(document_of([]), title="", tokens=WordTokens(), max_tokens=limit, overlap_tokens=overlap)
