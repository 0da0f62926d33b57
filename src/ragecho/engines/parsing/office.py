"""Office formats: by our own readers, and by xberg what these cannot read (old binary formats, damaged PDFs).

xberg's document tree becomes blocks. It is given bytes only, never a path or address.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib import import_module
from typing import Any

import orjson

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, table_text
from ragecho.engines.parsing.detect import DOCX, EPUB, ODP, ODS, ODT, PPT, PPTX, RTF, XLS, XLSX
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.package import declares_entities
from ragecho.kernel.parsed import BlockKind, PageKind
from ragecho.ports.parser import ParseLimits

_KINDS = {
    "paragraph": BlockKind.PARAGRAPH,
    "list_item": BlockKind.LIST_ITEM,
    "code": BlockKind.CODE,
    "formula": BlockKind.FORMULA,
    "footnote": BlockKind.FOOTNOTE,
    "comment": BlockKind.COMMENT,
    "citation": BlockKind.FOOTNOTE,
    "title": BlockKind.HEADING,
    "heading": BlockKind.HEADING,
}
_LAYERS = {"header": BlockKind.HEADER, "footer": BlockKind.FOOTER, "footnote": BlockKind.FOOTNOTE}
_COMMENT_MARK = re.compile(r"\[cmt:\d+\]")
_PICTURE = re.compile(r"!\[([^\]]*)\]\([^)\s]*\)")
_FILE_NAME = re.compile(r"\.(?:png|jpe?g|gif|emf|wmf|svg|tiff?|bmp|webp)$", re.I)
_PAGE_KINDS = {XLS: PageKind.SHEET}
_OWN_READERS = {
    DOCX: "docx",
    EPUB: "epub",
    ODP: "opendocument",
    ODS: "opendocument",
    ODT: "opendocument",
    PPT: "ppt",
    PPTX: "pptx",
    RTF: "rtf",
    XLSX: "xlsx",
}


def read_office(builder: DocumentBuilder, data: bytes, content_type: str, limits: ParseLimits) -> None:
    """Add the blocks of an office file: by our own readers where there is one, by xberg. Raises `ParseFailed`."""
    reader = _own_reader(content_type)
    if reader is not None:
        reader(builder, data, limits)
        return
    document = _extracted(data, content_type)
    known = document.metadata
    builder.describe(
        title=_string(getattr(known, "title", None)),
        authors=[str(one) for one in getattr(known, "authors", None) or ()],
        created=_time(getattr(known, "created_at", None)),
    )
    nodes = [_Node(node) for node in document.document.nodes] if document.document else []
    numbers = sorted({node.page for node in nodes if node.page})
    if numbers and numbers[-1] > limits.pages:
        raise failure("too_many_pages", pages=numbers[-1], limit=limits.pages)
    _Tree(builder, nodes, _PAGE_KINDS.get(content_type, PageKind.PAGE)).walk()
    _add_notes(builder, document)
    if builder.is_empty:
        for paragraph in re.split(r"\n\s*\n", document.content or ""):
            builder.add(BlockKind.PARAGRAPH, paragraph)


def _own_reader(content_type: str) -> Callable[[DocumentBuilder, bytes, ParseLimits], None] | None:
    name = _OWN_READERS.get(content_type)
    if name is None:
        return None
    module = import_module(
        f"ragecho.engines.parsing.{name}"
    )  # as late as xberg: a document that needs none pays for none
    reader: Callable[[DocumentBuilder, bytes, ParseLimits], None] = getattr(module, f"read_{name}")
    return reader


def _extracted(data: bytes, content_type: str) -> Any:
    import xberg

    config = xberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,
        enable_quality_processing=False,
        include_document_structure=True,
        output_format="markdown",
    )
    source = xberg.ExtractInput(kind="bytes", bytes=data, mime_type=content_type)
    try:
        result = asyncio.run(xberg.extract(source, config))
    except MemoryError:
        raise
    except Exception as error:
        word = str(error).lower()
        if "password" in word or "encrypt" in word:
            raise failure("encrypted") from error
        raise failure("entities" if declares_entities(data) else "damaged") from error
    if not result.results:
        raise failure("damaged")
    return result.results[0]


def _add_notes(builder: DocumentBuilder, document: Any) -> None:
    """Add the speaker notes, which xberg keeps outside its tree."""
    for page in document.pages or ():
        notes = getattr(page, "speaker_notes", None)
        for note in [notes] if isinstance(notes, str) else notes or ():
            builder.add(BlockKind.NOTE, str(note), page=page.page_number)


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


class _Node:
    """A node of xberg's tree; its content is a tagged union that only shows itself as JSON."""

    __slots__ = ("content", "layer", "page", "parent", "type")

    def __init__(self, node: Any) -> None:
        self.content: dict[str, Any] = orjson.loads(str(node.content))
        self.type: str = self.content["node_type"]
        self.layer = str(node.content_layer)
        self.page: int | None = node.page
        self.parent: int | None = node.parent

    def text(self, name: str = "text") -> str:
        return _string(self.content.get(name)) or ""


