"""Parsed document to chunks: whole blocks under one heading, cut at sentences or rows, within the embedder's limit.

Each block is tokenised once; from then on every question about length is a search in one sorted array of token starts.
A chunk is a span of the document's text. What gives it context (title, headings, the header row of a table that was
cut) stands before it in `embedded_text` only, so that offsets stay those of the document.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from ragecho.kernel.parsed import Block, BlockKind, ParsedDocument
from ragecho.kernel.passages import ChunkSpan
from ragecho.kernel.sentences import sentence_spans
from ragecho.ports.embedder import TokenCounter

CHUNKING_VERSION = "blocks-1"

SPECIAL_TOKENS = 2  # what every encoder adds: [CLS] and [SEP], or <s> and </s>
LEAST_MAX_TOKENS = 16
# A word of 100,000 characters is a single unknown token to WordPiece; no chunk is longer than this per allowed token.
CHARACTERS_PER_TOKEN = 16
_TOKENIZE_CHARACTERS = (
    200_000  # tokenised in pieces of this size, so that the offsets of a long book are never all alive
)
_ASIDE = (BlockKind.HEADER, BlockKind.FOOTER)
_BY_LINES = (BlockKind.TABLE, BlockKind.CODE)


def chunk(
    document: ParsedDocument, *, title: str, tokens: TokenCounter, max_tokens: int = 512, overlap_tokens: int = 50
) -> list[ChunkSpan]:
    """Return the chunks of `document` in reading order; page headers and footers are in none of them.

    Every visible character of every other block is in at least one chunk. `tokens` of a chunk counts its prefix, its
    text and the two special tokens, and is at most `max_tokens`. Neighbours that were cut inside a section share whole
    sentences of up to `overlap_tokens`. A heading is never the end of a chunk when something follows that it heads.
    Raises `ValueError` for a `max_tokens` below 16 or an overlap of half of it and more.
    """
    if max_tokens < LEAST_MAX_TOKENS or not 0 <= overlap_tokens < max_tokens // 2:
        raise ValueError(f"max_tokens {max_tokens} and overlap_tokens {overlap_tokens} leave no room for text")
    measured = _Measured(document, tokens)
    prefixes = _Prefixes(title, tokens, max_tokens // 4)
    reserve = 0
    while True:
        packer = _Packer(measured, prefixes, max_tokens - SPECIAL_TOKENS - reserve, overlap_tokens)
        chunks = _finished(document, packer.pack(), tokens)
        excess = max((one.tokens for one in chunks), default=0) - max_tokens
        if excess <= 0:
            return chunks
        # Cut out of their surroundings, some words tokenise into more pieces: pack again with that much more room.
        reserve = min(reserve + excess, max_tokens // 2)
        if reserve == max_tokens // 2:
            raise ValueError("the tokenizer counts parts of a text as longer than the text")


@dataclass(frozen=True, slots=True)
class _Span:
    """A packed chunk: where it lies and what is embedded before it."""

    start: int
    end: int
    page: int | None
    heading_path: tuple[str, ...]
    prefix: str


def _finished(document: ParsedDocument, spans: Sequence[_Span], tokens: TokenCounter) -> list[ChunkSpan]:
    embedded = [span.prefix + document.text[span.start : span.end] for span in spans]
    counts: list[int] = []
    for first in range(0, len(embedded), 64):
        counts.extend(tokens.counts(embedded[first : first + 64]))
    return [
        ChunkSpan(
            ordinal=ordinal,
            start=span.start,
            end=span.end,
            text=document.text[span.start : span.end],
            heading_path=span.heading_path,
            page=span.page,
            tokens=count + SPECIAL_TOKENS,
            embedded_text=text,
        )
        for ordinal, (span, count, text) in enumerate(zip(spans, counts, embedded, strict=True))
    ]


class _Measured:
    """The document with the start of every token; answers how long a span is and where it can be cut."""

    def __init__(self, document: ParsedDocument, tokens: TokenCounter) -> None:
        self.text = document.text
        self.blocks = [block for block in map(self._trimmed, document.blocks) if block.start < block.end]
        self._starts = array("L")
        self._cuts: tuple[int, list[int]] = (-1, [])
        body = [block for block in self.blocks if block.kind not in _ASIDE]
        for batch in _batches(self.text, body):
            found = tokens.offsets([self.text[start:end] for start, end in batch])
            for (start, _), offsets in zip(batch, found, strict=True):
                self._starts.extend(start + offset[0] for offset in offsets)

    def _trimmed(self, block: Block) -> Block:
        piece = self.text[block.start : block.end]
        start = block.start + len(piece) - len(piece.lstrip())
        end = max(start, block.start + len(piece.rstrip()))
        if (start, end) == (block.start, block.end):
            return block
        return replace(block, start=start, end=end)

    def weight(self, start: int, end: int) -> int:
        """Return the tokens of a span, or more where its words are so long that characters must be counted."""
        count = bisect_left(self._starts, end) - bisect_left(self._starts, start)
        return max(count, -(-(end - start) // CHARACTERS_PER_TOKEN))

    def next_visible(self, start: int, end: int) -> int:
        """Return the first place from `start` on that is not white space, or `end`."""
        while start < end and self.text[start].isspace():
            start += 1
        return start

    def cut(self, block: Block, start: int, room: int, *, anywhere: bool) -> int:
        """Return where to cut `block` behind `start` so that the piece weighs at most `room`: `start` if nowhere.

        Cuts at the end of a sentence or line; with `anywhere` also behind a word, or in it when there is no other way.
        """
        ends = self._ends(block)
        first = bisect_left(ends, start + 1)
        last = bisect_left(ends, True, lo=first, key=lambda end: self.weight(start, end) > room)
        if last > first:
            return ends[last - 1]
        if not anywhere:
            return start
        return self._hard_cut(block, start, max(1, room))

    def _ends(self, block: Block) -> list[int]:
        if self._cuts[0] != block.start:
            piece = self.text[block.start : block.end]
            spans = _line_spans(piece) if block.kind in _BY_LINES else sentence_spans(piece)
            self._cuts = (block.start, [block.start + end for _, end in spans])
        return self._cuts[1]

    def _hard_cut(self, block: Block, start: int, room: int) -> int:
        first = bisect_left(self._starts, start)
        limit = min(block.end, start + room * CHARACTERS_PER_TOKEN)
        if first + room < len(self._starts):
            limit = min(limit, self._starts[first + room])
        limit = max(limit, start + 1)
        words = [match.end() for match in re.finditer(r"\S+", self.text[start : limit + 1])]
        behind_words = [start + end for end in words if start + end <= limit]
        if limit == block.end or self.text[limit : limit + 1].isspace():
            return behind_words[-1] if behind_words else limit
        return behind_words[-2] if len(behind_words) > 1 else limit


def _line_spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S[^\n]*", text)]


def _batches(text: str, blocks: Sequence[Block]) -> Iterator[list[tuple[int, int]]]:
    """Yield the blocks' spans in batches of a bounded size; a block longer than that is cut behind a white space."""
    batch: list[tuple[int, int]] = []
    size = 0
    for block in blocks:
        start = block.start
        while start < block.end:
            end = min(block.end, start + _TOKENIZE_CHARACTERS)
            if end < block.end:
                space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
                end = space + 1 if space > start else end
            batch.append((start, end))
            size += end - start
            start = end
            if size >= _TOKENIZE_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


