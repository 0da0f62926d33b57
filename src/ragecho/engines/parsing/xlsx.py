"""Workbooks (XLSX, XLSM) to blocks: a heading per sheet, and each region of filled cells a table.

Hidden sheets are left out, with a warning. Cells that are merged repeat their text; formulas show the value that was saved
with them. Turned down for this: xberg (loses percentages, units, merged cells and text boxes; one table per sheet) and
openpyxl (four times as slow, and no text boxes).
"""

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo
from ragecho.engines.parsing.charts import add_chart, description
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.package import Package, describe, main_of
from ragecho.engines.parsing.sheets import Cells, Sheet, add_sheet
from ragecho.engines.parsing.xlsx_formats import Formats
from ragecho.kernel.parsed import BlockKind, PageKind
from ragecho.ports.parser import ParseLimits

_MAIN = "xl/workbook.xml"
_PLACE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")


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
        related = [(kind, path) for _, kind, path in self._package.related(part)]
        drawn = [(path, self._package.part(path)) for kind, path in related if kind == "drawing"]
        comments = list(_comments(self._package, related, self._people))
        if not (sheet.rows or comments or drawn):
            return
        self._builder.add(BlockKind.HEADING, title, level=2)
        add_sheet(self._builder, sheet)
        for path, drawing in drawn:
            if drawing is not None:
                self._drawing(path, drawing)
        for comment in comments:
            self._builder.add(BlockKind.COMMENT, comment)

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

    def _cells(self, part: str) -> Sheet:
        sheet = Sheet()
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
