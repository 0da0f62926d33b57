"""The result of a parse as bytes between sandbox and caller. The caller believes nothing: what does not fit is refused."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ragecho.engines.parsing.failures import MESSAGES, failure
from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.parsed import Block, BlockKind, Box, Page, PageKind, ParsedDocument

# Files read in one process; with the result and the usual ones they stay far below the limit of open files.
MOST_FILES = 32
_MAX_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Unread:
    """A page that is a picture of text: where it is, and where its text belongs once it has been recognised.

    `page` counts in the whole document, `inner` in the member that `members` lead to (indices, archive by archive).
    `position` is the number of blocks, running lines apart, that stand before it.
    """

    page: int
    inner: int
    members: tuple[int, ...]
    position: int


def encode_document(document: ParsedDocument, unread: Sequence[Unread] = ()) -> bytes:
    """Return the document, and which of its pages are still pictures, as compact JSON."""
    paths: dict[tuple[str, ...], int] = {}
    blocks = [
        [b.kind.value, b.start, b.end, b.level, paths.setdefault(b.heading_path, len(paths)), b.page, b.box]
        for b in document.blocks
    ]
    pages = [[p.number, p.start, p.end, p.kind.value, p.label, p.width, p.height, p.is_ocr] for p in document.pages]
    return orjson.dumps(
        {
            "text": document.text,
            "paths": list(paths),
            "blocks": blocks,
            "pages": pages,
            "content_type": document.content_type,
            "parser_version": document.parser_version,
            "title": document.title,
            "language": document.language,
            "warnings": document.warnings,
            "authors": document.authors,
            "created": document.created,
            "unread": [[one.page, one.inner, one.members, one.position] for one in unread],
        }
    )


def encode_recognised(paragraphs: Sequence[tuple[str, Box]], confidence: float) -> bytes:
    """Return what was recognised on a page as compact JSON."""
    return orjson.dumps({"recognised": [[text, box] for text, box in paragraphs], "confidence": confidence})


def decode_recognised(payload: bytes) -> tuple[list[tuple[str, Box]], float]:
    """Return a page's paragraphs and the engine's confidence (0-100); raises as `decode`."""
    try:
        sent = orjson.loads(payload)
        if "failure" in sent:
            raise _sent_failure(sent)
        return [(str(text), _box(box)) for text, box in sent["recognised"]], float(sent["confidence"])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise failure("crashed") from error


def encode_failure(error: ParseFailed) -> bytes:
    """Return the failure as compact JSON."""
    facts = {name: value for name, value in error.facts.items() if isinstance(value, str | int | float | bool)}
    return orjson.dumps({"failure": error.reason, "message": error.message, "facts": facts})


def decode(payload: bytes) -> ParsedDocument:
    """Return the document, or raise the `ParseFailed` that was sent, or `ParseFailed("crashed")` for anything else."""
    return decode_unread(payload)[0]


def decode_unread(payload: bytes) -> tuple[ParsedDocument, tuple[Unread, ...]]:
    """Return the document and its pages that are still pictures; raises as `decode`."""
    try:
        sent = orjson.loads(payload)
        if "failure" in sent:
            raise _sent_failure(sent)
        document = _document(sent)
        _check(document)
        unread = tuple(
            Unread(int(page), int(inner), tuple(int(one) for one in members), int(position))
            for page, inner, members, position in sent["unread"]
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise failure("crashed") from error
    return document, unread


def _sent_failure(sent: dict[str, Any]) -> ParseFailed:
    reason = sent["failure"]
    if reason not in MESSAGES:
        return failure("crashed")
    facts = {str(name): value for name, value in sent["facts"].items() if name not in ("reason", "message")}
    return ParseFailed(reason, str(sent["message"])[:_MAX_MESSAGE_CHARACTERS], **facts)


def _document(sent: dict[str, Any]) -> ParsedDocument:
    paths = [tuple(str(name) for name in path) for path in sent["paths"]]
    blocks = tuple(
        Block(BlockKind(kind), int(start), int(end), int(level), paths[path], page, box and _box(box))
        for kind, start, end, level, path, page, box in sent["blocks"]
    )
    pages = tuple(
        Page(int(number), int(start), int(end), PageKind(kind), label, width, height, bool(is_ocr))
        for number, start, end, kind, label, width, height, is_ocr in sent["pages"]
    )
    return ParsedDocument(
        text=str(sent["text"]),
        blocks=blocks,
        pages=pages,
        content_type=str(sent["content_type"]),
        parser_version=str(sent["parser_version"]),
        title=None if sent["title"] is None else str(sent["title"]),
        language=None if sent["language"] is None else str(sent["language"]),
        warnings=tuple(str(warning) for warning in sent["warnings"]),
        authors=tuple(str(author) for author in sent["authors"]),
        created=None if sent["created"] is None else datetime.fromisoformat(sent["created"]),
    )


def _box(box: list[Any]) -> Box:
    left, top, right, bottom = (min(1.0, max(0.0, float(edge))) for edge in box)
    return left, top, right, bottom


def _check(document: ParsedDocument) -> None:
    if "\x00" in document.text or not unicodedata.is_normalized("NFC", document.text):
        raise ValueError("text is not clean")
    last = 0
    for block in document.blocks:
        if not last <= block.start <= block.end <= len(document.text):
            raise ValueError("block outside the text or out of order")
        last = block.end
    for page in document.pages:
        if not 0 <= page.start <= page.end <= len(document.text):
            raise ValueError("page outside the text")
