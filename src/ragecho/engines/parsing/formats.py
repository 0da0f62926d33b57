"""One document of any type to the internal form. Runs in the sandbox's child process."""

import os
import traceback
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from ragecho.engines.ocr import pictures
from ragecho.engines.parsing import detect, markdown
from ragecho.engines.parsing.build import DocumentBuilder, PageInfo
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.html import read_html
from ragecho.engines.parsing.languages import is_code
from ragecho.engines.parsing.members import Allowance, Member, zip_member, zip_members
from ragecho.engines.parsing.pdf import read_pdf
from ragecho.engines.parsing.plain import read_code, read_plain
from ragecho.engines.parsing.unlock import open_pdf, unlocked_office
from ragecho.engines.parsing.wire import encode_document, encode_failure, encode_recognised
from ragecho.engines.rendering.pages import render_page
from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.parsed import ParsedDocument
from ragecho.ports.parser import ParseLimits

_READ_BYTES = 1 << 20
_READ_TOGETHER = frozenset({detect.PLAIN, detect.MARKDOWN})
_ENDS_THE_DOCUMENT = frozenset({"too_long", "too_many_members", "archive_too_large"})
_SAMPLES = (
    (b"Plain words, 1998.\n\nMore of them: caf\xc3\xa9.\n", "sample.txt"),
    (
        b"# Title\n\nWords *and* [links](https://example.org).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n- two\n",
        "sample.md",
    ),
    (b"<!doctype html><html><head><title>T</title></head><body><h1>H</h1><p>Words.</p></body></html>", "sample.html"),
)


def preload() -> None:
    """Import what the common formats need. xberg (30 MB) and the recognition wait until a document needs them."""
    import pypdfium2  # noqa: F401 (imported for the children to inherit)

    detect.preload()
    markdown.preload()
    # Once through everything: what is compiled and filled on first use (libmagic's expressions, our own tables) is then
    # there for every child, instead of being made anew in each (4 ms of a small document's 12).
    for sample, name in _SAMPLES:
        encode_document(parse_bytes(sample, name, ParseLimits()))


def parse_bytes(data: bytes, filename: str, limits: ParseLimits, passwords: Sequence[str] = ()) -> ParsedDocument:
    """Return the parsed document, pictures of text left out. Raises `ParseFailed`."""
    return _parsed(data, filename, limits, passwords)[0]


def _parsed(
    data: bytes, filename: str, limits: ParseLimits, passwords: Sequence[str]
) -> tuple[ParsedDocument, DocumentBuilder]:
    builder = DocumentBuilder(limits)
    if not detect.has_libmagic():
        builder.warn("libmagic is not installed; the type was recognised by a short list of signatures.")
    content_type = _Reader(builder, limits, passwords).read(data, filename, 0)
    if builder.is_empty:
        raise failure("empty")
    return builder.finish(content_type), builder


class _Reader:
    """Reads a file, and the files within it, into one builder."""

    def __init__(self, builder: DocumentBuilder, limits: ParseLimits, passwords: Sequence[str]) -> None:
        self._builder = builder
        self._limits = limits
        self._passwords = passwords
        self._allowance = Allowance(limits)

    def read(self, data: bytes, filename: str, depth: int) -> str:
        """Add what a file holds and return its content type. Raises `ParseFailed`."""
        content_type, data = _unlocked(data, filename, self._passwords)
        if content_type == detect.PDF:
            read_pdf(self._builder, data, self._limits, self._passwords)
        elif content_type in detect.PICTURES:
            self._read_picture(data)
        elif content_type == detect.ZIP:
            self._refuse_too_deep(depth)
            self._read_members(zip_members(data, self._passwords, self._allowance), depth)
        elif content_type in (detect.EMAIL, detect.OUTLOOK):
            self._refuse_too_deep(depth)
            self._read_mail(data, content_type, depth)
        elif content_type in detect.OFFICE:
            from ragecho.engines.parsing.office import read_office

            read_office(self._builder, data, content_type, self._limits)
        else:
            self._read_text(data, content_type)
        return content_type

    def _refuse_too_deep(self, depth: int) -> None:
        if depth >= self._limits.archive_depth:
            raise failure("too_deep", limit=self._limits.archive_depth)

    def _read_picture(self, data: bytes) -> None:
        sizes = pictures.frames(data)
        if len(sizes) > self._limits.pages:
            raise failure("too_many_pages", pages=len(sizes), limit=self._limits.pages)
        for number, (width, height) in enumerate(sizes, 1):
            self._builder.picture(PageInfo(number, width=float(width), height=float(height)))

    def _read_members(self, members: Iterator[Member], depth: int) -> None:
        """Add each member under a heading; one that cannot be read is named in a warning. All failing is a failure."""
        failures = []
        count = 0
        for member in members:
            count += 1
            with self._builder.part(member.name, member.number):
                try:
                    self.read(member.data, member.name, depth + 1)
                except ParseFailed as error:
                    if error.reason in _ENDS_THE_DOCUMENT:
                        raise
                    failures.append(error)
                    self._builder.warn(error.message)
        if failures and len(failures) == count and self._builder.is_empty:
            raise failures[0] if len({error.reason for error in failures}) == 1 else failure("empty")

    def _read_mail(self, data: bytes, content_type: str, depth: int) -> None:
        from ragecho.engines.parsing import mail

        message = mail.eml(data) if content_type == detect.EMAIL else mail.msg(data)
        mail.add_mail(self._builder, message, self._limits)
        self._read_members(self._attachments(message.attachments), depth)

    def _attachments(self, attachments: Sequence[tuple[str, bytes]]) -> Iterator[Member]:
        for number, (name, content) in enumerate(attachments):
            self._allowance.take(len(content))
            yield Member(number, name, content)

    def _read_text(self, data: bytes, content_type: str) -> None:
        text, warning = detect.decode(data, is_html=content_type in (detect.HTML, detect.XML, detect.SVG))
        if warning:
            self._builder.warn(warning)
        if content_type == detect.MARKDOWN:
            markdown.read_markdown(self._builder, text)
        elif content_type == detect.HTML:
            read_html(self._builder, text)
        elif content_type in (detect.XML, detect.SVG):
            from ragecho.engines.parsing.markup import read_xml

            read_xml(self._builder, text)
        elif content_type == detect.JSON:
            from ragecho.engines.parsing.records import read_json

            read_json(self._builder, text)
        elif content_type == detect.JSON_LINES:
            from ragecho.engines.parsing.records import read_json_lines

            read_json_lines(self._builder, text)
        elif content_type == detect.LATEX:
            from ragecho.engines.parsing.latex import read_latex

            read_latex(self._builder, text)
        elif content_type in (detect.VTT, detect.SRT):
            from ragecho.engines.parsing.subtitles import read_subtitles

            read_subtitles(self._builder, text)
        elif content_type in (detect.CSV, detect.TSV):
            from ragecho.engines.parsing.delimited import read_delimited

            read_delimited(self._builder, text, "\t" if content_type == detect.TSV else None)
        elif is_code(content_type):
            read_code(self._builder, text)
        else:
            read_plain(self._builder, text)


