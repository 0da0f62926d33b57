"""Rich Text Format (Microsoft, version 1.9.1) to blocks, and the web page or text that Outlook packs into it ([MS-OXRTFEX]).

Deleted and hidden text is left out. Turned down for this: xberg (no headings, header and footer within the text, shows
what was deleted) and striprtf (no structure).
"""

# Over 400 lines: one state machine over one stream of tokens.

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ragecho.engines.parsing.build import DocumentBuilder, table_text
from ragecho.engines.parsing.failures import failure
from ragecho.kernel.parsed import BlockKind
from ragecho.ports.parser import ParseLimits

_TOKEN = re.compile(
    r"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z'])|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\'?"
)
_DEEPEST = 500
_SKIPPED = frozenset(
    [
        "colortbl",
        "filetbl",
        "listtable",
        "listoverridetable",
        "revtbl",
        "rsidtbl",
        "generator",
        "pict",
        "object",
        "objdata",
        "fldinst",
        "datafield",
        "xmlnstbl",
        "themedata",
        "colorschememapping",
        "latentstyles",
        "datastore",
        "bkmkstart",
        "bkmkend",
        "nonshppict",
        "xe",
        "tc",
        "txe",
        "rxe",
        "xmlopen",
        "xmlattrname",
        "xmlattrvalue",
        "mmathPr",
        "pnseclvl",
        "pgptbl",
        "wgrffmtfilter",
        "template",
        "private",
        "keywords",
        "category",
        "subject",
        "comment",
        "operator",
        "company",
        "manager",
        "doccomm",
        "hlinkbase",
        "passwordhash",
        "atnid",
        "atnicn",
        "atndate",
        "atntime",
        "atnref",
        "atrfstart",
        "atrfend",
        "atnparent",
        "ftnsep",
        "ftnsepc",
        "ftncn",
        "aftnsep",
        "aftnsepc",
        "aftncn",
        "falt",
        "panose",
        "fname",
        "background",
        "shprslt",
        "sn",
        "sv",
        "mmathPict",
    ]
)
_ASIDE = dict.fromkeys(("header", "headerl", "headerr", "headerf"), BlockKind.HEADER)
_ASIDE |= dict.fromkeys(("footer", "footerl", "footerr", "footerf"), BlockKind.FOOTER)
_NOTES = {"footnote": BlockKind.FOOTNOTE, "annotation": BlockKind.COMMENT}
_KEPT = frozenset({"title", "author", "creatim", "atnauthor", "fonttbl", "stylesheet", "listtext", "pntext", "shptxt"})
_STARRED = (
    _KEPT | _NOTES.keys() | {"shpinst", "ud", "fldrslt", "do", "nesttableprops"}
)  # read although "\*" says that they may be left out
_CHARACTERS = {
    "tab": "\t", "line": "\n", "lbr": "\n", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’",
    "ldblquote": "“", "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ", "qmspace": " ",
}  # fmt: skip
_SYMBOLS = {"~": "\u00a0", "_": "-", "-": "", "\\": "\\", "{": "{", "}": "}"}
_CHARSETS = {
    0: "cp1252", 2: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "cp950",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251",
    222: "cp874", 238: "cp1250", 254: "cp437",
}  # fmt: skip
_HEADING = re.compile(r"heading ?([1-9])", re.I)


@dataclass(slots=True)
class _State:
    """What a group inherits from the one around it."""

    kind: str = "body"
    is_skipped: bool = False
    is_hidden: bool = False
    is_deleted: bool = False
    codec: str = ""
    unicode_skip: int = 1


@dataclass(slots=True)
class _Flow:
    """Text that is being collected: the body, or a note or header beside it."""

    pieces: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Table:
    rows: list[list[str]] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    merges: list[tuple[str, str]] = field(default_factory=list)  # across and down, of each cell: "", "first", "next"