class _Tree:
    def __init__(self, builder: DocumentBuilder, nodes: list[_Node], page_kind: PageKind) -> None:
        self._builder = builder
        self._nodes = nodes
        self._page_kind = page_kind
        self._page: int | None = None
        self._numbers: dict[int, int] = {}  # list node -> number of its last item

    def walk(self) -> None:
        for index, node in enumerate(self._nodes):
            self._turn_to(node)
            self._add(index, node)

    def _turn_to(self, node: _Node) -> None:
        if node.page and (self._page is None or node.page > self._page):
            self._page = node.page
            self._builder.page(PageInfo(node.page, self._page_kind, node.text("label") or None))

    def _add(self, index: int, node: _Node) -> None:
        kind = _KINDS.get(node.type)
        if node.type == "table":
            self._builder.add(BlockKind.TABLE, table_text(_grid(node.content["grid"])))
        elif node.type == "definition_item":
            self._builder.add(BlockKind.PARAGRAPH, f"{node.text('term')}: {node.text('definition')}")
        elif node.type == "image":
            self._builder.add(BlockKind.FIGURE, node.text("description"))
        elif kind is not None:
            self._add_text(index, node, _LAYERS.get(node.layer, kind))

    def _add_text(self, index: int, node: _Node, kind: BlockKind) -> None:
        text = _without_marks(node.text())
        level = 0
        above = [self._nodes[up].type for up in self._ancestors(index)]
        if kind is BlockKind.HEADING:
            text = " ".join(text.split())
            level = int(node.content.get("level", 1))
        elif kind is BlockKind.LIST_ITEM:
            text = self._marker(node) + text
            level = max(1, above.count("list"))
        elif kind is BlockKind.PARAGRAPH and "quote" in above:
            kind = BlockKind.QUOTE
        self._builder.add(kind, text, level=level)

    def _ancestors(self, index: int) -> Iterator[int]:
        up = self._nodes[index].parent
        for _ in range(64):
            if up is None:
                return
            yield up
            up = self._nodes[up].parent

    def _marker(self, node: _Node) -> str:
        parent = node.parent
        if parent is None or not self._nodes[parent].content.get("ordered"):
            return "- "
        self._numbers[parent] = self._numbers.get(parent, 0) + 1
        return f"{self._numbers[parent]}. "


def _without_marks(text: str) -> str:
    """Return a paragraph without the marks of comments and, of pictures, with nothing but what they say."""
    text = _COMMENT_MARK.sub("", text)
    return _PICTURE.sub(lambda found: "" if _FILE_NAME.search(found[1]) else found[1], text)


def _grid(grid: dict[str, Any]) -> list[list[str]]:
    height, width = int(grid["rows"]), int(grid["cols"])
    rows: list[list[str]] = [[""] * width for _ in range(height)]
    for cell in grid["cells"]:
        if cell["row"] < height and cell["col"] < width:
            rows[cell["row"]][cell["col"]] = cell["content"]
    return rows
