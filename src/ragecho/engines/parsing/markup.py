"""XML: articles in JATS, drawings in SVG, and anything else by what its elements hold.

Entities are neither read from files nor expanded: a file that declares any is refused.
"""

import re
from html.entities import html5
from xml.etree import ElementTree as ET

from ragecho.engines.parsing.build import DocumentBuilder, tables
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.jats import read_jats
from ragecho.kernel.parsed import BlockKind

_ENTITY = re.compile(r"<!ENTITY", re.I)
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_ENTITIES = {name.removesuffix(";"): value for name, value in html5.items()}
_TITLES = frozenset({"title", "head", "heading", "name", "caption"})
_DEEPEST = 200
_DEEPEST_HEADING = 6
_MOST_COLUMNS = 40
_DRAWN = ("title", "desc", "text")


def read_xml(builder: DocumentBuilder, text: str) -> None:
    """Add the blocks of an XML document. Raises `ParseFailed`: "entities" or "damaged"."""
    root = parse_xml(text)
    if root.tag == "svg":
        _read_drawing(builder, root)
        return
    article = root if root.tag == "article" else root.find(".//article")
    if article is not None and (article.find("front") is not None or article.find("body") is not None):
        read_jats(builder, article)
        return
    _Generic(builder).walk(root, 0)


def parse_xml(text: str) -> ET.Element:
    """Return the root of an XML text, all names without their namespaces. Raises `ParseFailed`."""
    if _ENTITY.search(text):
        raise failure("entities")
    parser = ET.XMLParser()  # noqa: S314 (see above: no entity can be declared)
    parser.entity.update(_ENTITIES)  # what a DTD that is not read would declare: &nbsp; and the like
    try:
        parser.feed(_DECLARATION.sub("", text).lstrip())  # the encoding it names is no longer true
        root: ET.Element = parser.close()
    except ET.ParseError as error:
        raise failure("damaged") from error
    _without_namespaces(root)
    return root


def _without_namespaces(root: ET.Element) -> None:
    for element in root.iter():
        if isinstance(element.tag, str) and element.tag.startswith("{"):
            element.tag = element.tag.partition("}")[2]


def _read_drawing(builder: DocumentBuilder, root: ET.Element) -> None:
    title = root.find("title")
    builder.describe(title=_text(title) if title is not None else None)
    for element in root.iter():
        if element.tag in _DRAWN:
            builder.add(BlockKind.PARAGRAPH, _text(element))


def _text(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


class _Generic:
    """Elements with text between their children are paragraphs, others are groups of "name: text" lines."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._lines: list[str] = []

    def walk(self, element: ET.Element, depth: int) -> None:
        if depth > _DEEPEST:
            raise failure("damaged")
        if not len(element):
            self._leaf(element, depth)
        elif _is_mixed(element):
            self._flush()
            self._builder.add(BlockKind.PARAGRAPH, _text(element))
        elif rows := _table(element):
            self._flush()
            for table in tables(rows):
                self._builder.add(BlockKind.TABLE, table)
        else:
            self._attributes(element)
            for child in element:
                self.walk(child, depth + 1)
            self._flush()

    def _leaf(self, element: ET.Element, depth: int) -> None:
        text = _text(element)
        if element.tag in _TITLES and text:
            self._flush()
            if depth == 1:
                self._builder.describe(title=text)
            self._builder.add(BlockKind.HEADING, text, level=min(_DEEPEST_HEADING, max(1, depth)))
        elif element.tag == "p":
            self._flush()
            self._builder.add(BlockKind.PARAGRAPH, text)
        else:
            self._attributes(element)
            if text:
                self._lines.append(f"{element.tag}: {text}")

    def _attributes(self, element: ET.Element) -> None:
        shown = [f"{name.partition('}')[2] or name}={value}" for name, value in element.attrib.items() if value.strip()]
        if shown:
            self._lines.append(f"{element.tag}: {', '.join(shown)}")

    def _flush(self) -> None:
        self._builder.add(BlockKind.PARAGRAPH, "\n".join(self._lines))
        self._lines = []


def _is_mixed(element: ET.Element) -> bool:
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _table(element: ET.Element) -> list[list[str]]:
    """Return the rows of children that are records of the same kind, names first; [] when they are none."""
    records = list(element)
    if len(records) < 2 or len({record.tag for record in records}) > 1:  # noqa: PLR2004 (one is no list)
        return []
    if any(len(field) or _is_mixed(record) for record in records for field in record):
        return []
    fields = [
        {**record.attrib, **{field.tag: _text(field) for field in record}}
        if len({field.tag for field in record}) == len(record)
        else {}
        for record in records
    ]
    names = list(dict.fromkeys(name for one in fields for name in one))
    if not all(fields) or not 1 < len(names) <= _MOST_COLUMNS:
        return []
    return [names, *([one.get(name, "") for name in names] for one in fields)]
