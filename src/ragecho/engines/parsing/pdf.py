"""PDF to blocks: liteparse for the layout, the file's own outline for headings, xberg for what is damaged."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ragecho.engines.parsing.bidi import has_right_to_left, in_reading_order
from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, clean, table_text
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.pdf_beside import comments, lost_text
from ragecho.engines.parsing.running_lines import Line, mark_running_lines
from ragecho.engines.parsing.unlock import open_pdf
from ragecho.kernel.parsed import BlockKind, Box
from ragecho.ports.parser import ParseLimits

_ENTRY_FIELDS = frozenset({"text", "combobox", "listbox"})
_STAMP_CHARACTERS = 40  # a scan with less text than this has a number stamped on it, no more
_MANY_SHAPES = 50
_MOST_CONTROLS = 0.15  # of a block's characters; more of them are a font without a character map
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\ufffd]")
_EMPHASIS = re.compile(r"(?<!\\)(?:\*{1,3}|(?<![^\W_])_{1,3}(?=\S)|(?<=\S)_{1,3}(?![^\W_]))")
_DIVIDED = re.compile(r"(?<=[^\W\d_])-(\*{1,3})\s+\1(?=[a-zà-ÿ])")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~$&\"'])")
_DATE = re.compile(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([-+Z])(\d\d)?'?(\d\d)?)?")


@dataclass(frozen=True, slots=True)
class _Outline:
    headings: dict[tuple[int, str], int]  # (page from 1, normalised title) -> level


def read_pdf(builder: DocumentBuilder, data: bytes, limits: ParseLimits, passwords: Sequence[str] = ()) -> None:
    """Add the pages and blocks of a PDF. Raises `ParseFailed` for one that is locked, too long or without text."""
    opened = open_pdf(data, passwords)
    if opened is None:
        _recover(builder, data, limits)
        return
    outline = _outline(builder, opened[0], limits)
    result = _liteparse(data, limits, opened[1])
    if result is None or not result.pages:
        _recover(builder, data, limits)
        return
    if len(result.pages) < result.total_pages or result.page_errors:
        lost = max(result.total_pages - len(result.pages), len(result.page_errors))
        builder.warn(f"{lost} of {result.total_pages} pages could not be read.")
    pictures = _pictures(result.pages, opened[0])
    blocks = []
    for page in result.pages:
        if page.page_num not in pictures:
            blocks.extend(_completed(_page_blocks(page, builder), opened[0][page.page_num - 1], page.page_num))
    mark_running_lines(blocks, len(result.pages))
    _take_headings_from_outline(blocks, outline)
    by_page: dict[int, list[Line]] = {}
    for found in blocks:
        by_page.setdefault(found.page, []).append(found)
    for page in result.pages:
        label = page.page_label
        info = PageInfo(page.page_num, label=label, width=round(page.width, 2), height=round(page.height, 2))
        if page.page_num in pictures:
            builder.picture(info)
            continue
        builder.page(info)
        for found in by_page.get(page.page_num, ()):
            builder.add(found.kind, found.text, level=found.level, box=found.box)


def _pictures(pages: Sequence[Any], document: Any) -> frozenset[int]:
    """Return the numbers of the pages that are pictures of text: scans, and letters drawn as shapes."""
    found = set()
    for page in pages:
        known = page.complexity
        characters = len((page.text or "").strip()) if known is None else known.text_length
        if characters == 0:
            own = document[page.page_num - 1]
            is_picture = lost_text(own, []) is None and _shows_something(own)
        else:
            is_scan = known is not None and known.full_page_image and not page.form_fields
            is_picture = (characters < _STAMP_CHARACTERS and (is_scan or _is_noise(page.text))) or _is_unreadable(page)
        if is_picture:
            found.add(page.page_num)
    return frozenset(found)


def _is_noise(text: str) -> bool:
    """Tell whether less than half of a text are letters and digits: what a font that maps nothing rightly leaves."""
    shown = "".join(text.split())
    return sum(map(str.isalnum, shown)) * 2 < len(shown)


def _shows_something(page: Any) -> bool:
    """Tell whether a page without text shows an image, or shapes enough to be drawn letters."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE, FPDF_PAGEOBJ_PATH

    objects = page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE, FPDF_PAGEOBJ_PATH], max_depth=4)
    return any(found.type == FPDF_PAGEOBJ_IMAGE or shapes > _MANY_SHAPES for shapes, found in enumerate(objects))