class _Prefixes:
    """What is embedded before a chunk, never longer than `limit` tokens: the nearest heading matters most."""

    def __init__(self, title: str, tokens: TokenCounter, limit: int) -> None:
        self._title = " ".join(title.split())
        self._tokens = tokens
        self._limit = limit
        self._known: dict[tuple[tuple[str, ...], str], tuple[str, int]] = {}

    def of(self, path: tuple[str, ...], table_header: str) -> tuple[str, int]:
        """Return the prefix and its length in tokens."""
        key = (path, table_header)
        if key not in self._known:
            self._known[key] = self._make(path, table_header)
        return self._known[key]

    def _make(self, path: tuple[str, ...], table_header: str) -> tuple[str, int]:
        names = [" ".join(name.split()) for name in path]
        if self._title and self._title not in names[:1]:
            names.insert(0, self._title)
        header = self._fitted(table_header)
        while len(names) > 1 and self._length(" > ".join(names) + header) > self._limit:
            names.pop(1 if len(names) > 2 else 0)  # noqa: PLR2004 (title and nearest heading stay longest)
        line = self._fitted(" > ".join(names))
        if self._length(line + "\n" + header) > self._limit:
            line = ""
        text = f"{line}\n\n" * bool(line) + f"{header}\n" * bool(header)
        return text, self._length(text)

    def _length(self, text: str) -> int:
        return self._tokens.counts([text])[0] if text else 0

    def _fitted(self, text: str) -> str:
        offsets = self._tokens.offsets([text])[0] if text else []
        text = text if len(offsets) <= self._limit else text[: offsets[self._limit - 1][1]]
        return text[: self._limit * CHARACTERS_PER_TOKEN]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block, or a part of one, in the open chunk."""

    block: Block
    start: int
    end: int

    @property
    def is_heading(self) -> bool:
        return self.block.kind is BlockKind.HEADING


class _Packer:
    """Fills one chunk after the other: the open one is its pieces, and before them perhaps some overlap."""

    def __init__(self, measured: _Measured, prefixes: _Prefixes, limit: int, overlap_tokens: int) -> None:
        self._measured = measured
        self._prefixes = prefixes
        self._limit = limit
        self._overlap_tokens = overlap_tokens
        self._spans: list[_Span] = []
        self._pieces: list[_Piece] = []
        self._overlap: int | None = None  # where the open chunk begins when that is before its first piece
        self._previous: _Piece | None = None  # the last piece of the chunk before, when nothing lies between

    def pack(self) -> list[_Span]:
        """Return the packed spans of the whole document."""
        for block in self._measured.blocks:
            if block.kind in _ASIDE:
                self._close()
                self._previous = None  # a chunk is one span: it cannot run around a header or footer
                self._overlap = None
                continue
            if block.kind is BlockKind.HEADING and self._has_body and self._weight() >= self._limit // 4:
                self._close()
            self._add(block)
        self._close()
        return self._spans

    def _add(self, block: Block) -> None:
        start = block.start
        while start < block.end:
            end = self._fitting_end(block, start)
            if end > start:
                self._pieces.append(_Piece(block, start, end))
            start = self._measured.next_visible(end, block.end)
            if start < block.end:
                self._make_room(block)

    def _fitting_end(self, block: Block, start: int) -> int:
        """Return the end of as much of the rest of `block` as belongs into the open chunk: `start` if nothing does."""
        room = self._room(block, start)
        weight = self._measured.weight(start, block.end)
        if weight <= room:
            return block.end
        is_oversize = weight > self._limit - self._prefix_of(block, start)[1]
        is_well_filled = self._weight() >= self._limit // 2 or block.kind is BlockKind.TABLE
        if self._has_body and is_well_filled and not is_oversize:
            return start
        may_cut_words = not self._has_body and self._overlap is None
        return self._measured.cut(block, start, room, anywhere=may_cut_words)

    def _make_room(self, block: Block) -> None:
        """Close the open chunk because the rest of `block` does not fit; begin the next with what it needs."""
        if not self._pieces:  # overlap alone, and it leaves too little room
            self._overlap = None
            return
        body = len(self._pieces)
        while body and self._pieces[body - 1].is_heading:
            body -= 1
        carried = self._pieces[body:] if body and self._pieces[-1].block is not block else []
        self._pieces = self._pieces[: len(self._pieces) - len(carried)]
        self._close()
        self._pieces = carried
        last = self._previous
        if last and not carried and not last.is_heading and last.block.heading_path == block.heading_path:
            self._overlap = self._tail_of(last, self._overlap_tokens)

    def _close(self) -> None:
        if not self._pieces:
            self._overlap = None
            return
        if self._previous and not self._has_body:  # headings that nothing follows: give them company
            room = self._limit - self._weight() - self._prefix_of(self._previous.block, self._previous.start)[1]
            self._overlap = self._company(self._previous, room)
        start, end = self._start(), self._pieces[-1].end
        paths = [piece.block.heading_path for piece in self._pieces]
        first = self._previous if self._overlap is not None and self._previous else self._pieces[0]
        sections = [self._section_of(piece) for piece in (first, *self._pieces)]
        if self._spans and self._spans[-1].start >= start:  # the company was all that the chunk before had
            self._spans.pop()
        prefix, _ = self._prefixes.of(
            _common([first.block.heading_path, *paths]), self._table_header(first.block, start)
        )
        self._spans.append(_Span(start, end, first.block.page, _common(sections), prefix))
        self._previous = self._pieces[-1]
        self._pieces, self._overlap = [], None

    def _tail_of(self, piece: _Piece, room: int) -> int | None:
        """Return where the last whole sentences of `piece` begin that weigh at most `room` together."""
        if piece.block.kind in _BY_LINES or room <= 0:
            return None
        window = max(piece.start, piece.end - room * CHARACTERS_PER_TOKEN)
        starts = [window + start for start, _ in sentence_spans(self._measured.text[window : piece.end])]
        # A window that opens inside the piece most likely opens inside a sentence.
        whole = starts if window == piece.start else starts[1:]
        return next((start for start in whole if self._measured.weight(start, piece.end) <= room), None)

    def _company(self, piece: _Piece, room: int) -> int | None:
        """Return where the end of `piece` begins that fits into `room`, at a sentence, line, word or anywhere."""
        if room <= 0:
            return None
        first = bisect_left(
            range(piece.end), True, lo=piece.start, key=lambda start: self._measured.weight(start, piece.end) <= room
        )
        tail = self._measured.text[first : piece.end]
        breaks = [span[0] for span in sentence_spans(tail)[1:]] + [match.end() for match in re.finditer(r"\s", tail)]
        return first + breaks[0] if breaks and first > piece.start else first

    @property
    def _has_body(self) -> bool:
        return any(not piece.is_heading for piece in self._pieces)

    def _start(self) -> int:
        return self._pieces[0].start if self._overlap is None else self._overlap

    def _weight(self) -> int:
        if self._pieces:
            return self._measured.weight(self._start(), self._pieces[-1].end)
        if self._overlap is None or self._previous is None:
            return 0
        return self._measured.weight(self._overlap, self._previous.end)

    def _room(self, block: Block, start: int) -> int:
        first = self._pieces[0] if self._pieces else _Piece(block, start, start)
        return self._limit - self._prefix_of(first.block, first.start)[1] - self._weight()

    def _prefix_of(self, block: Block, start: int) -> tuple[str, int]:
        return self._prefixes.of(block.heading_path, self._table_header(block, start))

    def _table_header(self, block: Block, start: int) -> str:
        """Return the header row for a chunk that begins behind it."""
        if block.kind is not BlockKind.TABLE or start <= block.start:
            return ""
        first_line_end = self._measured.text.find("\n", block.start, block.end)
        header = self._measured.text[block.start : first_line_end] if 0 < first_line_end < start else ""
        return header if re.search(r"\w", header) else ""

    def _section_of(self, piece: _Piece) -> tuple[str, ...]:
        if not piece.is_heading:
            return piece.block.heading_path
        name = " ".join(self._measured.text[piece.block.start : piece.block.end].split())
        return (*piece.block.heading_path, name)


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the longest path that all of `paths` begin with."""
    equal = takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False))
    return tuple(names[0] for names in equal)
