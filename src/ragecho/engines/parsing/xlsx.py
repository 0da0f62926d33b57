"""Workbooks (XLSX, XLSM) to blocks: a heading per sheet, and each region of filled cells a table.

Hidden sheets are left out, with a warning. Cells that are merged repeat their text; formulas show the value that was saved
with them. Turned down for this: xberg (loses percentages, units, merged cells and text boxes; one table per sheet) and
openpyxl (four times as slow, and no text boxes).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, table_text, tables, with_one_header
from ragecho.engines.parsing.charts import add_chart, description
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.package import Package, describe, main_of
from ragecho.engines.parsing.xlsx_formats import Formats
from ragecho.kernel.parsed import BlockKind, PageKind
from ragecho.ports.parser import ParseLimits

_MAIN = "xl/workbook.xml"
_PLACE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_MOST_MERGED_CELLS = 5_000
_LONG = 200  # rows from which a table is cut into several
_NUMBER = re.compile(r"[-+]?[\d.,]+ ?%?$")
Cells = dict[int, str]


@dataclass(slots=True)
class _Sheet:
    rows: dict[int, Cells] = field(default_factory=dict)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)  # top, left, bottom, right

    def fill_merged(self) -> None:
        """Repeat the text of merged cells in all the cells that they cover."""
        last_row = max(self.rows, default=0)
        last_column = max((max(cells, default=0) for cells in self.rows.values()), default=0)
        for top, left, bottom, right in self.merged:
            text = self.rows.get(top, {}).get(left)
            rows, columns = range(top, min(bottom, last_row) + 1), range(left, min(right, last_column) + 1)
            if not text or len(rows) * len(columns) > _MOST_MERGED_CELLS:
                continue
            for row in rows:
                cells = self.rows.setdefault(row, {})
                for column in columns:
                    cells.setdefault(column, text)
        self.rows = dict(sorted(self.rows.items()))


def read_xlsx(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Add the blocks of a workbook. Raises `ParseFailed`."""
    package = Package(data)
    name, workbook = main_of(package, data, _MAIN)
    describe(builder, package)
    sheets = workbook.findall("sheets/sheet")
    if len(sheets) > limits.pages:
        raise failure("too_many_pages", pages=len(sheets), limit=limits.pages)
    _Reader(builder, package, name, workbook, limits).read(sheets)


