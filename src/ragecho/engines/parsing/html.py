"""HTML to blocks, with the tolerant parser of the standard library: what a reader sees, in the page's own structure.

Scripts, styles, navigation, forms' controls and everything hidden go; what is hidden from people must not reach a model.
"""

# Over 400 lines: one walk over one stream of tags, whose stack all of it shares.

import re
from datetime import datetime
from html.parser import HTMLParser

from ragecho.engines.parsing.build import DocumentBuilder, table_text
from ragecho.kernel.parsed import BlockKind

_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
_SKIPPED = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "svg",
        "nav",
        "iframe",
        "object",
        "canvas",
        "video",
        "audio",
        "map",
        "select",
        "button",
        "textarea",
        "annotation",
        "annotation-xml",
        "datalist",
        "dialog",
    ]
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "body",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "html",
        "legend",
        "main",
        "p",
        "section",
        "summary",
        "caption",
    ]
)
_CLOSED_BY = {  # an open element that the start of another one ends
    "li": {"li"},
    "dt": {"dt", "dd"},
    "dd": {"dt", "dd"},
    "tr": {"tr", "td", "th"},
    "td": {"td", "th"},
    "th": {"td", "th"},
    "option": {"option"},
}
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d])"
    r"|(?:^|[;\s])(?:left|top|text-indent|margin-left)\s*:\s*-\d{3,}|clip\s*:\s*rect\(\s*[01](?:px)?[,\s]"
    r"|clip-path\s*:\s*inset\((?:50|100)%|(?:^|[;\s])color\s*:\s*transparent",
    re.I,
)
_COLOUR = re.compile(r"(?:^|[;\s])(background(?:-color)?|color)\s*:\s*([^;]+)", re.I)
_CONSENT = re.compile(r"(?:^|[\s_-])(?:cookie|consent)[-_ ]?(?:banner|notice|bar|popup|dialog|consent|overlay)", re.I)
_AUTHORS = frozenset({"author", "article:author", "dc.creator", "dcterms.creator", "citation_author"})
_DATES = frozenset(
    {"date", "article:published_time", "dc.date", "dcterms.created", "dcterms.date", "citation_publication_date"}
)
_HEADING = re.compile(r"h[1-6]$")
_MAIN = re.compile(r"<(?:main|article)[\s>]", re.I)
_MAX_SPAN = 50
_MOST_HEADERS = 4
_LONGEST_CELL = 2000  # characters; a table with a longer one is a page layout


def read_html(builder: DocumentBuilder, text: str) -> None:
    """Add the blocks of an HTML document or fragment, and take its title."""
    page = _Page(builder)
    page.has_main = _MAIN.search(text) is not None
    page.feed(text)
    page.close()
    page.finish()


