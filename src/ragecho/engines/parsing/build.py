"""Blocks of a file to the internal form: one text, spans that fit it, characters that every database accepts."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from ragecho.engines.parsing.failures import failure
from ragecho.kernel.parsed import Block, BlockKind, Box, Page, PageKind, ParsedDocument
from ragecho.ports.parser import ParseLimits

# Raise the first part whenever the same file may give another text or other blocks than before.
PARSER_VERSION = f"echo-1+liteparse-{version('liteparse')}+xberg-{version('xberg')}"

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


def clean(text: str) -> str:
    """Return `text` in NFC without control characters and lone surrogates, its line breaks unified, trimmed."""
    text = _LINE_BREAKS.sub("\n", text)
    text = _UNWANTED.sub("", text)
    text = _WIDE_SPACES.sub(" ", text)
    text = _PRESENTATION_FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return unicodedata.normalize("NFC", text).strip()


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table; the first row is its header. Empty rows are left out."""
    cells = [[" ".join(clean(cell).split()).replace("|", "\\|") for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if not cells:
        return ""
    width = max(len(row) for row in cells)
    padded = [row + [""] * (width - len(row)) for row in cells]
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    lines.insert(1, "|" + " - |" * width)
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class PageInfo:
    """What is known of a page before its text is laid out."""

    number: int
    kind: PageKind = PageKind.PAGE
    label: str | None = None
    width: float | None = None
    height: float | None = None


@dataclass(slots=True)
class _Draft:
    kind: BlockKind
    text: str
    level: int
    page: int | None
    box: Box | None


class DocumentBuilder:
    """Collects blocks in reading order and lays them out. Raises `ParseFailed("too_long")` over the limit."""

    def __init__(self, limits: ParseLimits) -> None:
        self._limits = limits
        self._drafts: list[_Draft] = []
        self._pages: list[PageInfo] = []
        self._characters = 0
        self.warnings: list[str] = []
        self.title: str | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing readable has been added."""
        return not self._drafts

    def warn(self, warning: str) -> None:
        """Note something the person should know; each warning once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def page(self, page: PageInfo) -> None:
        """Begin a page; the blocks that follow lie on it."""
        self._pages.append(page)

    def add(
        self, kind: BlockKind, text: str, *, level: int = 0, box: Box | None = None, page: int | None = None
    ) -> None:
        """Add a block; one without visible characters is dropped."""
        text = clean(text)
        if not text:
            return
        self._characters += len(text) + 2
        if self._characters > self._limits.characters:
            raise failure("too_long", limit=self._limits.characters)
        on_page = page if page is not None or not self._pages else self._pages[-1].number
        self._drafts.append(_Draft(kind, text, level, on_page, box))

    def finish(self, content_type: str) -> ParsedDocument:
        """Return the document. Headers and footers follow the last page, so that sentences run on across pages."""
        body = [draft for draft in self._drafts if draft.kind not in _ASIDE]
        aside = [draft for draft in self._drafts if draft.kind in _ASIDE]
        blocks: list[Block] = []
        path: list[tuple[int, str]] = []
        position = 0
        for draft in [*body, *aside]:
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
            pages.append(Page(page.number, start, end, page.kind, page.label, page.width, page.height))
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
