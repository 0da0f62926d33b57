"""OpenDocument (ODT, ODS, ODP) to blocks, as `docx`, `xlsx` and `pptx` read their kinds.

Turned down for this: xberg (one slide per file, shifted columns where cells are merged, no page of a large sheet at all).
"""

# Over 400 lines: one walk over one tree, whose styles and lists all of it shares.

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, table_text
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.opendocument_styles import Counter, OpenStyles
from ragecho.engines.parsing.package import Package, main_of, time_of, words_of
from ragecho.engines.parsing.reading_order import Shape, in_order
from ragecho.engines.parsing.sheets import Sheet, add_sheet
from ragecho.engines.parsing.xlsx_formats import plain_number
from ragecho.kernel.parsed import BlockKind, PageKind
from ragecho.ports.parser import ParseLimits

_SECTIONS = frozenset(
    {
        "section",
        "table-of-content",
        "index-body",
        "alphabetical-index",
        "illustration-index",
        "bibliography",
        "user-index",
    }
)
_NOT_SHOWN = frozenset(
    {
        "page-number",
        "page-count",
        "tracked-changes",
        "note-citation",
        "sequence-decls",
        "forms",
        "event-listeners",
        "title",
        "desc",
    }
)
_SHAPES = frozenset(
    {"frame", "custom-shape", "g", "rect", "ellipse", "line", "connector", "path", "polygon", "caption"}
)
_QUIET_PLACES = frozenset({"date-time", "page-number", "header", "page"})
_DEEPEST = 80
_MOST_REPEATED = 1_000
_MOST_COLUMNS = 1_000
_LENGTH = re.compile(r"(-?[\d.]+)(cm|mm|in|pt|px)?")
_IN_CM = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 0.0353, "px": 0.0265, None: 1.0}


@dataclass(slots=True)
class _Beside:
    """What belongs to a paragraph and is added after it."""

    boxes: list[ET.Element] = field(default_factory=list)
    notes: list[tuple[BlockKind, str]] = field(default_factory=list)


