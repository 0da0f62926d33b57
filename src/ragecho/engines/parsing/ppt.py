"""Old presentations (PPT, [MS-PPT]) to blocks: a page per slide, titles as headings, then notes.

Turned down for this: xberg (loses the titles of slides, and which slide a text stands on).
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, clean
from ragecho.engines.parsing.failures import failure
from ragecho.kernel.parsed import BlockKind, PageKind
from ragecho.ports.parser import ParseLimits

_DOCUMENT, _SLIDE, _SLIDE_ATOM, _NOTES = 0x03E8, 0x03EE, 0x03EF, 0x03F0
_LIST, _PERSIST = 0x0FF0, 0x03F3
_HEADER, _CHARACTERS, _BYTES, _REFERENCE, _TEXT_BOX = 0x0F9F, 0x0FA0, 0x0FA8, 0x0F9E, 0xF00D
_DIRECTORY = 0x1772
_CONTAINER = 0xF
_TITLES = (0, 6)
_BODIES = (1, 5, 7, 8)
_DEEPEST = 30
_MOST_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class _Record:
    kind: int
    instance: int
    start: int  # of its content
    end: int
    is_container: bool


@dataclass(slots=True)
class _Listed:
    """A slide in the document's list: where it is kept, and the texts of its places in the outline."""

    persist: int
    key: int
    texts: list[tuple[int, str]] = field(default_factory=list)


def read_ppt(builder: DocumentBuilder, data: bytes, limits: ParseLimits) -> None:
    """Add the blocks of an old presentation. Raises `ParseFailed`."""
    import olefile

    try:
        store = olefile.OleFileIO(io.BytesIO(data))
        stream = bytes(store.openstream("PowerPoint Document").read(_MOST_BYTES))
        known = store.get_metadata()
    except (OSError, ValueError, IndexError, KeyError, struct.error) as error:
        raise failure("damaged") from error
    builder.describe(
        title=_property(known.title, known.codepage),
        authors=[name.strip() for name in _property(known.author, known.codepage).split(";")],
        created=known.create_time,
    )
    try:
        _Reader(builder, stream).read(limits)
    except struct.error as error:
        raise failure("damaged") from error


def _property(value: object, code_page: int | None) -> str:
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else ""
    try:
        return value.decode("utf-8" if code_page in (None, -535, 65001) else f"cp{code_page}", "replace")
    except LookupError:
        return value.decode("cp1252", "replace")


class _Reader:
    def __init__(self, builder: DocumentBuilder, stream: bytes) -> None:
        self._builder = builder
        self._stream = stream
        self._places: dict[int, int] = {}  # persist id -> where its latest version is kept

    def read(self, limits: ParseLimits) -> None:
        """Add every slide."""
        documents = []
        for record in self._records(0, len(self._stream)):
            if record.kind == _DIRECTORY:
                self._read_directory(record)
            elif record.kind == _DOCUMENT:
                documents.append(record)
        if not documents:
            raise failure("damaged")
        slides, notes = self._lists(documents[-1])
        if len(slides) > limits.pages:
            raise failure("too_many_pages", pages=len(slides), limit=limits.pages)
        by_key = {one.key: one for one in notes}
        for number, slide in enumerate(slides, 1):
            self._builder.page(PageInfo(number, PageKind.SLIDE))
            self._slide(slide, by_key)

    def _records(self, start: int, end: int) -> Iterator[_Record]:
        while start + 8 <= end:
            options, kind, length = struct.unpack_from("<HHI", self._stream, start)
            content = start + 8
            yield _Record(kind, options >> 4, content, min(end, content + length), options & 0xF == _CONTAINER)
            start = content + length

    def _read_directory(self, record: _Record) -> None:
        place = record.start
        while place + 4 <= record.end:
            (head,) = struct.unpack_from("<I", self._stream, place)
            place += 4
            for number in range(head >> 20):
                if place + 4 > record.end:
                    return
                (self._places[(head & 0xFFFFF) + number],) = struct.unpack_from("<I", self._stream, place)
                place += 4

    def _lists(self, document: _Record) -> tuple[list[_Listed], list[_Listed]]:
        slides: list[_Listed] = []
        notes: list[_Listed] = []
        for record in self._records(document.start, document.end):
            if record.kind != _LIST or record.instance not in (0, 2):
                continue
            found = slides if record.instance == 0 else notes
            kind = 4
            for one in self._records(record.start, record.end):
                if one.kind == _PERSIST and one.end - one.start >= 16:  # noqa: PLR2004 (bytes of it that are read)
                    persist, _, _, key = struct.unpack_from("<IIII", self._stream, one.start)
                    found.append(_Listed(persist, key))
                elif one.kind == _HEADER:
                    (kind,) = struct.unpack_from("<I", self._stream, one.start)
                elif found and (text := self._text(one)) is not None:
                    found[-1].texts.append((kind, text))
        return slides, notes

    def _text(self, record: _Record) -> str | None:
        raw = self._stream[record.start : record.end]
        if record.kind == _CHARACTERS:
            return raw.decode("utf-16-le", "replace")
        return raw.decode("latin-1") if record.kind == _BYTES else None

    def _slide(self, slide: _Listed, notes: dict[int, _Listed]) -> None:
        place = self._places.get(slide.persist, -1)
        container = next(self._records(place, len(self._stream)), None) if place >= 0 else None
        texts = list(slide.texts)
        note = None
        if container is not None and container.kind == _SLIDE:
            for record in self._records(container.start, container.end):
                if record.kind == _SLIDE_ATOM and record.end - record.start >= 20:  # noqa: PLR2004 (bytes read)
                    note = notes.get(struct.unpack_from("<I", self._stream, record.start + 16)[0])
            texts += self._drawn(container, 0)
        titles = [clean(text) for kind, text in texts if kind in _TITLES]
        if not any(titles):
            self._builder.end_section(2)
        for title in titles:
            self._builder.add(BlockKind.HEADING, " ".join(title.split()), level=2)
        for kind, text in texts:
            if kind not in _TITLES:
                self._add(kind, text)
        if note is not None:
            self._add_notes(note)

    def _drawn(self, parent: _Record, depth: int) -> Iterator[tuple[int, str]]:
        """Yield the texts of shapes; those that only refer to the outline have been taken from there."""
        kind = 4
        for record in self._records(parent.start, parent.end):
            if record.kind == _HEADER:
                (kind,) = struct.unpack_from("<I", self._stream, record.start)
            elif (text := self._text(record)) is not None:
                yield kind, text
            elif (record.is_container or record.kind == _TEXT_BOX) and depth < _DEEPEST:
                yield from self._drawn(record, depth + 1)

    def _add(self, kind: int, text: str) -> None:
        for paragraph in text.replace("\x0b", "\n").split("\r"):
            if kind in _BODIES and paragraph.strip():
                self._builder.add(BlockKind.LIST_ITEM, f"- {paragraph.strip()}", level=1)
            else:
                self._builder.add(BlockKind.PARAGRAPH, paragraph)

    def _add_notes(self, note: _Listed) -> None:
        place = self._places.get(note.persist, -1)
        container = next(self._records(place, len(self._stream)), None) if place >= 0 else None
        texts = list(note.texts)
        if container is not None and container.kind == _NOTES:
            texts += self._drawn(container, 0)
        for kind, text in texts:
            if kind == 2 and text.strip() != "*":  # noqa: PLR2004 (the text of notes; "*" stands for a number or date)
                self._builder.add(BlockKind.NOTE, text.replace("\r", "\n").replace("\x0b", "\n"))
