"""PDF to blocks: liteparse for the layout, the file's own outline for headings, xberg for what is damaged."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, clean, table_text
from ragecho.engines.parsing.failures import failure
from ragecho.kernel.parsed import BlockKind, Box
from ragecho.ports.parser import ParseLimits

_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_BAND = 0.09  # of the page's height: where running headers and footers stand
_REPEATS = 3
_ENTRY_FIELDS = frozenset({"text", "combobox", "listbox"})
_PAGES_SEARCHED = 20
_MANY_SHAPES = 50
_MOST_CONTROLS = 0.15  # of a block's characters; more of them are a font without a character map
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\ufffd]")
_EMPHASIS = re.compile(r"(?<!\\)(?:\*{1,3}|(?<![^\W_])_{1,3}(?=\S)|(?<=\S)_{1,3}(?![^\W_]))")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~$&\"'])")
_PAGE_NUMBER = re.compile(
    r"(?:page|seite|p\.)?\s*[-\u2013]?\s*(?:\d{1,5}|[ivxlc]{1,7})\s*(?:(?:of|von|/)\s*\d{1,5})?\s*[-\u2013]?", re.I
)
_PICTURE_REASONS = frozenset({"scanned", "garbled", "vector-text", "embedded-images"})


@dataclass(frozen=True, slots=True)
class _Outline:
    headings: dict[tuple[int, str], int]  # (page from 1, normalised title) -> level
    title: str | None


@dataclass(slots=True)
class _Found:
    kind: BlockKind
    text: str
    level: int
    page: int
    box: Box | None


def read_pdf(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Add the pages and blocks of a PDF. Raises `ParseFailed` for one that is locked, too long or without text."""
    outline = _outline(data, limits)
    result = _liteparse(data, limits) if outline else None
    if outline is None or result is None or not result.pages:
        _recover(builder, data, limits)
        return
    if len(result.pages) < result.total_pages or result.page_errors:
        lost = max(result.total_pages - len(result.pages), len(result.page_errors))
        builder.warn(f"{lost} of {result.total_pages} pages could not be read.")
    builder.title = outline.title
    blocks = [found for page in result.pages for found in _page_blocks(page, builder)]
    _mark_running_lines(blocks, len(result.pages))
    _take_headings_from_outline(blocks, outline)
    by_page: dict[int, list[_Found]] = {}
    for found in blocks:
        by_page.setdefault(found.page, []).append(found)
    for page in result.pages:
        label = page.page_label
        builder.page(PageInfo(page.page_num, label=label, width=round(page.width, 2), height=round(page.height, 2)))
        for found in by_page.get(page.page_num, ()):
            builder.add(found.kind, found.text, level=found.level, box=found.box)
    _refuse_without_text(builder, data, result.pages)


def _has_pictures(data: bytes) -> bool:
    """Tell whether a page among the first ones shows an image, or shapes enough to be drawn letters."""
    import pypdfium2
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE, FPDF_PAGEOBJ_PATH

    document = pypdfium2.PdfDocument(data)
    for index in range(min(len(document), _PAGES_SEARCHED)):
        objects = document[index].get_objects(filter=[FPDF_PAGEOBJ_IMAGE, FPDF_PAGEOBJ_PATH], max_depth=4)
        for shapes, found in enumerate(objects):
            if found.type == FPDF_PAGEOBJ_IMAGE or shapes > _MANY_SHAPES:
                return True
    return False


def _refuse_without_text(builder: DocumentBuilder, data: bytes, pages: Sequence[Any]) -> None:
    pictures = [
        page.page_num
        for page in pages
        if page.complexity is not None
        and page.complexity.text_length == 0
        and (page.complexity.full_page_image or _PICTURE_REASONS & set(page.complexity.reasons))
    ]
    if builder.is_empty:
        raise failure("no_text" if pictures or _has_pictures(data) else "empty")
    if pictures:
        builder.warn(f"{len(pictures)} of {len(pages)} pages are pictures without text and were left out.")


def _outline(data: bytes, limits: ParseLimits) -> _Outline | None:
    """Return what PDFium knows about the file, None when it cannot open it."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD_ERROR or "password" in str(error).lower():
            raise failure("encrypted") from error
        return None
    pages = len(document)
    if pages > limits.pages:
        raise failure("too_many_pages", pages=pages, limit=limits.pages)
    headings: dict[tuple[int, str], int] = {}
    for bookmark in document.get_toc(max_depth=6):
        destination = bookmark.get_dest()
        index = destination.get_index() if destination else None
        title = _normalised(bookmark.get_title() or "")
        if title and index is not None:
            headings.setdefault((index + 1, title), min(6, bookmark.level + 1))
    title = document.get_metadata_value("Title").strip()
    document.close()
    is_file_name = re.search(
        r"\.(?:docx?|pdf|indd|tex|dvi|fm|p65|qxd|pptx?|xlsx?)$|^untitled|^microsoft word", title, re.I
    )
    return _Outline(headings, None if is_file_name else title)


def _liteparse(data: bytes, limits: ParseLimits) -> Any:
    from liteparse import LiteParse

    parser = LiteParse(
        ocr_enabled=False,  # on by default, and its binary knows addresses to download from
        output_format="markdown",
        quiet=True,
        num_workers=1,
        max_pages=limits.pages,  # pages beyond it would be dropped without a word
        extract_blocks=True,
        keep_headers_footers=True,  # what it takes for a header is sometimes a page's only text
        extract_links=False,
        image_mode="off",
        continue_on_page_error=True,
        include_complexity=True,
        extract_form_fields=True,
    )
    try:
        return parser.parse(data)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (the library raises whatever its native code reports; xberg tries next)
        return None


def _recover(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Read a file that PDFium rejects."""
    from ragecho.engines.parsing.office import read_office

    builder.warn("The file is damaged; what could be recovered has been read.")
    read_office(builder, data, "application/pdf", limits)
    if builder.is_empty:
        raise failure("damaged")