def read_opendocument(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Add the blocks of an OpenDocument file. Raises `ParseFailed`."""
    package = Package(data)
    manifest = package.part("META-INF/manifest.xml")
    if manifest is not None and next(manifest.iter("encryption-data"), None) is not None:
        raise failure("encrypted")
    _, root = main_of(package, data, "content.xml")
    _describe(builder, package.part("meta.xml"))
    body = root.find("body")
    reader = _Reader(builder, package, root, limits)
    for element in body if body is not None else ():
        reader.read(element)


def _describe(builder: DocumentBuilder, meta: ET.Element | None) -> None:
    known = meta.find("meta") if meta is not None else None
    if known is None:
        return
    people = known.findtext("initial-creator") or known.findtext("creator") or ""
    builder.describe(
        title=known.findtext("title"),
        authors=[name.strip() for name in people.split(";")],
        created=time_of(known.findtext("creation-date")) or time_of(known.findtext("date")),
    )


class _Reader:
    def __init__(self, builder: DocumentBuilder, package: Package, root: ET.Element, limits: ParseLimits) -> None:
        self._builder = builder
        self._package = package
        self._limits = limits
        self._master = package.part("styles.xml")
        self._styles = OpenStyles(self._master, root)
        self._outline = self._styles.outline()
        self._counters: dict[str, Counter] = {}  # of lists, by their id
        self._latest: dict[str, Counter] = {}  # of lists, by their style
        self._code: list[str] = []
        self._depth = 0

    def read(self, body: ET.Element) -> None:
        """Add a text, a workbook or a presentation."""
        if body.tag == "spreadsheet":
            self._workbook(body)
        elif body.tag in ("presentation", "drawing"):
            self._slides(body)
        else:
            self._blocks(body)
            self._end_code()
            self._headers()

    # Text

    def _blocks(self, parent: ET.Element) -> None:
        self._depth += 1
        if self._depth < _DEEPEST:
            for element in parent:
                self._block(element)
        self._depth -= 1

    def _block(self, element: ET.Element) -> None:
        if element.tag == "p":
            self._paragraph(element)
        elif element.tag == "h":
            self._heading(element)
        elif element.tag in ("list", "numbered-paragraph"):
            self._list(element, None, 0)
        elif element.tag == "table":
            self._end_code()
            self._builder.add(BlockKind.TABLE, table_text(self._grid(element, 0), headers=_header_rows(element)))
        elif element.tag in _SHAPES:
            self._shape(element)
        elif element.tag in _SECTIONS and element.get("display") != "none":
            self._blocks(element)

    def _paragraph(self, element: ET.Element, marker: str = "", level: int = 0) -> None:
        style = element.get("style-name", "")
        beside = _Beside()
        text = self._text(element, beside) if not self._styles.is_hidden(style) else ""
        names = self._styles.names(style)
        if "preformatted" in names or "source code" in names:
            self._code.append(text)
        else:
            self._end_code()
            if marker:
                self._builder.add(BlockKind.LIST_ITEM, marker + text.strip() if text.strip() else "", level=level)
            elif re.search(r"(?:^| )title(?: |$)", names) and "subtitle" not in names:
                self._builder.add(BlockKind.HEADING, " ".join(text.split()), level=1)
            else:
                self._builder.add(BlockKind.QUOTE if "quot" in names else BlockKind.PARAGRAPH, text)
        self._after(beside)

    def _heading(self, element: ET.Element) -> None:
        self._end_code()
        beside = _Beside()
        level = element.get("outline-level", "1")
        depth = int(level) if level.isdecimal() else 1
        text = self._text(element, beside)
        if text.strip():
            marker = self._outline.marker(depth) if element.get("is-list-header") != "true" else ""
            marker = "" if marker == "- " else marker
            self._builder.add(BlockKind.HEADING, " ".join((marker + text).split()), level=min(6, depth))
        self._after(beside)

    def _after(self, beside: _Beside) -> None:
        for box in beside.boxes:
            self._shape(box)
        for kind, note in beside.notes:
            self._builder.add(kind, note)

    def _end_code(self) -> None:
        lines, self._code = self._code, []
        self._builder.add(BlockKind.CODE, "\n".join(lines).strip("\n"))

    def _list(self, element: ET.Element, outer: Counter | None, depth: int) -> None:
        if depth > _DEEPEST:
            return
        counter = outer or self._counter_of(element)
        for item in element:
            if item.tag not in ("list-item", "list-header"):
                continue
            is_first = item.tag == "list-item"
            for child in item:
                if child.tag == "list":
                    self._list(child, counter, depth + 1)
                elif child.tag == "p":
                    marker = counter.marker(depth + 1, item.get("start-value")) if is_first else ""
                    self._paragraph(child, marker, depth + 1)
                    is_first = False
                else:
                    self._block(child)

    def _counter_of(self, element: ET.Element) -> Counter:
        style = element.get("style-name", "")
        if not style and (first := element.find(".//p")) is not None:
            style = self._styles.list_of(first.get("style-name", ""))
        before = self._counters.get(element.get("continue-list", "-"))
        if before is None and element.get("continue-numbering") == "true":
            before = self._latest.get(style)
        counter = before or self._styles.counter(style)
        self._latest[style] = counter
        if "id" in element.attrib:
            self._counters[element.attrib["id"]] = counter
        return counter

    def _text(self, parent: ET.Element, beside: _Beside) -> str:
        self._depth += 1
        parts = [parent.text or ""] if self._depth < _DEEPEST else []
        for element in parent if self._depth < _DEEPEST else ():
            parts.append(self._inline(element, beside))
            parts.append(element.tail or "")
        self._depth -= 1
        return "".join(parts)

    def _inline(self, element: ET.Element, beside: _Beside) -> str:  # noqa: PLR0911 (one return per kind of element)
        match element.tag:
            case "s":
                count = element.get("c", "1")
                return " " * (min(100, int(count)) if count.isdecimal() else 1)
            case "tab":
                return "\t"
            case "line-break":
                return "\n"
            case "note":
                beside.notes.append((BlockKind.FOOTNOTE, self._plain(element.find("note-body"))))
                return ""
            case "annotation":
                beside.notes.append((BlockKind.COMMENT, self._comment(element)))
                return ""
            case "ruby":
                base = element.find("ruby-base")
                return self._text(base, beside) if base is not None else ""
            case "object":
                return ""
            case tag if tag in _SHAPES:
                beside.boxes.append(element)
                return ""
            case tag if tag in _NOT_SHOWN or tag.startswith(("change", "bookmark", "hidden-")):
                return ""
        if self._styles.is_hidden(element.get("style-name", "")):
            return ""
        return self._text(element, beside)

    def _comment(self, element: ET.Element) -> str:
        author = words_of(element.find("creator"))
        text = " ".join(self._text(one, _Beside()) for one in element.iter("p"))
        return f"{author}: {text}" if author and text.strip() else text

    def _plain(self, parent: ET.Element | None) -> str:
        return (
            " ".join(self._text(one, _Beside()) for one in parent.iter() if one.tag in ("p", "h"))
            if parent is not None
            else ""
        )

    def _headers(self) -> None:
        seen: set[str] = set()
        for element in self._master.iter() if self._master is not None else ():
            if element.tag in ("header", "footer", "header-left", "footer-left", "header-first", "footer-first"):
                text = "\n".join(filter(str.strip, (self._text(one, _Beside()) for one in element.iter("p"))))
                kind = BlockKind.HEADER if element.tag.startswith("header") else BlockKind.FOOTER
                if text.strip() and element.get("display") != "false" and text not in seen:
                    seen.add(text)
                    self._builder.add(kind, text)

    # Tables

    def _grid(self, table: ET.Element, depth: int) -> list[list[str]]:
        """Return the rows of a table, merged cells repeated."""
        rows: list[list[str]] = []
        spanning: dict[int, tuple[int, str]] = {}  # column -> rows still to fill, text
        for row in _rows(table):
            texts: list[str] = []
            for cell in row:
                if cell.tag == "covered-table-cell":
                    for _ in range(_times(cell, "number-columns-repeated")):
                        left, text = spanning.get(len(texts), (0, ""))
                        texts.append(text if left else "")
                elif cell.tag == "table-cell":
                    text = self._cell(cell, depth)
                    below = _times(cell, "number-rows-spanned")
                    for column in range(len(texts), len(texts) + _times(cell, "number-columns-spanned")):
                        spanning[column] = (below, text)
                    texts.extend([text] * min(_MOST_COLUMNS, _times(cell, "number-columns-repeated")))
            spanning = {column: (left - 1, text) for column, (left, text) in spanning.items() if left > 1}
            rows.append(_without_empty_end(texts))
        return rows

    def _cell(self, cell: ET.Element, depth: int) -> str:
        parts = []
        beside = _Beside()
        for element in cell:
            if element.tag == "table" and depth < _DEEPEST // 4:
                rows = self._grid(element, depth + 1)
                parts.append("; ".join(", ".join(filter(None, row)) for row in rows))
            elif element.tag == "list":
                items = list(element.iter("p"))
                parts.extend(("- " if len(items) > 1 else "") + self._text(one, beside) for one in items)
            elif element.tag in ("p", "h"):
                parts.append(self._text(element, beside))
        parts.extend(note for _, note in beside.notes)
        return "\n".join(parts)

    # Workbooks

    def _workbook(self, body: ET.Element) -> None:
        sheets = body.findall("table")
        if len(sheets) > self._limits.pages:
            raise failure("too_many_pages", pages=len(sheets), limit=self._limits.pages)
        hidden = []
        for number, element in enumerate(sheets, 1):
            title = element.get("name") or f"Sheet {number}"
            if self._styles.is_hidden(element.get("style-name", "")):
                hidden.append(title)
                continue
            self._builder.page(PageInfo(number, PageKind.SHEET, title))
            comments: list[str] = []
            sheet = self._sheet(element, comments)
            shapes = element.findall("shapes/*")
            if sheet.rows or comments or shapes:
                self._builder.add(BlockKind.HEADING, title, level=2)
                add_sheet(self._builder, sheet)
            for shape in [*shapes, *(frame for cell in element.iter("table-cell") for frame in cell.iterfind("frame"))]:
                self._shape(shape)
            for comment in comments:
                self._builder.add(BlockKind.COMMENT, comment)
        if hidden:
            self._builder.warn(f"Hidden sheets were left out: {', '.join(hidden)}.")

    def _sheet(self, table: ET.Element, comments: list[str]) -> Sheet:
        sheet = Sheet()
        number = 1
        characters = 0
        for row in _rows(table):
            column = 1
            cells = {}
            for cell in row:
                text = _value(cell, lambda one: self._cell(one, 0)) if cell.tag == "table-cell" else ""
                across, down = _times(cell, "number-columns-spanned"), _times(cell, "number-rows-spanned")
                if text.strip():
                    for at in range(column, column + min(_MOST_REPEATED, _times(cell, "number-columns-repeated"))):
                        cells[at] = text
                    if across > 1 or down > 1:
                        sheet.merged.append((number, column, number + down - 1, column + across - 1))
                for one in cell.iterfind("annotation"):
                    comments.append(f"{_letters(column)}{number}: {self._comment(one)}")
                column += _times(cell, "number-columns-repeated")
            repeated = _times(row, "number-rows-repeated")
            for at in range(number, number + min(_MOST_REPEATED, repeated)) if cells else ():
                sheet.rows[at] = dict(cells)
                characters += sum(map(len, cells.values()))
            if characters > self._limits.characters:
                raise failure("too_long", limit=self._limits.characters)
            number += repeated
        return sheet

    # Slides and shapes

    def _slides(self, body: ET.Element) -> None:
        slides = body.findall("page")
        if len(slides) > self._limits.pages:
            raise failure("too_many_pages", pages=len(slides), limit=self._limits.pages)
        for number, slide in enumerate(slides, 1):
            self._builder.page(PageInfo(number, PageKind.SLIDE))
            shapes = [_shape(one) for one in slide if one.tag in _SHAPES and one.get("class") not in _QUIET_PLACES]
            titles = [one for one in shapes if one.element.get("class") == "title"]
            if not any(words_of(one.element) for one in titles):
                self._builder.add(BlockKind.HEADING, slide.get("name", ""), level=2)
            for title in titles:
                self._builder.add(BlockKind.HEADING, self._plain(title.element), level=2)
            for shape in in_order([one for one in shapes if one not in titles]):
                self._shape(shape.element)
            for one in slide.iterfind("annotation"):
                self._builder.add(BlockKind.COMMENT, self._comment(one))
            for frame in slide.iterfind("notes/frame"):
                if frame.get("class") == "notes":
                    self._builder.add(BlockKind.NOTE, self._plain(frame))

    def _shape(self, element: ET.Element) -> None:
        self._end_code()
        if element.get("class") == "footer":
            self._builder.add(BlockKind.FOOTER, self._plain(element))
            return
        for child in element:
            if child.tag == "text-box":
                self._blocks(child)
            elif child.tag == "object":
                self._object(child)
                return  # the picture beside it shows the same
            elif child.tag == "image":
                described = words_of(element.find("desc"))
                self._builder.add(BlockKind.FIGURE, described)
                return
            elif child.tag in ("p", "list", "table") or child.tag in _SHAPES:
                self._block(child)

    def _object(self, element: ET.Element) -> None:
        """Add a chart as a table, a formula as it is written."""
        folder = element.get("href", "").removeprefix("./").rstrip("/")
        inline = next((one for one in element if one.tag in ("math", "document")), None)
        root = inline if inline is not None else self._package.part(f"{folder}/content.xml")
        if root is None:
            return
        if root.tag == "math":
            written = root.find(".//annotation")
            self._builder.add(BlockKind.FORMULA, words_of(written if written is not None else root))
            return
        chart = root.find(".//chart")
        if chart is not None:
            self._builder.add(BlockKind.PARAGRAPH, words_of(chart.find(".//title")))
        for table in root.iter("table"):
            self._builder.add(BlockKind.TABLE, table_text(self._grid(table, 0)))


def _rows(table: ET.Element) -> Iterator[ET.Element]:
    for element in table:
        if element.tag == "table-row":
            yield element
        elif element.tag in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _rows(element)


def _header_rows(table: ET.Element) -> int:
    return max(1, min(4, sum(1 for header in table.iterfind("table-header-rows") for _ in _rows(header))))


def _times(element: ET.Element, name: str) -> int:
    count = element.get(name, "1")
    return max(1, int(count)) if count.isdecimal() and len(count) < 8 else 1  # noqa: PLR2004 (digits)


def _without_empty_end(texts: Sequence[str]) -> list[str]:
    kept = list(texts)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _value(cell: ET.Element, written: Callable[[ET.Element], str]) -> str:
    """Return what a cell says: numbers as they are kept, dates in ISO 8601, percentages and units as they are shown."""
    value = cell.get("value", "")
    match cell.get("value-type"):
        case "percentage" if value:
            return f"{plain_number(repr(round(_number(value) * 100, 10)))}%"
        case "float" if value:
            return plain_number(value)
        case "currency" if value:
            return f"{plain_number(value)} {cell.get('currency', '')}".strip()
        case "date":
            return cell.get("date-value", "").removesuffix("T00:00:00").replace("T", " ")
    return written(cell)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _letters(column: int) -> str:
    letters = ""
    while column:
        column, place = divmod(column - 1, 26)
        letters = chr(ord("A") + place) + letters
    return letters


def _shape(element: ET.Element) -> Shape:
    left, top, width, height = (_length(element.get(name, "")) for name in ("x", "y", "width", "height"))
    if element.tag == "g" and (inner := [_shape(one) for one in element if one.tag in _SHAPES]):
        left, top = min(one.left for one in inner), min(one.top for one in inner)
        return Shape(element, left, top, max(one.right for one in inner), max(one.bottom for one in inner))
    return Shape(element, left, top, left + width, top + height)


def _length(text: str) -> float:
    found = _LENGTH.fullmatch(text)
    return _number(found[1]) * _IN_CM.get(found[2], 1.0) if found else 0.0