class _Table:
    """A table being read; cells that span rows or columns are repeated, so that each row can be read alone."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self._spanning: dict[int, tuple[int, str]] = {}  # column -> rows still to fill, text
        self.cell: list[str] | None = None
        self._span = (1, 1)
        self.has_header = False
        self.headers = 0  # rows within <thead>
        self.is_in_head = False

    def start_row(self) -> None:
        self.end_cell()
        self.headers += self.is_in_head
        self.rows.append([])

    def start_cell(self, attributes: dict[str, str]) -> None:
        self.end_cell()
        if not self.rows:
            self.rows.append([])
        self.cell = []
        self._span = (_span(attributes.get("rowspan")), _span(attributes.get("colspan")))

    def end_cell(self) -> None:
        if self.cell is None:
            return
        text = " ".join("".join(self.cell).split())
        self.cell = None
        row = self.rows[-1]
        self._fill(row)
        for _ in range(self._span[1]):
            if self._span[0] > 1:
                self._spanning[len(row)] = (self._span[0] - 1, text)
            row.append(text)

    def _fill(self, row: list[str]) -> None:
        while (held := self._spanning.get(len(row))) is not None:
            rows_left, text = held
            if rows_left > 1:
                self._spanning[len(row)] = (rows_left - 1, text)
            else:
                del self._spanning[len(row)]
            row.append(text)

    def end_row(self) -> None:
        self.end_cell()
        if self.rows:
            self._fill(self.rows[-1])


def _span(value: str | None) -> int:
    return max(1, min(_MAX_SPAN, int(value))) if value and value.strip().isdecimal() and len(value) < 5 else 1  # noqa: PLR2004 (digits)


class _Page(HTMLParser):
    def __init__(self, builder: DocumentBuilder) -> None:
        super().__init__(convert_charrefs=True)
        self._builder = builder
        self._stack: list[str] = []
        self._skip_depth = 0  # length of the stack at the element being skipped
        self._buffer: list[str] = []
        self._title: list[str] | None = None
        self._authors: list[str] = []
        self.has_main = False  # the page says which part of it is its content
        self._tables: list[_Table] = []
        self._lists: list[int | None] = []
        self._marker = ""
        self._heading = 0
        self._quotes = 0
        self._pre = 0

    # What the parser calls

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            self._on_void(tag, dict(attrs))
            return
        self._close_implied(tag)
        self._stack.append(tag)
        if self._skip_depth:
            return
        attributes = {name: value or "" for name, value in attrs}
        if tag == "math" and attributes.get("alttext", "").strip():
            self._put(f" ${attributes['alttext'].strip()}$ ")
        if tag in _SKIPPED or _is_hidden(attributes) or (tag == "math" and attributes.get("alttext", "").strip()):
            self._skip_depth = len(self._stack)
        elif tag == "title" and "svg" not in self._stack:
            self._title = []
        else:
            self._open(tag, attributes)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._stack:
            return
        barrier = "table" if tag not in ("table", "html", "body") else ""
        while self._stack:
            if self._stack[-1] == barrier:
                return  # a stray end tag inside a table does not end the table
            if self._pop() == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._skip_depth:
            return
        if self._title is not None:
            self._title.append(data)
        elif self._tables and self._tables[-1].cell is not None:
            self._tables[-1].cell.append(data)
        elif not self._tables or self._stack[-1:] == ["caption"] or data.strip():
            self._buffer.append(data if self._pre else re.sub(r"\s+", " ", data))

    # The stack

    def _close_implied(self, tag: str) -> None:
        if self._stack and self._stack[-1] == "p" and (tag in _BLOCKS or tag in _FLUSHING or _HEADING.match(tag)):
            self._pop()
        closed = _CLOSED_BY.get(tag, set())
        for depth in range(len(self._stack), 0, -1):
            name = self._stack[depth - 1]
            if name in closed:
                while len(self._stack) >= depth:
                    self._pop()
            elif name in ("ul", "ol", "dl", "table", "div", "section", "article"):
                return

    def _pop(self) -> str:
        tag = self._stack[-1]
        if not self._skip_depth:
            self._close(tag)  # before the stack forgets where its text stands
        self._stack.pop()
        if len(self._stack) < self._skip_depth:
            self._skip_depth = 0
        return tag

    # What elements mean

    def _on_void(self, tag: str, attributes: dict[str, str | None]) -> None:
        if self._skip_depth:
            return
        if tag == "br":
            self.handle_data("\n") if self._pre else self._put("\n")
        elif tag == "hr":
            self._flush()
        elif tag == "img" and (attributes.get("alt") or "").strip():
            self._put(f" {attributes['alt']} ")
        elif tag == "meta":
            self._on_meta((attributes.get("name") or attributes.get("property") or "").lower(), attributes)

    def _on_meta(self, name: str, attributes: dict[str, str | None]) -> None:
        content = " ".join((attributes.get("content") or "").split())
        if name in _AUTHORS and content and not content.startswith(("http:", "https:")):
            self._authors.append(content)
        elif name in _DATES and content:
            self._builder.describe(created=_date(content))

    def _put(self, text: str) -> None:
        if self._tables and self._tables[-1].cell is not None:
            self._tables[-1].cell.append(text)
        else:
            self._buffer.append(text)

    def _open(self, tag: str, attributes: dict[str, str]) -> None:  # noqa: PLR0912 (one branch per kind of element)
        if self._tables and self._tables[-1].cell is not None and tag not in _TABLE_PARTS:
            if tag in _BLOCKS or tag in _FLUSHING:
                self._tables[-1].cell.append(" ")
            if tag != "table":
                return
        if tag == "table":
            self._flush()
            self._tables.append(_Table())
        elif self._tables and tag == "tr":
            self._tables[-1].start_row()
        elif self._tables and tag in ("thead", "tbody", "tfoot"):
            self._tables[-1].is_in_head = tag == "thead"
        elif self._tables and tag in ("td", "th"):
            self._tables[-1].start_cell(attributes)
            self._tables[-1].has_header |= tag == "th"
        elif tag in ("ul", "ol"):
            self._flush()
            self._lists.append(_list_start(attributes) if tag == "ol" else None)
        elif tag == "li":
            self._flush()
            self._marker = self._next_marker()
        elif tag == "blockquote":
            self._flush()
            self._quotes += 1
        elif tag == "pre":
            self._flush()
            self._pre += 1
        elif _HEADING.match(tag):
            self._flush()
            self._heading = int(tag[1])
        elif tag in _BLOCKS:
            self._flush()

    def _close(self, tag: str) -> None:
        if tag == "title":
            self._end_title()
        elif tag == "table" and self._tables:
            self._end_table()
        elif self._tables and self._tables[-1].cell is not None and tag not in _TABLE_PARTS:
            if tag in _BLOCKS or tag in _FLUSHING:
                self._tables[-1].cell.append(" ")
        elif self._tables and tag == "tr":
            self._tables[-1].end_row()
        elif self._tables and tag in ("td", "th"):
            self._tables[-1].end_cell()
        elif self._tables and tag == "thead":
            self._tables[-1].is_in_head = False
        elif tag in _BLOCKS or tag in _FLUSHING or _HEADING.match(tag):
            self._flush()
            self._leave(tag)

    def _leave(self, tag: str) -> None:
        if tag in ("ul", "ol") and self._lists:
            self._lists.pop()
        elif tag == "li":
            self._marker = ""
        elif tag == "blockquote":
            self._quotes = max(0, self._quotes - 1)
        elif tag == "pre":
            self._pre = max(0, self._pre - 1)
        elif _HEADING.match(tag):
            self._heading = 0

    def _next_marker(self) -> str:
        number = self._lists[-1] if self._lists else None
        if number is None:
            return "- "
        self._lists[-1] = number + 1
        return f"{number}. "

    def _end_title(self) -> None:
        title = " ".join("".join(self._title or []).split())
        self._title = None
        self._builder.describe(title=title or None)

    def _end_table(self) -> None:
        table = self._tables.pop()
        table.end_row()
        rows = [row for row in table.rows if any(row)]
        is_layout = not table.has_header and (
            max((len(row) for row in rows), default=0) < 2  # noqa: PLR2004 (one column)
            or any(len(cell) > _LONGEST_CELL for row in rows for cell in row)
        )
        if self._tables and self._tables[-1].cell is not None:
            self._tables[-1].cell.append(" " + " ; ".join(" , ".join(filter(None, row)) for row in rows) + " ")
        elif is_layout:
            for row in rows:
                for cell in row:
                    self._builder.add(BlockKind.PARAGRAPH, cell)
        else:
            headers = min(table.headers, _MOST_HEADERS) if table.headers < len(rows) == len(table.rows) else 1
            self._builder.add(BlockKind.TABLE, table_text(rows, headers=headers))

    def _flush(self) -> None:
        raw = "".join(self._buffer)
        self._buffer = []
        if self._pre:
            self._builder.add(BlockKind.CODE, raw.strip("\n"))
            return
        text = "\n".join(" ".join(line.split()) for line in raw.split("\n")).strip()
        if not text:
            return
        if self._heading:
            self._builder.add(BlockKind.HEADING, " ".join(text.split()), level=self._heading)
        elif self._marker:
            self._builder.add(BlockKind.LIST_ITEM, self._marker + text, level=len(self._lists))
            self._marker = ""
        else:
            self._builder.add(self._kind(), text)

    def _kind(self) -> BlockKind:
        if self._quotes:
            return BlockKind.QUOTE
        if not {"main", "article", "section"} & set(self._stack):
            if "footer" in self._stack:
                return BlockKind.FOOTER
            if "header" in self._stack and self.has_main:
                return BlockKind.HEADER
        return BlockKind.PARAGRAPH

    def finish(self) -> None:
        """Take what is still open at the end of the input."""
        while self._stack:
            self._pop()
        self._flush()
        self._builder.describe(authors=self._authors)


_FLUSHING = frozenset(["ul", "ol", "li", "blockquote", "pre", "table", "hr"])
_TABLE_PARTS = frozenset(["tr", "td", "th", "tbody", "thead", "tfoot", "caption", "colgroup"])


def _list_start(attributes: dict[str, str]) -> int:
    start = attributes.get("start", "")
    return int(start) if start.isdecimal() and len(start) < 7 else 1  # noqa: PLR2004 (digits)


def _is_hidden(attributes: dict[str, str]) -> bool:
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden", "").lower() == "true"
        or attributes.get("role", "") in ("navigation", "search", "menu", "menubar", "dialog", "alertdialog")
        or "mw-editsection" in attributes.get("class", "")
        or _CONSENT.search(f"{attributes.get('class', '')} {attributes.get('id', '')}") is not None
        or _HIDDEN.search(attributes.get("style", "")) is not None
        or _is_written_in_its_background(attributes.get("style", ""))
    )


def _is_written_in_its_background(style: str) -> bool:
    colours = {name.lower().removesuffix("-color"): value.strip().lower() for name, value in _COLOUR.findall(style)}
    return "color" in colours and colours["color"] == colours.get("background")


def _date(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
