"""Blocks of a file to the internal form: one text, spans that fit it, characters that every database accepts."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.wire import Unread
from ragecho.kernel.parsed import Block, BlockKind, Box, Page, PageKind, ParsedDocument
from ragecho.ports.parser import ParseLimits

# Raise the first part whenever the same file may give another text or other blocks than before.
PARSER_VERSION = f"echo-3+liteparse-{version('liteparse')}+xberg-{version('xberg')}"

_LINE_BREAKS = re.compile(r"\r\n?|\u2028|\u2029|\u0085|\f|\v")
# Control characters (PostgreSQL refuses NUL), lone surrogates, noncharacters, marks that only steer layout.
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_WIDE_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")
# Ligatures and the shaped letters of Arabic, as fonts of PDFs name them: nobody types these when searching.
_PRESENTATION_FORMS = re.compile("[\ufb00-\ufb06\ufb13-\ufb17\ufb50-\ufdcf\ufdf0-\ufdfc\ufe70-\ufefc]+")
_ASIDE = (BlockKind.HEADER, BlockKind.FOOTER)
MAX_TITLE_CHARACTERS = 300
_MAX_AUTHORS = 100
_ROWS_PER_TABLE = 200
_DEEPEST_HEADING = 6


def clean(text: str) -> str:
    """Return `text` in NFC without control characters and lone surrogates, its line breaks unified, trimmed."""
    text = _LINE_BREAKS.sub("\n", text)
    text = _UNWANTED.sub("", text)
    text = _WIDE_SPACES.sub(" ", text)
    text = _PRESENTATION_FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return unicodedata.normalize("NFC", text).strip()


def table_text(rows: Sequence[Sequence[str]], *, headers: int = 1) -> str:
    """Return rows of cells as a Markdown table; the first `headers` rows are its header, made one. Empty rows are left out."""
    rows = with_one_header(rows, headers) if headers > 1 else rows
    cells = [[" ".join(clean(cell).split()).replace("|", "\\|") for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if not cells:
        return ""
    width = max(len(row) for row in cells)
    padded = [row + [""] * (width - len(row)) for row in cells]
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    lines.insert(1, "|" + " - |" * width)
    return "\n".join(lines)


def with_one_header(rows: Sequence[Sequence[str]], headers: int) -> list[Sequence[str]]:
    """Return rows with the first `headers` of them joined, column by column: "2023" over "Net" is "2023 Net"."""
    above = [[" ".join(cell.split()) for cell in row] for row in rows[:headers]]
    width = max((len(row) for row in above), default=0)
    columns = [[row[column] for row in above if column < len(row)] for column in range(width)]
    return [[" ".join(dict.fromkeys(filter(None, column))) for column in columns], *rows[headers:]]


def tables(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a long table as several, each with the header, so that no row stands far from it."""
    if not rows:
        return
    header, *body = rows
    for first in range(0, max(1, len(body)), _ROWS_PER_TABLE):
        yield table_text([header, *body[first : first + _ROWS_PER_TABLE]])


@dataclass(frozen=True, slots=True)
class PageInfo:
    """What is known of a page before its text is laid out."""

    number: int
    kind: PageKind = PageKind.PAGE
    label: str | None = None
    width: float | None = None
    height: float | None = None
    is_ocr: bool = False


@dataclass(slots=True)
class _Part:
    """A file within the file: what its headings and page numbers are moved by."""

    title: str
    level_shift: int
    first_page: int
    members: tuple[int, ...]
    first_draft: int = 0
    first_unread: int = 0


@dataclass(slots=True)
class _Draft:
    kind: BlockKind
    text: str
    level: int
    page: int | None
    box: Box | None
    is_content: bool  # not a heading of ours
    cut: int = 0  # the level from which headings before it no longer head it


