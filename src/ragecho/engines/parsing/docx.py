"""Word documents (DOCX) to blocks: what a reader sees when all changes are accepted, in reading order.

Deleted and hidden text is left out. Notes and comments follow the paragraph that they belong to, text boxes the one that
they are anchored in. Turned down for this: xberg (shows text that was moved away or hidden, loses numbers of headings
and where notes belong, no merged cells) and python-docx (loses text boxes).
"""

# Over 400 lines: one walk over one tree, whose state (fields, lists, notes, pages) all of it shares.

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, table_text
from ragecho.engines.parsing.charts import add_drawn, description
from ragecho.engines.parsing.docx_styles import Numbering, Style, Styles, is_on
from ragecho.engines.parsing.formulas import as_tex
from ragecho.engines.parsing.package import Package, describe, main_of
from ragecho.kernel.parsed import BlockKind
from ragecho.ports.parser import ParseLimits

_MAIN = "word/document.xml"
_GONE = frozenset({"del", "moveFrom", "delText", "instrText", "delInstrText", "rPr", "pPr", "fldData", "Fallback"})
_RUN_TEXT = {"tab": "\t", "cr": "\n", "noBreakHyphen": "-", "ptab": "\t"}
_LONGEST_CELL = 2000  # characters; a table with a longer one is a page layout
_DEEPEST = 80
_MOST_COLUMNS = 200
_SYMBOLS = {"F0B7": "•", "F0A7": "•", "F0E0": "→", "F0DF": "←", "F0FC": "✓", "F0FE": "☑", "F0A8": "☐", "F06F": "☐"}


@dataclass(slots=True)
class _Paragraph:
    """A paragraph's text, and what is to be added after it."""

    pieces: list[str] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)  # those that stand on their own
    boxes: list[ET.Element] = field(default_factory=list)
    drawings: list[ET.Element] = field(default_factory=list)
    notes: list[tuple[BlockKind, str]] = field(default_factory=list)
    pages_before: int = 0
    pages_after: int = 0

    @property
    def text(self) -> str:
        """Return what has been collected."""
        return "".join(self.pieces)