class _Reader:
    def __init__(
        self, builder: DocumentBuilder, package: Package, name: str, workbook: ET.Element, limits: ParseLimits
    ) -> None:
        self._builder = builder
        self._package = package
        self._name = name
        self._limits = limits
        parts = {kind: path for _, kind, path in package.related(name)}
        is_1904 = any(one.get("date1904", "0") in ("1", "true") for one in workbook.iterfind("workbookPr"))
        self._formats = Formats(package.part(parts.get("styles", "")), is_1904=is_1904)
        self._strings = self._shared_strings(parts.get("sharedStrings", ""))
        self._people = _people(package)

    def read(self, sheets: Sequence[ET.Element]) -> None:
        """Add every sheet that is shown."""
        hidden = []
        for number, sheet in enumerate(sheets, 1):
            title = sheet.get("name") or f"Sheet {number}"
            if sheet.get("state", "visible") != "visible":
                hidden.append(title)
                continue
            self._builder.page(PageInfo(number, PageKind.SHEET, title))
            part = self._package.target(self._name, sheet.get("r:id", ""))
            self._add_sheet(title, part)
        if hidden:
            self._builder.warn(f"Hidden sheets were left out: {', '.join(hidden)}.")

    def _add_sheet(self, title: str, part: str) -> None:
        sheet = self._cells(part)
        sheet.fill_merged()
        related = [(kind, path) for _, kind, path in self._package.related(part)]
        drawn = [(path, self._package.part(path)) for kind, path in related if kind == "drawing"]
        comments = list(_comments(self._package, related, self._people))
        if not (sheet.rows or comments or drawn):
            return
        self._builder.add(BlockKind.HEADING, title, level=2)
        for region in _regions(sheet.rows):
            self._region(region, sheet.merged)
        for path, drawing in drawn:
            if drawing is not None:
                self._drawing(path, drawing)
        for comment in comments:
            self._builder.add(BlockKind.COMMENT, comment)

    def _region(self, region: "_Region", merged: Sequence[tuple[int, int, int, int]]) -> None:
        rows = [(number, [cells.get(column, "") for column in region.columns]) for number, cells in region.rows]
        while len(rows) > 1 and _says_one_thing(rows[0][1]) and not _says_one_thing(rows[1][1]):
            self._builder.add(BlockKind.PARAGRAPH, next(filter(None, rows.pop(0)[1])))
        if len(region.columns) == 1 or (len(rows) == 1 and _says_one_thing(rows[0][1])):
            lines = [next(filter(None, cells), "") for _, cells in rows]
            for first in range(0, len(lines), _LONG):
                self._builder.add(BlockKind.PARAGRAPH, "\n".join(lines[first : first + _LONG]))
            return
        texts: list[Sequence[str]] = [cells for _, cells in rows]
        headers = _header_rows(rows, merged)
        texts = with_one_header(texts, headers) if headers > 1 else texts
        for text in tables(texts) if len(texts) > _LONG else [table_text(texts)]:
            self._builder.add(BlockKind.TABLE, text)

    def _drawing(self, path: str, drawing: ET.Element) -> None:
        for element in drawing.iter():
            if element.tag == "txBody":
                lines = ["".join(text.text or "" for text in one.iter("t")) for one in element.iterfind("p")]
                self._builder.add(BlockKind.PARAGRAPH, "\n".join(lines))
            elif element.tag == "pic":
                self._builder.add(BlockKind.FIGURE, description(element))
            elif element.tag == "chart" and element.get("r:id"):
                add_chart(self._builder, self._package.part(self._package.target(path, element.get("r:id", ""))))

    # Cells

    def _shared_strings(self, part: str) -> list[str]:
        found: list[str] = []
        characters = 0
        for element in _streamed(self._package, part, "si"):
            found.append(_rich_text(element))
            characters += len(found[-1])
            if characters > self._limits.characters:
                raise failure("too_long", limit=self._limits.characters)
        return found

    def _cells(self, part: str) -> _Sheet:
        sheet = _Sheet()
        characters = 0
        next_row = 1
        for element in _streamed(self._package, part, "row", "mergeCell"):
            if element.tag.endswith("mergeCell"):
                top, left, bottom, right = _area(element.get("ref", ""))
                if top:
                    sheet.merged.append((top, left, bottom, right))
                continue
            number = element.get("r", "")
            number_of_row = int(number) if number.isdecimal() else next_row
            next_row = number_of_row + 1
            cells = self._row(element)
            if cells:
                sheet.rows[number_of_row] = cells
                characters += sum(map(len, cells.values()))
            if characters > self._limits.characters:
                raise failure("too_long", limit=self._limits.characters)
        sheet.rows = dict(sorted(sheet.rows.items()))
        return sheet

    def _row(self, element: ET.Element) -> Cells:
        cells: Cells = {}
        column = 0
        for cell in element:
            place = _PLACE.match(cell.get("r", ""))
            column = _column(place[1]) if place else column + 1
            text = self._text(cell)
            if text.strip():
                cells[column] = text
        return cells

    def _text(self, cell: ET.Element) -> str:
        kind = cell.get("t", "n")
        value = inline = None
        for child in cell:
            if child.tag.endswith("}v") or child.tag == "v":
                value = child.text
            elif child.tag.endswith("}is") or child.tag == "is":
                inline = child
        if kind == "inlineStr":
            return _rich_text(inline) if inline is not None else ""
        if value is None:
            return ""
        if kind == "s":
            index = int(value) if value.isdecimal() else -1
            return self._strings[index] if 0 <= index < len(self._strings) else ""
        if kind == "b":
            return "TRUE" if value.strip() == "1" else "FALSE"
        return self._formats.shown(value, cell.get("s")) if kind == "n" else value


def _streamed(package: Package, part: str, *names: str) -> Iterator[ET.Element]:
    """Yield the elements of these names from a part that may be far too large for a tree. Raises `ParseFailed` "damaged"."""
    stream = package.stream(part)
    if stream is None:
        return
    root = None
    try:
        for event, element in ET.iterparse(stream, events=("start", "end")):  # noqa: S314 (`main_of` refused entities)
            if root is None:
                root = element
            if event == "end" and element.tag.rpartition("}")[2] in names:
                yield element
                element.clear()
                if element.tag.endswith("row"):
                    _forget_children(root)
    except ET.ParseError as error:
        raise failure("damaged") from error
    except OSError as error:
        raise failure("damaged") from error


def _forget_children(root: ET.Element) -> None:
    """Drop the rows that have been read; the elements of `root` are few."""
    for child in root:
        if child.tag.endswith("sheetData"):
            child.clear()