def _page_blocks(page: Any, builder: DocumentBuilder) -> list[_Found]:
    found: list[_Found] = []
    for block in page.blocks or ():
        kind, text, level = _meaning(block)
        if len(_CONTROLS.findall(text)) > _MOST_CONTROLS * len(text):
            builder.warn("Some text uses fonts without a character map and was left out.")
            continue
        if text.strip():
            found.append(_Found(kind, text, level, page.page_num, _box(block.bbox, page)))
    return found + _filled_fields(page)


def _filled_fields(page: Any) -> list[_Found]:
    """Return what somebody has entered into a form: the layout shows the labels only."""
    shown = " ".join((page.text or "").split())
    found = []
    for field in page.form_fields or ():
        value = " ".join((field.value or "").split())
        label = " ".join((field.alternate_name or field.name or "").split())
        if field.type == "checkbox" and field.checked:
            text = f"{label}: yes"
        elif field.type in _ENTRY_FIELDS and value and value not in shown:
            text = f"{label}: {value}"
        else:
            continue
        found.append(_Found(BlockKind.PARAGRAPH, text, 0, page.page_num, _box(field.rect, page)))
    return found


def _meaning(block: Any) -> tuple[BlockKind, str, int]:  # noqa: PLR0911 (one return per kind)
    level = block.level or 0
    match block.kind:
        case "heading":
            return BlockKind.HEADING, " ".join(plain(block.text).split()), max(1, level)
        case "list_item":
            marker = (block.marker or "").strip()
            lead = f"{marker} " if block.ordered and marker else "- "
            return BlockKind.LIST_ITEM, lead + plain(block.text), level + 1
        case "table":
            header = [[plain(cell.text) for cell in block.header]] if block.header else []
            rows = [*header, *([plain(cell.text) for cell in row] for row in block.rows or ())]
            if all(len(row) == 1 for row in rows):  # a frame around lines: most often a listing
                return BlockKind.CODE, "\n".join(row[0] for row in rows), 0
            return BlockKind.TABLE, table_text(rows), 0
        case "code" | "grid_fallback":
            return BlockKind.CODE, "\n".join(block.lines or ()), 0
        case "paragraph":
            return BlockKind.PARAGRAPH, plain(block.text), 0
    return BlockKind.FIGURE, "", 0


def plain(markdown: str | None) -> str:
    """Return liteparse's inline Markdown without emphasis and escapes."""
    return _ESCAPED.sub(r"\1", _EMPHASIS.sub("", markdown or ""))


def _box(rect: Any, page: Any) -> Box | None:
    if rect is None or not page.width or not page.height:
        return None
    edges = (rect.x / page.width, rect.y / page.height)
    far = ((rect.x + rect.width) / page.width, (rect.y + rect.height) / page.height)
    left, top, right, bottom = (round(min(1.0, max(0.0, edge)), 4) for edge in (*edges, *far))
    return left, top, right, bottom


def _mark_running_lines(blocks: Sequence[_Found], pages: int) -> None:
    """Mark what stands in the top or bottom band of many pages, numbers apart, and page numbers."""
    if pages < _REPEATS:
        return
    in_band = [(found, side) for found in blocks if (side := _band(found)) is not None]
    counts = Counter({key: len(on) for key, on in _pages_by_line(in_band).items()})
    for found, side in in_band:
        is_number = _PAGE_NUMBER.fullmatch(found.text.strip()) is not None
        if is_number or counts[side, _line_key(found.text)] >= _REPEATS:
            found.kind, found.level = side, 0


def _pages_by_line(in_band: Sequence[tuple[_Found, BlockKind]]) -> dict[tuple[BlockKind, str], set[int]]:
    found_on: dict[tuple[BlockKind, str], set[int]] = {}
    for found, side in in_band:
        found_on.setdefault((side, _line_key(found.text)), set()).add(found.page)
    return found_on


def _band(found: _Found) -> BlockKind | None:
    if found.box is None:
        return None
    if found.box[3] <= _BAND:
        return BlockKind.HEADER
    return BlockKind.FOOTER if found.box[1] >= 1 - _BAND else None


def _line_key(text: str) -> str:
    return re.sub(r"\d+|\b[ivxlc]+\b", "#", " ".join(text.lower().split()))


def _take_headings_from_outline(blocks: Sequence[_Found], outline: _Outline) -> None:
    """Let the author's outline decide what is a heading, where it can be found on the pages."""
    if not outline.headings:
        return
    matched = [
        (found, level)
        for found in blocks
        if found.kind in (BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.LIST_ITEM)
        and (level := outline.headings.get((found.page, _normalised(found.text)))) is not None
    ]
    if len(matched) < max(2, len(outline.headings) // 2):
        return
    for found in blocks:
        if found.kind is BlockKind.HEADING and found.page > 1:
            found.kind, found.level = BlockKind.PARAGRAPH, 0
    for found, level in matched:
        found.kind, found.level, found.text = BlockKind.HEADING, level, re.sub(r"^- ", "", found.text)


def _normalised(title: str) -> str:
    return re.sub(r"[\W_]+", "", clean(title).casefold())