def read_docx(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Add the blocks of a Word document. Raises `ParseFailed`."""
    del limits  # pages are only known where Word has counted them
    package = Package(data)
    name, root = main_of(package, data, _MAIN)
    describe(builder, package)
    _Reader(builder, package, name, root).read()


class _Reader:
    def __init__(self, builder: DocumentBuilder, package: Package, name: str, root: ET.Element) -> None:
        self._builder = builder
        self._package = package
        self._name = name
        self._root = root
        parts = {kind: path for _, kind, path in package.related(name)}
        self._styles = Styles(package.part(parts.get("styles", "")))
        self._numbering = Numbering(package.part(parts.get("numbering", "")))
        self._notes = {
            kind: _by_id(package.part(parts.get(part, "")))
            for kind, part in (("footnote", "footnotes"), ("endnote", "endnotes"), ("comment", "comments"))
        }
        self._code: list[str] = []
        self._fields: list[bool] = []  # of every open field: whether its result is being shown
        self._noted: set[int] = set()
        self._page = 0
        self._depth = 0
        self._joined: _Paragraph | None = None  # a paragraph whose end was deleted

    def read(self) -> None:
        """Add everything."""
        if next(self._root.iter("lastRenderedPageBreak"), None) is not None:
            self._turn(1)
        body = self._root.find("body")
        self._blocks(body if body is not None else self._root)
        self._end_code()
        self._headers()

    def _turn(self, pages: int) -> None:
        for _ in range(pages):
            self._page += 1
            self._builder.page(PageInfo(self._page))

    def _blocks(self, parent: ET.Element) -> None:
        self._depth += 1
        if self._depth < _DEEPEST:
            for element in _children(parent):
                if element.tag == "p":
                    self._paragraph(element)
                elif element.tag == "tbl":
                    self._table(element)
                elif element.tag == "altChunk":
                    self._other_format(element)
                elif element.tag in ("oMathPara", "oMath"):
                    self._builder.add(BlockKind.FORMULA, as_tex(element))
                elif element.tag in ("ins", "moveTo", "sdt", "sdtContent", "customXml", "smartTag", "Choice"):
                    self._blocks(element)
        self._depth -= 1

    def _paragraph(self, element: ET.Element) -> None:
        properties = element.find("pPr")
        style = self._styles.of(_val(properties, "pStyle"))
        found = self._joined or _Paragraph()
        self._joined = None
        self._collect(element, found, style.is_hidden)
        if properties is not None and properties.find("rPr/del") is not None:
            self._joined = found  # the end of the paragraph was deleted: the next one continues it
            return
        if self._page:
            self._turn(found.pages_before)
        if style.is_code and not style.level:
            self._code.append(found.text)
        else:
            self._end_code()
            self._add_text(found, style, properties)
        self._add_rest(found)

    def _add_text(self, found: _Paragraph, style: Style, properties: ET.Element | None) -> None:
        text = found.text
        level = style.level
        outline = _val(properties, "outlineLvl")
        if outline.isdecimal():
            level = int(outline) + 1 if int(outline) < 9 else 0  # noqa: PLR2004 (9 is body text)
        numbering = _numbering(style, properties)
        if not text.strip():
            if numbering and found.formulas:
                self._numbering.marker(*numbering)
            return
        if level:
            marker = self._numbering.marker(*numbering) if numbering else ""
            marker = "" if marker == "- " else marker
            self._builder.add(BlockKind.HEADING, " ".join((marker + text).split()), level=min(6, level))
        elif numbering is not None:
            marker = self._numbering.marker(*numbering)
            self._builder.add(BlockKind.LIST_ITEM, marker + text.strip(), level=numbering[1] + 1)
        else:
            self._builder.add(BlockKind.QUOTE if style.is_quote else BlockKind.PARAGRAPH, text)

    def _add_rest(self, found: _Paragraph) -> None:
        for formula in found.formulas:
            self._builder.add(BlockKind.FORMULA, formula)
        for drawing in found.drawings:
            self._drawing(drawing)
        for box in found.boxes:
            self._blocks(box)
            self._end_code()
        for kind, note in found.notes:
            self._builder.add(kind, note)
        if self._page:
            self._turn(found.pages_after)

    def _end_code(self) -> None:
        lines, self._code = self._code, []
        self._builder.add(BlockKind.CODE, "\n".join(lines).strip("\n"))

    def _drawing(self, drawing: ET.Element) -> None:
        if drawing.find(".//txbxContent") is None:
            self._builder.add(BlockKind.FIGURE, description(drawing))
        add_drawn(self._builder, self._package, self._name, drawing)

    # Within a paragraph

    def _collect(self, parent: ET.Element, found: _Paragraph, is_hidden: bool) -> None:
        self._depth += 1
        if self._depth < _DEEPEST:
            for element in _children(parent):
                self._take(element, found, is_hidden)
        self._depth -= 1

    def _take(self, element: ET.Element, found: _Paragraph, is_hidden: bool) -> None:  # noqa: PLR0912 (one branch per kind of element)
        tag = element.tag
        if tag == "fldChar":
            self._field(element.get("fldCharType", ""))
        elif tag == "lastRenderedPageBreak":
            if found.text.strip():
                found.pages_after += 1
            else:
                found.pages_before += 1
        elif tag == "r":
            hidden = element.find("rPr/vanish")
            self._collect(element, found, is_on(hidden) if hidden is not None else is_hidden)
        elif tag == "txbxContent":
            found.boxes.append(element)
        elif tag == "drawing":
            found.drawings.append(element)
            found.boxes.extend(_outermost_boxes(element))
        elif is_hidden or not all(self._fields):
            return
        elif tag == "t":
            found.pieces.append(element.text or "")
        elif tag in _RUN_TEXT:
            found.pieces.append(_RUN_TEXT[tag])
        elif tag == "br":
            found.pieces.append("\n" if element.get("type", "textWrapping") == "textWrapping" else "")
        elif tag == "sym":
            found.pieces.append(_SYMBOLS.get(element.get("char", "").upper(), ""))
        elif tag == "oMathPara":
            found.formulas.extend(as_tex(one) for one in element.iterfind("oMath"))
        elif tag == "oMath":
            found.pieces.append(f"${as_tex(element)}$")
        elif tag in ("footnoteReference", "endnoteReference", "commentReference"):
            found.notes.extend(self._note(tag.removesuffix("Reference"), element.get("id", "")))
        else:
            self._collect(element, found, is_hidden)

    def _field(self, what: str) -> None:
        if what == "begin":
            self._fields.append(False)
        elif what == "separate" and self._fields:
            self._fields[-1] = True
        elif what == "end" and self._fields:
            self._fields.pop()

    def _note(self, kind: str, key: str) -> Iterator[tuple[BlockKind, str]]:
        note = self._notes[kind].get(key)
        if note is None or id(note) in self._noted:
            return
        self._noted.add(id(note))
        text = " ".join(self._inner_text(note).split())
        if kind == "comment":
            author = note.get("author", "").strip()
            yield BlockKind.COMMENT, f"{author}: {text}" if author and text else text
        elif note.get("type", "normal") == "normal":
            yield BlockKind.FOOTNOTE, text

    def _inner_text(self, parent: ET.Element) -> str:
        """Return the text of all paragraphs within an element, a line for each."""
        fields, self._fields = self._fields, []
        lines = []
        for paragraph in _paragraphs(parent):
            found = _Paragraph()
            self._collect(paragraph, found, is_hidden=False)
            lines.append(" ".join(filter(None, [found.text, *found.formulas])))
            lines.extend(self._inner_text(box) for box in found.boxes)
            lines.extend(note for kind, note in found.notes if kind is BlockKind.FOOTNOTE)
        self._fields = fields
        return "\n".join(lines)

    # Tables

    def _table(self, table: ET.Element) -> None:
        self._end_code()
        cells = [_cells(row) for row in _rows(table)]
        if _is_frame(cells):
            for row in cells:
                for cell, _ in row:
                    self._blocks(cell)
            return
        rows, headers = self._grid(table, 0)
        if any(len(cell) > _LONGEST_CELL for row in rows for cell in row):
            for row in cells:
                for cell, _ in row:
                    self._blocks(cell)
            return
        self._builder.add(BlockKind.TABLE, table_text(rows, headers=headers))
        for row in cells:
            for cell, _ in row:
                for drawing in cell.iter("drawing"):
                    self._drawing(drawing)

    def _grid(self, table: ET.Element, depth: int) -> tuple[list[list[str]], int]:
        """Return the rows, merged cells repeated, and how many of them are a header."""
        rows: list[list[str]] = []
        headers = 0
        for row in _rows(table):
            texts: list[str] = [""] * _grid_before(row)
            for cell, span in _cells(row):
                text = self._cell(cell, depth)
                merge = cell.find("tcPr/vMerge")
                if merge is not None and merge.get("val", "continue") != "restart" and rows:
                    text = rows[-1][len(texts)] if len(texts) < len(rows[-1]) else text
                texts.extend([text] * span)
            if len(rows) == headers and is_on(row.find("trPr/tblHeader")):
                headers += 1
            rows.append(texts)
        return rows, max(1, headers) if headers < len(rows) else 1

    def _cell(self, cell: ET.Element, depth: int) -> str:
        parts = []
        for element in _cell_blocks(cell):
            if element.tag == "tbl" and depth < _DEEPEST // 4:
                rows, _ = self._grid(element, depth + 1)
                parts.append("; ".join(", ".join(filter(None, row)) for row in rows))
            elif element.tag == "p":
                parts.append(self._cell_paragraph(element))
        return "\n".join(parts)

    def _cell_paragraph(self, element: ET.Element) -> str:
        found = _Paragraph()
        properties = element.find("pPr")
        style = self._styles.of(_val(properties, "pStyle"))
        self._collect(element, found, style.is_hidden)
        text = " ".join(filter(None, [found.text, *found.formulas]))
        numbering = _numbering(style, properties)
        if numbering and text.strip():
            text = self._numbering.marker(*numbering) + text
        boxes = [self._inner_text(box) for box in found.boxes]
        return "\n".join([text, *boxes, *(note for _, note in found.notes)])

    # Beside the body

    def _headers(self) -> None:
        seen: set[str] = set()
        for section in self._root.iter("sectPr"):
            for reference in section:
                if reference.tag not in ("headerReference", "footerReference"):
                    continue
                part = self._package.part(self._package.target(self._name, reference.get("r:id", "")))
                text = self._inner_text(part) if part is not None else ""
                kind = BlockKind.HEADER if reference.tag == "headerReference" else BlockKind.FOOTER
                if text.strip() and text not in seen:
                    seen.add(text)
                    self._builder.add(kind, "\n".join(line for line in text.splitlines() if line.strip()))

    def _other_format(self, element: ET.Element) -> None:
        """Add a part in HTML that Word shows in place ("altChunk")."""
        from ragecho.engines.parsing.detect import decode
        from ragecho.engines.parsing.html import read_html

        name = self._package.target(self._name, element.get("r:id", ""))
        data = self._package.raw(name) if name.lower().endswith((".htm", ".html", ".xhtml")) else None
        if data is not None:
            read_html(self._builder, decode(data, is_html=True)[0])


def _val(properties: ET.Element | None, path: str) -> str:
    found = properties.find(path) if properties is not None else None
    return found.get("val", "") if found is not None else ""


def _numbering(style: Style, properties: ET.Element | None) -> tuple[str, int] | None:
    """Return the list that a paragraph belongs to and how deep it stands in it."""
    number = properties.find("numPr") if properties is not None else None
    key = _val(number, "numId") or (style.list[0] if style.list else "")
    depth = _val(number, "ilvl")
    if not key or key == "0":
        return None
    return key, min(8, int(depth)) if depth.isdecimal() else style.list[1] if style.list else 0


def _children(parent: ET.Element) -> Iterator[ET.Element]:
    """Yield what is shown of an element's children: of alternatives the first."""
    for element in parent:
        if element.tag == "AlternateContent":
            choice = element.find("Choice")
            shown = choice if choice is not None else element.find("Fallback")
            yield from shown if shown is not None else ()
        elif element.tag not in _GONE:
            yield element


def _outermost_boxes(drawing: ET.Element) -> Iterator[ET.Element]:
    for element in drawing:
        if element.tag == "txbxContent":
            yield element
        elif element.tag != "Fallback":
            yield from _outermost_boxes(element)


def _paragraphs(parent: ET.Element) -> Iterator[ET.Element]:
    for element in _children(parent):
        if element.tag == "p":
            yield element
        else:
            yield from _paragraphs(element)


def _rows(table: ET.Element) -> Iterator[ET.Element]:
    for element in _children(table):
        if element.tag == "tr":
            if element.find("trPr/del") is None:
                yield element
        elif element.tag in ("sdt", "sdtContent", "ins", "customXml", "moveTo"):
            yield from _rows(element)


def _cells(row: ET.Element) -> list[tuple[ET.Element, int]]:
    """Return the cells of a row and how many columns each spans."""
    found = []
    for element in _children(row):
        if element.tag == "tc":
            span = _val(element.find("tcPr"), "gridSpan")
            found.append((element, max(1, min(_MOST_COLUMNS, int(span))) if span.isdecimal() else 1))
        elif element.tag in ("sdt", "sdtContent", "ins", "customXml"):
            found.extend(_cells(element))
    return found


def _grid_before(row: ET.Element) -> int:
    skipped = _val(row.find("trPr"), "gridBefore")
    return min(_MOST_COLUMNS, int(skipped)) if skipped.isdecimal() else 0


def _cell_blocks(cell: ET.Element) -> Iterator[ET.Element]:
    for element in _children(cell):
        if element.tag in ("p", "tbl"):
            yield element
        elif element.tag != "tcPr":
            yield from _cell_blocks(element)


def _is_frame(cells: list[list[tuple[ET.Element, int]]]) -> bool:
    """Tell whether a table is a frame around something: it has a single cell."""
    return len(cells) == 1 and len(cells[0]) == 1


def _by_id(root: ET.Element | None) -> dict[str, ET.Element]:
    return {one.get("id", ""): one for one in root} if root is not None else {}