def _rich_text(element: ET.Element) -> str:
    """Return a string's text without the reading aids of East Asian scripts."""
    parts = []
    for child in element:
        tag = child.tag.rpartition("}")[2]
        if tag == "t":
            parts.append(child.text or "")
        elif tag == "r":
            parts.extend(text.text or "" for text in child if text.tag.endswith("}t") or text.tag == "t")
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), "".join(parts))


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _area(reference: str) -> tuple[int, int, int, int]:
    first, _, last = reference.partition(":")
    start, end = _PLACE.fullmatch(first), _PLACE.fullmatch(last or first)
    if start is None or end is None:
        return 0, 0, 0, 0
    return int(start[2]), _column(start[1]), int(end[2]), _column(end[1])


# Regions


@dataclass(slots=True)
class _Region:
    rows: list[tuple[int, Cells]]
    columns: list[int]


def _regions(rows: dict[int, Cells]) -> Iterator[_Region]:
    """Yield what empty rows and columns part: each most likely a table of its own."""
    groups: list[list[tuple[int, Cells]]] = []
    for number, cells in rows.items():
        if groups and groups[-1][-1][0] == number - 1:
            groups[-1].append((number, cells))
        else:
            groups.append([(number, cells)])
    pending: _Region | None = None
    for group in groups:
        for region in _side_by_side(group):
            if pending is not None and _continues(pending, region):
                pending.rows.extend(region.rows)
                continue
            if pending is not None:
                yield pending
            pending = region
    if pending is not None:
        yield pending


def _side_by_side(group: list[tuple[int, Cells]]) -> Iterator[_Region]:
    """Yield the parts of a group of rows that empty columns part; a single column stays with what stands beside it."""
    columns = sorted({column for _, cells in group for column in cells})
    runs: list[list[int]] = []
    for column in columns:
        if runs and runs[-1][-1] == column - 1:
            runs[-1].append(column)
        else:
            runs.append([column])
    if len(group) == 1 or any(len(run) == 1 for run in runs):
        runs = [columns]
    for run in runs:
        wanted = set(run)
        own = [(number, {at: text for at, text in cells.items() if at in wanted}) for number, cells in group]
        yield _Region([(number, cells) for number, cells in own if cells], run)


def _continues(above: _Region, below: _Region) -> bool:
    """Tell whether a region goes on after an empty row: the same columns, and numbers where a header would have words."""
    first = below.rows[0][1]
    is_beside = above.rows[0][0] == below.rows[0][0]
    return (
        not is_beside
        and len(above.columns) > 1
        and set(below.columns) <= set(above.columns)
        and any(_NUMBER.match(text) for text in first.values())
    )


def _says_one_thing(cells: Sequence[str]) -> bool:
    return len(set(filter(None, cells))) == 1


def _header_rows(rows: Sequence[tuple[int, Sequence[str]]], merged: Sequence[tuple[int, int, int, int]]) -> int:
    """Return how many rows the header has: two and more where cells are merged in the first of them."""
    first = rows[0][0]
    deep = wide = 1
    for top, left, bottom, right in merged:
        if top == first:
            deep = max(deep, bottom - top + 1)
            wide = max(wide, right - left + 1)
    count = max(deep, 2 if wide > 1 else 1)
    is_words = all(not _NUMBER.match(text) for _, cells in rows[1:count] for text in cells)
    return count if count < len(rows) and count <= 4 and is_words else 1  # noqa: PLR2004 (no header is deeper)


# Comments


def _comments(package: Package, related: Sequence[tuple[str, str]], people: dict[str, str]) -> Iterator[str]:
    """Yield each comment on a cell: "B2 (Jane Editor): Which one?"."""
    parts = dict(related)
    threaded = package.part(parts.get("threadedComment", ""))
    answered = set()
    for comment in threaded if threaded is not None else ():
        answered.add(comment.get("ref"))
        yield _shown(comment, people.get(comment.get("personId", ""), ""))
    plain = package.part(parts.get("comments", ""))
    if plain is None:
        return
    authors = [author.text or "" for author in plain.iterfind("authors/author")]
    for comment in plain.iterfind("commentList/comment"):
        if comment.get("ref") not in answered:  # a thread's plain copy tells people to update Excel
            index = comment.get("authorId", "0")
            known = index.isdecimal() and int(index) < len(authors)
            yield _shown(comment, authors[int(index)] if known else "")


def _people(package: Package) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in package.names:
        if name.startswith("xl/persons/") and (people := package.part(name)) is not None:
            found |= {person.get("id", ""): person.get("displayName", "") for person in people}
    return found


def _shown(comment: ET.Element, author: str) -> str:
    text = " ".join("".join(comment.itertext()).split())
    lead = f"{comment.get('ref', '')} ({author})" if author else comment.get("ref", "")
    return f"{lead}: {text}"