class DocumentBuilder:
    """Collects blocks in reading order and lays them out. Raises `ParseFailed("too_long")` over the limit."""

    def __init__(self, limits: ParseLimits) -> None:
        self._limits = limits
        self._drafts: list[_Draft] = []
        self._pages: list[PageInfo] = []
        self._part = _Part("", 0, 0, ())
        self._characters = 0
        self._in_body = 0
        self._cut = 0
        self.unread: list[Unread] = []
        self.warnings: list[str] = []
        self.title: str | None = None
        self.authors: list[str] = []
        self.created: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing readable has been added, to the part being read if there is one, nor could be by OCR."""
        return len(self.unread) <= self._part.first_unread and not any(
            draft.is_content for draft in self._drafts[self._part.first_draft :]
        )

    def warn(self, warning: str) -> None:
        """Note something the person should know; each warning once."""
        if self._part.title:
            warning = f"{self._part.title}: {warning}"
        if warning not in self.warnings:
            self.warnings.append(warning)

    def describe(
        self, *, title: str | None = None, authors: Sequence[str] = (), created: datetime | None = None
    ) -> None:
        """Note what the file says of itself; of a part within the file nothing is noted, and the first word counts."""
        if self._part.title:
            return
        self.title = self.title or title
        self.authors = self.authors or [name for one in authors if (name := " ".join(clean(one).split()))]
        if self.created is None and created is not None:
            self.created = created if created.tzinfo else created.replace(tzinfo=UTC)

    @contextmanager
    def part(self, title: str, member: int) -> Iterator[None]:
        """Add a heading for a file within the file, number `member` of its archive; what follows stands under it."""
        outer = self._part
        title = " ".join(clean(title).split()) or f"{member + 1}"
        self._add(BlockKind.HEADING, title, level=outer.level_shift + 1, is_content=False)
        members = (*outer.members, member)
        self._part = _Part(title, outer.level_shift + 1, len(self._pages), members, len(self._drafts), len(self.unread))
        try:
            yield
        finally:
            self._part = outer
            self._part.first_page = len(self._pages)

    def page(self, page: PageInfo) -> None:
        """Begin a page; the blocks that follow lie on it."""
        if self._part.members or self._part.first_page:
            label = f"{self._part.title} {page.label or page.number}".strip()
            page = replace(page, number=self._part.first_page + page.number, label=label)
        self._pages.append(page)

    def end_section(self, level: int) -> None:
        """End the sections of `level` and below: what follows stands under none of their headings."""
        self._cut = min(_DEEPEST_HEADING, level + self._part.level_shift)

    def picture(self, page: PageInfo) -> None:
        """Begin a page that is a picture of text: it is recognised later, by a process of its own."""
        self.page(page)
        self.unread.append(Unread(self._pages[-1].number, page.number, self._part.members, self._in_body))

    def add(
        self, kind: BlockKind, text: str, *, level: int = 0, box: Box | None = None, page: int | None = None
    ) -> None:
        """Add a block; one without visible characters is dropped."""
        if kind is BlockKind.HEADING:
            level = min(_DEEPEST_HEADING, level + self._part.level_shift)
        if page is not None:
            page += self._part.first_page if self._part.members else 0
        self._add(kind, text, level=level, box=box, page=page)

    def _add(
        self,
        kind: BlockKind,
        text: str,
        *,
        level: int = 0,
        box: Box | None = None,
        page: int | None = None,
        is_content: bool = True,
    ) -> None:
        text = clean(text)
        if not text:
            return
        self._characters += len(text) + 2
        if self._characters > self._limits.characters:
            raise failure("too_long", limit=self._limits.characters)
        if page is None and len(self._pages) > self._part.first_page:
            page = self._pages[-1].number
        self._drafts.append(_Draft(kind, text, level, page, box, is_content, self._cut))
        self._cut = 0
        self._in_body += kind not in _ASIDE

    def finish(self, content_type: str) -> ParsedDocument:
        """Return the document. Headers and footers follow the last page, so that sentences run on across pages."""
        body = [draft for draft in self._drafts if draft.kind not in _ASIDE]
        aside = [draft for draft in self._drafts if draft.kind in _ASIDE]
        blocks: list[Block] = []
        path: list[tuple[int, str]] = []
        position = 0
        for draft in [*body, *aside]:
            if draft.cut:
                path = [one for one in path if one[0] < draft.cut]
            names = tuple(name for _, name in path)
            if draft.kind is BlockKind.HEADING:
                path = [one for one in path if one[0] < draft.level]
                names = tuple(name for _, name in path)
                path.append((draft.level, " ".join(draft.text.split())))
            end = position + len(draft.text)
            own_path = () if draft.kind in _ASIDE else names
            blocks.append(Block(draft.kind, position, end, draft.level, own_path, draft.page, draft.box))
            position = end + 2
        return ParsedDocument(
            text="\n\n".join(draft.text for draft in [*body, *aside]),
            blocks=tuple(blocks),
            pages=self._laid_out_pages(blocks),
            content_type=content_type,
            parser_version=PARSER_VERSION,
            title=self._best_title(body),
            warnings=tuple(self.warnings),
            authors=tuple(dict.fromkeys(self.authors))[:_MAX_AUTHORS],
            created=self.created,
        )

    def _laid_out_pages(self, blocks: Sequence[Block]) -> tuple[Page, ...]:
        spans: dict[int, tuple[int, int]] = {}
        for block in blocks:
            if block.page is not None and block.kind not in _ASIDE:
                first = spans.get(block.page, (block.start, block.end))[0]
                spans[block.page] = (first, block.end)
        pages = []
        last = 0
        for page in self._pages:
            start, end = spans.get(page.number, (last, last))
            last = end
            pages.append(Page(page.number, start, end, page.kind, page.label, page.width, page.height, page.is_ocr))
        return tuple(pages)

    def _best_title(self, body: Sequence[_Draft]) -> str | None:
        """Return the title of the metadata, else the highest heading among the first blocks."""
        title = " ".join(clean(self.title or "").split())
        if not title:
            headings = [draft for draft in body[:30] if draft.kind is BlockKind.HEADING]
            title = " ".join(min(headings, key=lambda draft: draft.level).text.split()) if headings else ""
        return title[:MAX_TITLE_CHARACTERS] or None


def with_warnings(document: ParsedDocument, warnings: Sequence[str]) -> ParsedDocument:
    """Return `document` with `warnings` before its own."""
    return replace(document, warnings=tuple(dict.fromkeys([*warnings, *document.warnings])))
