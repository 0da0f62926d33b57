"""The internal form of a parsed document: one text, and spans over it.

All offsets count Unicode code points of `ParsedDocument.text` (NFC). `text[block.start:block.end]` is the block, always;
no library's own offsets are kept. Boxes are fractions of the page, 0 to 1, from the top left: (left, top, right, bottom).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

import orjson

Box = tuple[float, float, float, float]
_BAR = re.compile(r"(?<!\\)\|")


class PageKind(StrEnum):
    """What the source calls its parts."""

    PAGE = "page"
    SLIDE = "slide"
    SHEET = "sheet"


class BlockKind(StrEnum):
    """What a block is; the chunker and the citations treat them differently."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST_ITEM = "list_item"
    TABLE = "table"
    CODE = "code"
    QUOTE = "quote"
    FORMULA = "formula"
    FIGURE = "figure"
    FOOTNOTE = "footnote"
    HEADER = "header"
    FOOTER = "footer"
    COMMENT = "comment"
    NOTE = "note"
    META = "meta"


@dataclass(frozen=True, slots=True)
class Page:
    """One page, slide or sheet. `number` counts from 1; `label` is what the source prints on it, if anything."""

    number: int
    start: int
    end: int
    kind: PageKind = PageKind.PAGE
    label: str | None = None
    width: float | None = None
    height: float | None = None
    is_ocr: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the text with one meaning. `level` is 1-6 for headings, the nesting depth for list items."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    heading_path: tuple[str, ...] = ()
    page: int | None = None
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What parsing yields. Formats without pages have `pages == ()` and blocks with `page=None`.

    `title`, `authors` and `created` (with a time zone, UTC where the file names none) are what the file says of itself.
    """

    text: str
    blocks: tuple[Block, ...]
    pages: tuple[Page, ...]
    content_type: str
    parser_version: str
    title: str | None = None
    language: str | None = None
    warnings: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its row (0 is the header) and column from 0, and where its text lies in the document's."""

    row: int
    column: int
    start: int
    end: int


def cells_of(document: ParsedDocument, block: Block) -> tuple[Cell, ...]:
    """Return the cells of a table block, row by row; () for any other block.

    Cells that were merged in the source are as many cells with the same text. A bar within a cell has a backslash before it.
    """
    if block.kind is not BlockKind.TABLE:
        return ()
    found = []
    start = block.start
    for number, line in enumerate(document.text[block.start : block.end].split("\n")):
        if number != 1:  # the line of dashes
            bars = [bar.start() for bar in _BAR.finditer(line)]
            row = max(0, number - 1)
            for column, (left, right) in enumerate(pairwise(bars)):
                text = line[left + 1 : right]
                first = left + 1 + len(text) - len(text.lstrip())
                found.append(Cell(row, column, start + first, start + first + len(text.strip())))
        start += len(line) + 1
    return tuple(found)


def to_json(document: ParsedDocument) -> bytes:
    """Return everything but the text as JSON; what `from_json` needs beside the text."""
    return orjson.dumps({name: getattr(document, name) for name in _FIELDS if name != "text"})


def from_json(text: str, structure: bytes) -> ParsedDocument:
    """Return the document of a text and `to_json`'s structure."""
    fields = orjson.loads(structure)
    fields["blocks"] = tuple(
        Block(
            **block
            | {
                "kind": BlockKind(block["kind"]),
                "heading_path": tuple(block["heading_path"]),
                "box": tuple(block["box"]) if block["box"] else None,
            }
        )
        for block in fields["blocks"]
    )
    fields["pages"] = tuple(Page(**page | {"kind": PageKind(page["kind"])}) for page in fields["pages"])
    fields["warnings"] = tuple(fields["warnings"])
    fields["authors"] = tuple(fields.get("authors", ()))
    created = fields.get("created")
    fields["created"] = datetime.fromisoformat(created) if created else None
    return ParsedDocument(text=text, **fields)


_FIELDS = tuple(ParsedDocument.__dataclass_fields__)
