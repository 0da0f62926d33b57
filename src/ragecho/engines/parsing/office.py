"""Office formats, and PDFs that only xberg can read: its document tree to blocks. Bytes only, never a path or address."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, table_text
from ragecho.engines.parsing.detect import ODP, ODS, PPTX, XLSX
from ragecho.engines.parsing.failures import failure
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
_PAGE_KINDS = {PPTX: PageKind.SLIDE, ODP: PageKind.SLIDE, XLSX: PageKind.SHEET, ODS: PageKind.SHEET}


def read_office(builder: DocumentBuilder, data: bytes, content_type: str, limits: ParseLimits) -> None:
    """Add the blocks of a file of any type that xberg reads. Raises `ParseFailed`."""
    document = _extracted(data, content_type)
    builder.title = builder.title or _string(getattr(document.metadata, "title", None))
    nodes = list(document.document.nodes) if document.document else []
    numbers = sorted({node.page for node in nodes if node.page})
    if numbers and numbers[-1] > limits.pages:
        raise failure("too_many_pages", pages=numbers[-1], limit=limits.pages)
    _Tree(builder, nodes, _PAGE_KINDS.get(content_type, PageKind.PAGE)).walk()
    _add_notes(builder, document)
    if builder.is_empty:
        for paragraph in re.split(r"\n\s*\n", document.content or ""):
            builder.add(BlockKind.PARAGRAPH, paragraph)


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
        raise failure("encrypted" if "password" in word or "encrypt" in word else "damaged") from error
    if not result.results:
        raise failure("damaged")
    return result.results[0]


def _add_notes(builder: DocumentBuilder, document: Any) -> None:
    """Add the speaker notes, which xberg keeps outside its tree."""
    for page in document.pages or ():
        notes = getattr(page, "speaker_notes", None)
        for note in [notes] if isinstance(notes, str) else notes or ():
            builder.add(BlockKind.NOTE, str(note), page=page.page_number)


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


class _Tree:
    def __init__(self, builder: DocumentBuilder, nodes: list[Any], page_kind: PageKind) -> None:
        self._builder = builder
        self._nodes = nodes
        self._page_kind = page_kind
        self._page: int | None = None
        self._numbers: dict[int, int] = {}  # list node -> number of its last item

    def walk(self) -> None:
        for index, node in enumerate(self._nodes):
            self._turn_to(node)
            self._add(index, node)

    def _turn_to(self, node: Any) -> None:
        if node.page and (self._page is None or node.page > self._page):
            content = node.content
            label = getattr(content, "label", None) if content.node_type == "group" else None
            self._page = node.page
            self._builder.page(PageInfo(node.page, self._page_kind, _string(label)))

    def _add(self, index: int, node: Any) -> None:
        content = node.content
        kind = _KINDS.get(content.node_type)
        layer = str(node.content_layer).rsplit(".", maxsplit=1)[-1].lower()
        if content.node_type == "table":
            self._builder.add(BlockKind.TABLE, table_text(_grid(content.grid)))
        elif content.node_type == "definition_item":
            self._builder.add(BlockKind.PARAGRAPH, f"{content.term}: {content.definition}")
        elif content.node_type == "image" and _string(getattr(content, "description", None)):
            self._builder.add(BlockKind.FIGURE, content.description)
        elif content.node_type == "slide" and _string(getattr(content, "title", None)):
            pass  # the title comes again as a heading
        elif kind is not None:
            self._add_text(index, node, _LAYERS.get(layer, kind))

    def _add_text(self, index: int, node: Any, kind: BlockKind) -> None:
        text = _string(node.content.text) or ""
        level = 0
        if kind is BlockKind.HEADING:
            text = " ".join(text.split())
            level = 1 if node.content.node_type == "title" else int(node.content.level)
        elif kind is BlockKind.LIST_ITEM:
            text = self._marker(node) + text
            level = max(1, sum(self._nodes[up].content.node_type == "list" for up in self._ancestors(index)))
        elif kind is BlockKind.PARAGRAPH and any(
            self._nodes[up].content.node_type == "quote" for up in self._ancestors(index)
        ):
            kind = BlockKind.QUOTE
        self._builder.add(kind, text, level=level)

    def _ancestors(self, index: int) -> Iterator[int]:
        up = self._nodes[index].parent
        for _ in range(64):
            if up is None:
                return
            yield up
            up = self._nodes[up].parent

    def _marker(self, node: Any) -> str:
        parent = node.parent
        if parent is None or not getattr(self._nodes[parent].content, "ordered", False):
            return "- "
        self._numbers[parent] = self._numbers.get(parent, 0) + 1
        return f"{self._numbers[parent]}. "


def _grid(grid: Any) -> list[list[str]]:
    rows: list[list[str]] = [[""] * grid.cols for _ in range(grid.rows)]
    for cell in grid.cells:
        if cell.row < grid.rows and cell.col < grid.cols:
            rows[cell.row][cell.col] = cell.content
    return rows
