"""Markdown to blocks. The marks of emphasis and links go, those of lists and tables stay."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from ragecho.engines.parsing.build import DocumentBuilder, table_text
from ragecho.engines.parsing.html import read_html
from ragecho.kernel.parsed import BlockKind

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_FIELD = re.compile(r"^(title|author|date):[ \t]*(\S.*?)[ \t]*$", re.M | re.I)
_TAG = re.compile(r"<br\s*/?>|<[^>]*>")


@cache
def _reader() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def preload() -> None:
    """Import and build the reader, once for all children."""
    _reader()


def read_markdown(builder: DocumentBuilder, text: str) -> None:
    """Add the blocks of a Markdown text (CommonMark with tables and front matter)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        builder.add(BlockKind.META, front[1])
        known = {name.lower(): value.strip("\"' ") for name, value in _FIELD.findall(front[1])}
        people = re.split(r",\s*", known.get("author", "").strip("[]"))
        builder.describe(title=known.get("title"), authors=people, created=_date(known.get("date", "")))
    _Walk(builder).over(_reader().parse(text))


class _Walk:
    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._lists: list[int | None] = []  # the next number of every open list, None without numbers
        self._marker = ""  # of a list item whose text has not come yet
        self._quotes = 0
        self._heading = 0
        self._rows: list[list[str]] = []
        self._is_in_table = False

    def over(self, tokens: Sequence["Token"]) -> None:
        for token in tokens:
            handler = getattr(self, f"_on_{token.type}", None)
            if handler is not None:
                handler(token)

    def _on_bullet_list_open(self, _: "Token") -> None:
        self._lists.append(None)

    def _on_ordered_list_open(self, token: "Token") -> None:
        self._lists.append(int(token.attrGet("start") or 1))

    def _on_bullet_list_close(self, _: "Token") -> None:
        self._lists.pop()

    _on_ordered_list_close = _on_bullet_list_close

    def _on_list_item_open(self, _: "Token") -> None:
        number = self._lists[-1]
        self._marker = "- " if number is None else f"{number}. "
        self._lists[-1] = None if number is None else number + 1

    def _on_blockquote_open(self, _: "Token") -> None:
        self._quotes += 1

    def _on_blockquote_close(self, _: "Token") -> None:
        self._quotes -= 1

    def _on_heading_open(self, token: "Token") -> None:
        self._heading = int(token.tag[1])

    def _on_heading_close(self, _: "Token") -> None:
        self._heading = 0

    def _on_inline(self, token: "Token") -> None:
        text = inline_text(token.children or [])
        if self._is_in_table:
            self._rows[-1].append(text)
        elif self._heading:
            self._builder.add(BlockKind.HEADING, " ".join(text.split()), level=self._heading)
        elif self._marker:
            self._builder.add(BlockKind.LIST_ITEM, self._marker + text, level=len(self._lists))
            self._marker = ""
        else:
            self._builder.add(BlockKind.QUOTE if self._quotes else BlockKind.PARAGRAPH, text)

    def _on_fence(self, token: "Token") -> None:
        self._builder.add(BlockKind.CODE, token.content)

    _on_code_block = _on_fence

    def _on_html_block(self, token: "Token") -> None:
        read_html(self._builder, token.content)

    def _on_table_open(self, _: "Token") -> None:
        self._is_in_table, self._rows = True, []

    def _on_tr_open(self, _: "Token") -> None:
        self._rows.append([])

    def _on_table_close(self, _: "Token") -> None:
        self._is_in_table = False
        self._builder.add(BlockKind.TABLE, table_text(self._rows))


def _date(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def inline_text(tokens: Sequence["Token"]) -> str:
    """Return what a reader sees of an inline sequence: text, code, the description of images."""
    parts: list[str] = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            parts.append(token.content)
        elif token.type == "softbreak":
            parts.append(" ")
        elif token.type == "hardbreak":
            parts.append("\n")
        elif token.type == "image":
            parts.append(inline_text(token.children or []))
        elif token.type == "html_inline":
            parts.append("\n" if _TAG.match(token.content) and token.content[:3].lower() == "<br" else "")
    return "".join(parts)
