"""Presentations (PPTX) to blocks: a page per slide, its shapes in the order in which they are read, then notes and comments.

Turned down for this: xberg (loses speaker notes and the place of grouped shapes, breaks cells with a bar) and python-pptx
(no order, no diagrams).
"""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, table_text
from ragecho.engines.parsing.charts import add_drawn, description
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.formulas import as_tex
from ragecho.engines.parsing.package import Package, describe, main_of, words_of
from ragecho.engines.parsing.reading_order import Shape, in_order
from ragecho.kernel.parsed import BlockKind, PageKind
from ragecho.ports.parser import ParseLimits

_MAIN = "ppt/presentation.xml"
_TITLES = frozenset({"title", "ctrTitle"})
_SHAPES = frozenset({"sp", "grpSp", "graphicFrame", "pic", "cxnSp"})
_DEEPEST = 30
_MOST_SHAPES = 5_000


def read_pptx(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Add the blocks of a presentation. Raises `ParseFailed`."""
    package = Package(data)
    name, root = main_of(package, data, _MAIN)
    describe(builder, package)
    slides = [package.target(name, one.get("r:id", "")) for one in root.iterfind("sldIdLst/sldId")]
    if len(slides) > limits.pages:
        raise failure("too_many_pages", pages=len(slides), limit=limits.pages)
    authors = _comment_authors(package, name)
    for number, part in enumerate(slides, 1):
        builder.page(PageInfo(number, PageKind.SLIDE))
        slide = package.part(part)
        if slide is not None:
            _Slide(builder, package, part, slide).read(authors)


class _Slide:
    def __init__(self, builder: DocumentBuilder, package: Package, part: str, root: ET.Element) -> None:
        self._builder = builder
        self._package = package
        self._part = part
        self._root = root
        related = package.related(part)
        layout = next((path for _, kind, path in related if kind == "slideLayout"), "")
        master = next((path for _, kind, path in package.related(layout) if kind == "slideMaster"), "")
        self._above = [_placeholders(package.part(path)) for path in (layout, master) if path]

    def read(self, authors: dict[str, str]) -> None:
        """Add the slide's blocks."""
        tree = self._root.find("cSld/spTree")
        shapes = list(self._shapes(tree, (1.0, 1.0, 0.0, 0.0), 0)) if tree is not None else []
        titles = [one for one in shapes if _placeholder(one.element)[0] in _TITLES]
        if not titles:
            self._builder.end_section(2)
        for shape in [*titles, *in_order([one for one in shapes if one not in titles])]:
            self._add(shape)
        for _, kind, path in self._package.related(self._part):
            if kind == "notesSlide":
                self._add_notes(self._package.part(path))
            elif kind == "comments":
                self._add_comments(self._package.part(path), authors)

    def _shapes(self, tree: ET.Element, scale: tuple[float, float, float, float], depth: int) -> Iterator[Shape]:
        for element in list(_children(tree))[:_MOST_SHAPES]:
            if element.tag not in _SHAPES or depth > _DEEPEST or _is_hidden(element):
                continue
            left, top, right, bottom = self._box(element, scale)
            inner = None
            if element.tag == "grpSp":
                inner = list(self._shapes(element, _inner_scale(element, scale), depth + 1))
                if inner and not (right > left and bottom > top):
                    left, top = min(one.left for one in inner), min(one.top for one in inner)
                    right, bottom = max(one.right for one in inner), max(one.bottom for one in inner)
            yield Shape(element, left, top, right, bottom, inner)

    def _box(self, element: ET.Element, scale: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        place = _place(element)
        if place is None:
            kind, index = _placeholder(element)
            known = (above.get(index, above.get(kind)) for above in self._above)
            place = next((found for one in known if one is not None and (found := _place(one)) is not None), None)
        left, top, width, height = place or (0.0, 0.0, 0.0, 0.0)
        across, down, right, below = scale
        left, top = left * across + right, top * down + below
        return left, top, left + width * across, top + height * down

    def _add(self, shape: Shape) -> None:
        element = shape.element
        if shape.inner is not None:
            for one in in_order(shape.inner):
                self._add(one)
        elif element.tag == "graphicFrame":
            table = element.find(".//tbl")
            if table is not None:
                self._builder.add(BlockKind.TABLE, table_text(_table(table)))
            else:
                add_drawn(self._builder, self._package, self._part, element)
        elif element.tag == "pic":
            self._builder.add(BlockKind.FIGURE, description(element))
        else:
            self._add_text(element)

    def _add_text(self, element: ET.Element) -> None:
        kind, index = _placeholder(element)
        body = element.find("txBody")
        if kind in ("dt", "sldNum", "hdr"):
            return
        if body is None or not "".join(body.itertext()).strip():
            self._builder.add(BlockKind.FIGURE, description(element))
            return
        if kind in _TITLES:
            self._builder.add(BlockKind.HEADING, " ".join(" ".join(_lines(body)).split()), level=2)
            return
        if kind == "ftr":
            self._builder.add(BlockKind.FOOTER, " ".join(_lines(body)))
            return
        has_bullets = kind in ("body", "obj") and not self._is_plain(kind, index)
        numbers: dict[int, int] = {}
        for paragraph in body.iterfind("p"):
            self._add_paragraph(paragraph, numbers, has_bullets=has_bullets)

    def _add_paragraph(self, paragraph: ET.Element, numbers: dict[int, int], *, has_bullets: bool) -> None:
        text = _paragraph(paragraph).strip()
        if not text:
            return
        properties = paragraph.find("pPr")
        depth, marks = 0, set()
        if properties is not None:
            depth = int(properties.get("lvl", "0")) if properties.get("lvl", "0").isdecimal() else 0
            marks = {one.tag for one in properties}
        for deeper in [one for one in numbers if one > depth or (one == depth and "buAutoNum" not in marks)]:
            del numbers[deeper]
        is_item = bool(marks & {"buChar", "buAutoNum", "buBlip"}) or (
            (has_bullets or depth > 0) and "buNone" not in marks
        )
        if not is_item:
            self._builder.add(BlockKind.PARAGRAPH, text)
            return
        marker = "- "
        if "buAutoNum" in marks and properties is not None:
            start = properties.find("buAutoNum")
            first = start.get("startAt", "1") if start is not None else "1"
            numbers[depth] = numbers.get(depth, (int(first) if first.isdecimal() else 1) - 1) + 1
            marker = f"{numbers[depth]}. "
        self._builder.add(BlockKind.LIST_ITEM, marker + text, level=depth + 1)

    def _is_plain(self, kind: str, index: str) -> bool:
        """Tell whether the layout shows a placeholder's text without bullets."""
        for above in self._above:
            known = above.get(index, above.get(kind))
            style = known.find("txBody/lstStyle/lvl1pPr") if known is not None else None
            if style is not None and (style.find("buNone") is not None or style.find("buChar") is not None):
                return style.find("buNone") is not None
        return False

    def _add_notes(self, root: ET.Element | None) -> None:
        for shape in root.iter("sp") if root is not None else ():
            if _placeholder(shape)[0] == "body" and (body := shape.find("txBody")) is not None:
                self._builder.add(BlockKind.NOTE, "\n".join(filter(str.strip, _lines(body))))

    def _add_comments(self, root: ET.Element | None, authors: dict[str, str]) -> None:
        for comment in root.iter("cm") if root is not None else ():
            texts = [words_of(comment.find("text")), *map(words_of, comment.iter("txBody"))]
            text = " ".join(filter(None, texts))
            author = authors.get(comment.get("authorId", ""), "")
            self._builder.add(BlockKind.COMMENT, f"{author}: {text}" if author and text else text)


def _comment_authors(package: Package, name: str) -> dict[str, str]:
    found = {}
    for _, kind, path in package.related(name):
        root = package.part(path) if kind in ("commentAuthors", "authors") else None
        for one in root if root is not None else ():
            found[one.get("id", "")] = one.get("name", "")
    return found


def _children(parent: ET.Element) -> Iterator[ET.Element]:
    """Yield an element's children: of alternatives the first that is not empty."""
    for element in parent:
        if element.tag == "AlternateContent":
            shown = next((one for one in element if len(one)), None)
            yield from shown if shown is not None else ()
        else:
            yield element


def _is_hidden(element: ET.Element) -> bool:
    properties = element.find("./*/cNvPr")
    return properties is not None and properties.get("hidden", "0") in ("1", "true")


def _placeholder(element: ET.Element) -> tuple[str, str]:
    """Return type and index of the layout's place that a shape fills; ("", "") for none."""
    found = element.find("./*/nvPr/ph")
    return (found.get("type", "obj"), found.get("idx", "0")) if found is not None else ("", "")


def _placeholders(root: ET.Element | None) -> dict[str, ET.Element]:
    """Return the places of a layout or master by index and by type."""
    found: dict[str, ET.Element] = {}
    for shape in root.iter("sp") if root is not None else ():
        kind, index = _placeholder(shape)
        if kind:
            found.setdefault(index, shape)
            found.setdefault(kind, shape)
    return found


def _numbers(element: ET.Element | None, *names: str) -> tuple[float, ...] | None:
    if element is None:
        return None
    try:
        return tuple(float(element.get(name, "0")) for name in names)
    except ValueError:
        return None


def _place(element: ET.Element) -> tuple[float, float, float, float] | None:
    frame = element.find("spPr/xfrm")
    frame = frame if frame is not None else element.find("grpSpPr/xfrm")
    frame = frame if frame is not None else element.find("xfrm")
    if frame is None:
        return None
    at, size = _numbers(frame.find("off"), "x", "y"), _numbers(frame.find("ext"), "cx", "cy")
    return (at[0], at[1], size[0], size[1]) if at and size else None


def _inner_scale(group: ET.Element, scale: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return how coordinates within a group become those of the slide."""
    frame = group.find("grpSpPr/xfrm")
    place = _place(group)
    at = _numbers(frame.find("chOff"), "x", "y") if frame is not None else None
    size = _numbers(frame.find("chExt"), "cx", "cy") if frame is not None else None
    if place is None or at is None or size is None or not size[0] or not size[1]:
        return scale
    across, down = place[2] / size[0], place[3] / size[1]
    return (
        scale[0] * across,
        scale[1] * down,
        scale[2] + scale[0] * (place[0] - at[0] * across),
        scale[3] + scale[1] * (place[1] - at[1] * down),
    )


def _lines(body: ET.Element) -> list[str]:
    return [_paragraph(paragraph) for paragraph in body.iterfind("p")]


def _paragraph(paragraph: ET.Element) -> str:
    parts = []
    for element in _children(paragraph):
        if element.tag in ("r", "fld"):
            parts.append(element.findtext("t") or "")
        elif element.tag == "br":
            parts.append("\n")
        elif element.tag in ("m", "oMath", "oMathPara"):
            parts.append(f"${as_tex(element)}$")
    return "".join(parts)


def _table(table: ET.Element) -> list[list[str]]:
    """Return the rows of a table, merged cells repeated."""
    rows: list[list[str]] = []
    for row in table.iterfind("tr"):
        texts: list[str] = []
        for cell in row.iterfind("tc"):
            body = cell.find("txBody")
            text = " ".join(_lines(body)) if body is not None else ""
            if cell.get("hMerge") in ("1", "true") and texts:
                text = texts[-1]
            elif cell.get("vMerge") in ("1", "true") and rows and len(texts) < len(rows[-1]):
                text = rows[-1][len(texts)]
            texts.append(text)
        rows.append(texts)
    return rows