def _unlocked(data: bytes, filename: str, passwords: Sequence[str]) -> tuple[str, bytes]:
    """Return the type and bytes of a file without an Office password."""
    content_type = detect.detect(data, filename)
    if content_type == detect.LOCKED_OFFICE or (content_type in detect.OLE and detect.is_locked_ole(data)):
        data = unlocked_office(data, passwords)
        content_type = detect.detect(data, filename)
        if content_type == detect.LOCKED_OFFICE:
            raise failure("encrypted")
    return content_type, data


def recognise(data: bytes, request: dict[str, Any], limits: ParseLimits) -> bytes:
    """Return the text of one page that is a picture. Runs in a child of its own."""
    from ragecho.engines.ocr import tesseract

    passwords = request["passwords"]
    filename = request["filename"]
    content_type, data = _unlocked(data, filename, passwords)
    for number in request["members"]:
        if content_type == detect.ZIP:
            member = zip_member(data, number, passwords, limits)
        else:
            from ragecho.engines.parsing import mail

            message = mail.eml(data) if content_type == detect.EMAIL else mail.msg(data)
            member = Member(number, *message.attachments[number])
        content_type, data = _unlocked(member.data, member.name, passwords)
    page = request["recognise"]
    if content_type == detect.PDF:
        opened = open_pdf(data, passwords)
        image = pictures.page_picture(data, page, opened[1] if opened else None)
    else:
        image = pictures.picture(data, page)
    found = tesseract.recognise(image, request["languages"], request["first"])
    return encode_recognised(found.paragraphs, found.confidence)


def answer(descriptor: int, request: dict[str, Any], limits: ParseLimits) -> bytes:  # noqa: PLR0911 (one return per way to end)
    """Return what the child sends back: the document or picture, or the reason why there is none."""
    try:
        data = _read_all(descriptor)
        if "page" in request:
            return render_page(
                data,
                request["page"],
                width=request["width"],
                boxes=request["boxes"],
                quotes=request["quotes"],
                passwords=request["passwords"],
            )
        if "recognise" in request:
            return recognise(data, request, limits)
        document, builder = _parsed(data, request["filename"], limits, request.get("passwords", ()))
        return encode_document(document, builder.unread)
    except ParseFailed as error:
        return encode_failure(error)
    except MemoryError:
        return encode_failure(failure("memory_limit"))
    except RecursionError:
        return encode_failure(failure("damaged"))
    except Exception as error:  # noqa: BLE001 (the last line of the process: say where, never what the file said)
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{PurePath(where.filename).name}:{where.lineno}"
        return encode_failure(failure("crashed", error=type(error).__name__, where=place))


def answers(descriptors: Sequence[int], request: dict[str, Any], limits: ParseLimits) -> Iterator[bytes]:
    """Yield what the child sends back for each of several files: as `answer`, or nothing for what must be read alone.

    Only kinds of text are read here, by our own code; what foreign code reads gets a process of its own.
    """
    for descriptor, filename in zip(descriptors, request["files"], strict=True):
        try:
            data = _read_all(descriptor)
            content_type = detect.detect(data, filename)
            if content_type not in _READ_TOGETHER and not is_code(content_type):
                yield b""
                continue
            yield encode_document(parse_bytes(data, filename, limits))
        except Exception:  # noqa: BLE001 (read alone it fails again, and then says why)
            yield b""


def _read_all(descriptor: int) -> bytes:
    pieces = []
    while piece := os.read(descriptor, _READ_BYTES):
        pieces.append(piece)
    return b"".join(pieces)
