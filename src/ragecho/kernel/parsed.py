"""The internal form of a parsed document: one text, and spans over it.

All offsets count Unicode code points of `ParsedDocument.text` (NFC). `text[block.start:block.end]` is the block, always;
no library's own offsets are kept. Boxes are fractions of the page, 0 to 1, from the top left: (left, top, right, bottom).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

Box = tuple[float, float, float, float]


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