def read_rtf(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Add the blocks of an RTF file. Raises `ParseFailed`."""
    del limits
    text = data.decode("latin-1")
    if not text.startswith("{\\rtf"):
        raise failure("damaged")
    reader = _Reader(builder)
    reader.read(text)


class _Reader:
    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._states = [_State()]
        self._codec = "cp1252"
        self._fonts: dict[int, str] = {}
        self._font = 0
        self._styles: dict[int, str] = {}
        self._style = 0
        self._bytes = bytearray()
        self._body = _Flow()
        self._flow = self._body
        self._outer: list[tuple[int, _Flow, str]] = []  # flows that a note or header interrupts
        self._notes: list[tuple[BlockKind, str]] = []
        self._aside: list[tuple[BlockKind, str]] = []
        self._table: _Table | None = None
        self._nested: list[list[str]] = [[]]
        self._merge = ("", "")
        self._in_table = False
        self._outline = -1
        self._depth = 0
        self._marker = ""
        self._to_skip = 0
        self._author = ""
        self._info: dict[str, list[str]] = {}
        self._created: dict[str, int] = {}

    def read(self, text: str) -> None:
        """Add everything."""
        place = 0
        is_starred = False
        while place < len(text):
            token = _TOKEN.match(text, place)
            if token is None:
                break
            place = token.end()
            word, number, byte, symbol, brace, plain = token.groups()
            if brace:
                self._brace(brace)
            elif symbol == "*":
                is_starred = True
                continue
            elif word == "bin":
                place += max(0, int(number or 0))
            elif word:
                self._word(word, int(number) if number else None, is_starred=is_starred)
            elif byte:
                self._take(bytes([int(byte, 16)]))
            elif symbol:
                self._symbol(symbol)
            elif plain:
                self._take(plain.encode("latin-1"))
            is_starred = False
        self._finish()

    @property
    def _state(self) -> _State:
        return self._states[-1]

    def _brace(self, brace: str) -> None:
        self._decode()
        self._to_skip = 0
        if brace == "{":
            if len(self._states) > _DEEPEST:
                raise failure("damaged")
            self._states.append(replace(self._state))
            return
        if len(self._states) > 1:
            self._states.pop()
        while self._outer and self._outer[-1][0] > len(self._states):
            self._end_aside()

    # Words

    def _word(self, word: str, number: int | None, *, is_starred: bool) -> None:  # noqa: PLR0912 (one branch per word)
        state = self._state
        if word == "u" and number is not None:
            self._decode()
            self._put(chr(number & 0xFFFF))
            self._to_skip = state.unicode_skip
            return
        self._decode()
        self._to_skip = 0
        if (is_starred and word not in _STARRED) or word in _SKIPPED or word == "upr":
            state.is_skipped = True
        elif word == "ud":
            state.is_skipped = self._states[-3].is_skipped if len(self._states) > 2 else False  # noqa: PLR2004 (upr's own)
        elif word in _KEPT:
            state.kind = word if word != "shptxt" else "body"
        elif word == "nesttableprops":
            state.kind = word
        elif word in _ASIDE or word in _NOTES:
            self._begin_aside(word)
        elif word in ("yr", "mo", "dy") and state.kind == "creatim":
            self._created[word] = number or 0
        elif word == "ansicpg" and number:
            self._codec = f"cp{number}" if number not in (0, 65001) else "utf-8" if number else "cp1252"
        elif word in ("mac", "pc", "pca"):
            self._codec = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word]
        elif word == "f":
            self._font = number or 0
            if state.kind != "fonttbl":
                state.codec = self._fonts.get(self._font, "")
        elif word == "fcharset" and state.kind == "fonttbl":
            self._fonts[self._font] = _CHARSETS.get(number or 0, "") if number else ""
        elif word == "uc":
            state.unicode_skip = max(0, min(8, number if number is not None else 1))
        elif word == "v":
            state.is_hidden = number != 0
        elif word == "deleted":
            state.is_deleted = number != 0
        elif word == "plain":
            state.is_hidden = state.is_deleted = False
        elif word in _CHARACTERS:
            self._put(_CHARACTERS[word])
        else:
            self._paragraph_word(word, number)

    def _paragraph_word(self, word: str, number: int | None) -> None:  # noqa: PLR0912 (one branch per word)
        state = self._state
        if word == "s":
            self._style = number or 0
        elif state.is_skipped or state.kind in ("stylesheet", "fonttbl"):
            return
        elif state.kind == "nesttableprops":
            if word == "nestrow":
                self._nested.append([])
        elif word == "pard":
            self._style, self._outline, self._depth, self._in_table = 0, -1, 0, False
        elif word == "outlinelevel" and number is not None:
            self._outline = number
        elif word == "ilvl":
            self._depth = number or 0
        elif word == "intbl":
            self._in_table = True
        elif word in ("par", "sect", "page"):
            self._end_paragraph()
        elif word == "trowd":
            table = self._open_table()
            table.merges = []
        elif word in ("clmgf", "clmrg"):
            self._merge = ("first" if word == "clmgf" else "next", self._merge[1])
        elif word in ("clvmgf", "clvmrg"):
            self._merge = (self._merge[0], "first" if word == "clvmgf" else "next")
        elif word == "cellx":
            self._open_table().merges.append(self._merge)
            self._merge = ("", "")
        elif word in ("cell", "row", "nestcell"):
            self._cell_word(word)

    def _symbol(self, symbol: str) -> None:
        self._decode()
        if symbol in "\r\n":
            self._end_paragraph()
        elif symbol in _SYMBOLS:
            self._put(_SYMBOLS[symbol])

    # Characters

    def _take(self, data: bytes) -> None:
        if self._to_skip:
            skipped = min(self._to_skip, len(data))
            self._to_skip -= skipped
            data = data[skipped:]
        self._bytes += data

    def _decode(self) -> None:
        if not self._bytes:
            return
        data, self._bytes = bytes(self._bytes), bytearray()
        try:
            text = data.decode(self._state.codec or self._codec, "replace")
        except LookupError:
            text = data.decode("cp1252", "replace")
        self._put(text)

    def _put(self, text: str) -> None:
        state = self._state
        if state.is_skipped or state.is_hidden or state.is_deleted:
            return
        if state.kind == "stylesheet":
            self._styles[self._style] = self._styles.get(self._style, "") + text
        elif state.kind in ("title", "author"):
            self._info.setdefault(state.kind, []).append(text)
        elif state.kind == "atnauthor":
            self._author += text
        elif state.kind in ("listtext", "pntext"):
            self._marker += text
        elif state.kind not in ("fonttbl", "creatim"):
            self._flow.pieces.append(text)

    # Notes and headers

    def _begin_aside(self, word: str) -> None:
        self._outer.append((len(self._states), self._flow, word))
        self._flow = _Flow()
        self._state.kind = "body"

    def _end_aside(self) -> None:
        _, flow, word = self._outer.pop()
        text = "\n".join(filter(str.strip, [*self._flow.lines, _joined(self._flow.pieces)]))
        self._flow = flow
        if word in _NOTES:
            author, self._author = self._author.strip(), ""
            lead = f"{author}: " if author and word == "annotation" and text.strip() else ""
            self._notes.append((_NOTES[word], lead + " ".join(text.split())))
        elif text.strip() and (_ASIDE[word], text) not in self._aside:
            self._aside.append((_ASIDE[word], text))

    # Paragraphs and tables

    def _end_paragraph(self) -> None:
        text = _joined(self._flow.pieces)
        self._flow.pieces = []
        if self._flow is not self._body:
            self._flow.lines.append(text)
            return
        marker, self._marker = " ".join(self._marker.split()), ""
        if self._in_table:
            self._flow.pieces = [f"{marker} {text}".strip() + "\n"]
            return
        self._end_table()
        self._add(text, marker)

    def _add(self, text: str, marker: str) -> None:
        name = self._styles.get(self._style, "").strip(" ;").lower()
        found = _HEADING.fullmatch(name)
        level = int(found[1]) if found else 1 if name == "title" else 0
        if 0 <= self._outline < 9:  # noqa: PLR2004 (9 is body text)
            level = self._outline + 1
        if not text.strip():
            pass
        elif level:
            shown = f"{marker} {text}" if re.search(r"\w", marker) else text
            self._builder.add(BlockKind.HEADING, " ".join(shown.split()), level=min(6, level))
        elif marker:
            shown = marker if re.search(r"\w", marker) and marker != "o" else "-"
            self._builder.add(BlockKind.LIST_ITEM, f"{shown} {text.strip()}", level=self._depth + 1)
        else:
            self._builder.add(BlockKind.QUOTE if "quote" in name else BlockKind.PARAGRAPH, text)
        notes, self._notes = self._notes, []
        for kind, note in notes:
            self._builder.add(kind, note)

    def _open_table(self) -> _Table:
        if self._table is None:
            self._table = _Table()
        return self._table

    def _cell_word(self, word: str) -> None:
        table = self._open_table()
        text = _joined(self._flow.pieces).strip()
        if word == "nestcell":
            self._nested[-1].append(text)
            self._flow.pieces = []
        elif word == "cell":
            self._flow.pieces = []
            rows, self._nested = [row for row in self._nested if row], [[]]
            inner = "; ".join(", ".join(filter(None, row)) for row in rows)
            table.cells.append("\n".join(filter(None, [inner, text])))
            self._marker = ""
        else:
            table.rows.append(self._row(table))
            table.cells = []

    def _row(self, table: _Table) -> list[str]:
        """Return a row's cells, those that are merged repeated."""
        cells = list(table.cells)
        above = table.rows[-1] if table.rows else []
        for index, (across, down) in enumerate(table.merges[: len(cells)]):
            if across == "next" and index and not cells[index]:
                cells[index] = cells[index - 1]
            elif down == "next" and index < len(above) and not cells[index]:
                cells[index] = above[index]
        while cells and not cells[-1].strip():
            cells.pop()
        return cells

    def _end_table(self) -> None:
        table, self._table = self._table, None
        if table is None:
            return
        if table.cells:
            table.rows.append(table.cells)
        self._builder.add(BlockKind.TABLE, table_text(table.rows))
        notes, self._notes = self._notes, []
        for kind, note in notes:
            self._builder.add(kind, note)

    def _finish(self) -> None:
        self._decode()
        while self._outer:
            self._end_aside()
        self._in_table = False
        self._end_paragraph()
        for kind, text in self._aside:
            self._builder.add(kind, text)
        title = _joined(self._info.get("title", []))
        authors = [name.strip() for name in _joined(self._info.get("author", [])).split(";")]
        self._builder.describe(title=title or None, authors=authors, created=self._date())

    def _date(self) -> datetime | None:
        try:
            return datetime(self._created["yr"], self._created["mo"], self._created["dy"], tzinfo=UTC)
        except (KeyError, ValueError):
            return None


def _joined(pieces: list[str]) -> str:
    """Return the text of pieces; characters beyond the first plane come as two halves."""
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def unpacked_html(data: bytes) -> str | None:
    """Return the web page that an RTF body was made from, None for one that was not ([MS-OXRTFEX], 2.1.3.1)."""
    text = data.decode("latin-1")
    if "\\fromhtml1" not in text[:500]:
        return None
    code_page = re.search(r"\\ansicpg(\d{3,5})", text[:500])
    codec = (
        f"cp{code_page[1]}" if code_page and code_page[1] not in ("0", "65001") else "utf-8" if code_page else "cp1252"
    )
    parts: list[str] = []
    raw = bytearray()
    for piece in _html_pieces(text):
        if isinstance(piece, bytes):
            raw += piece
            continue
        parts.append(_decoded(raw, codec))
        raw = bytearray()
        parts.append(piece)
    parts.append(_decoded(raw, codec))
    return _joined(parts)


def _decoded(raw: bytearray, codec: str) -> str:
    try:
        return raw.decode(codec, "replace")
    except LookupError:
        return raw.decode("cp1252", "replace")


def _html_pieces(text: str) -> Iterator[bytes | str]:  # noqa: PLR0912 (one branch per kind of token)
    """Yield the page's bytes, and characters given by number."""
    shown = [True]  # of every open group; what only RTF readers are to see is not
    is_rtf_only = False
    skip = place = 0
    starred = False
    while place < len(text) and (token := _TOKEN.match(text, place)):
        place = token.end()
        word, number, byte, symbol, brace, plain = token.groups()
        if brace == "{":
            shown.append(shown[-1])
        elif brace == "}":
            shown = shown[:-1] if len(shown) > 1 else shown
        elif symbol == "*":
            starred = True
            continue
        elif word == "htmlrtf":
            is_rtf_only = number != "0"
        elif word == "bin":
            place += max(0, int(number or 0))
        elif starred:
            shown[-1] = shown[-1] and word == "htmltag"
        elif word in _SKIPPED or word in ("fonttbl", "stylesheet", "info"):
            shown[-1] = False
        elif not shown[-1] or is_rtf_only:
            pass
        elif word == "u" and number:
            yield chr(int(number) & 0xFFFF)
            skip = 1
        elif word in ("par", "line"):
            yield b"\r\n"
        elif word in _CHARACTERS:
            yield _CHARACTERS[word]
        elif byte or plain:
            data = bytes([int(byte, 16)]) if byte else (plain or "").encode("latin-1")
            yield data[skip:]
            skip = max(0, skip - len(data))
        elif symbol:
            yield _SYMBOLS.get(symbol, "")
        starred = False