def _is_unreadable(page: Any) -> bool:
    """Tell whether all of a page's text uses fonts without a character map."""
    texts = [_meaning(block)[1] for block in page.blocks or ()]
    return any(texts) and all(map(_has_no_characters, filter(str.strip, texts)))


def _has_no_characters(text: str) -> bool:
    return len(_CONTROLS.findall(text)) > _MOST_CONTROLS * len(text)


def _outline(builder: DocumentBuilder, document: Any, limits: ParseLimits) -> _Outline:
    """Return the outline that PDFium finds, and note what the file says of itself."""
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
    is_file_name = re.search(
        r"\.(?:docx?|pdf|indd|tex|dvi|fm|p65|qxd|pptx?|xlsx?)$|^\(?untitled|^microsoft word|^\(?anonymous\)?$",
        title,
        re.I,
    )
    builder.describe(
        title=None if is_file_name else title,
        authors=_people(document.get_metadata_value("Author")),
        created=_pdf_date(document.get_metadata_value("CreationDate")),
    )
    if attached := document.count_attachments():
        builder.warn(f"{attached} files are attached to the PDF; they were not read.")
    return _Outline(headings)


def _people(names: str) -> list[str]:
    parts = names.split(";") if ";" in names else re.split(r",\s+|\s+and\s+", names)
    return [
        name
        for part in parts
        if (name := part.strip()) and not re.fullmatch(r"\(?(?:anonymous|unknown|unspecified)\)?", name, re.I)
    ]


def _pdf_date(text: str) -> datetime | None:
    """Return a date of ISO 32000-1, 7.9.4: D:YYYYMMDDHHmmSSOHH'mm', all but the year left out at will."""
    found = _DATE.match(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, sign, offset_hours, offset_minutes = found.groups()
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        return datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=zone
        )
    except ValueError:
        return None


def _liteparse(data: bytes, limits: ParseLimits, password: str | None) -> Any:
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
        password=password,
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


def _page_blocks(page: Any, builder: DocumentBuilder) -> list[Line]:
    found: list[Line] = []
    for block in page.blocks or ():
        kind, text, level = _meaning(block)
        if _has_no_characters(text):
            builder.warn("Some text uses fonts without a character map and was left out.")
            continue
        if text.strip():
            text = in_reading_order(text) if has_right_to_left(text) else text
            found.append(Line(kind, text, level, page.page_num, _box(block.bbox, page)))
    return found + _filled_fields(page)


def _completed(found: list[Line], page: Any, number: int) -> list[Line]:
    """Return a page's blocks with what the layout left out: text that it lost, and notes."""
    text = lost_text(page, found)
    if text is not None:
        found = [
            Line(BlockKind.PARAGRAPH, in_reading_order(text) if has_right_to_left(text) else text, 0, number, None)
        ]
    return found + comments(page, number)


def _filled_fields(page: Any) -> list[Line]:
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
        found.append(Line(BlockKind.PARAGRAPH, text, 0, page.page_num, _box(field.rect, page)))
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
    whole = _DIVIDED.sub("", markdown or "")  # before the marks go that show where the line ended
    return _ESCAPED.sub(r"\1", _EMPHASIS.sub("", whole))


def _box(rect: Any, page: Any) -> Box | None:
    if rect is None or not page.width or not page.height:
        return None
    edges = (rect.x / page.width, rect.y / page.height)
    far = ((rect.x + rect.width) / page.width, (rect.y + rect.height) / page.height)
    left, top, right, bottom = (round(min(1.0, max(0.0, edge)), 4) for edge in (*edges, *far))
    return left, top, right, bottom


def _take_headings_from_outline(blocks: Sequence[Line], outline: _Outline) -> None:
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
