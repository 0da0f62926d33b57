"""One document of any type to the internal form. Runs in the sandbox's child process."""

import os
import traceback
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from ragecho.engines.parsing import detect, markdown
from ragecho.engines.parsing.build import DocumentBuilder
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.html import read_html
from ragecho.engines.parsing.pdf import read_pdf
from ragecho.engines.parsing.plain import read_plain
from ragecho.engines.parsing.wire import encode_document, encode_failure
from ragecho.engines.rendering.pages import render_page
from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.parsed import ParsedDocument
from ragecho.ports.parser import ParseLimits

_READ_BYTES = 1 << 20
_READ_TOGETHER = frozenset({detect.PLAIN, detect.MARKDOWN})
_SAMPLES = (
    (b"Plain words, 1998.\n\nMore of them: caf\xc3\xa9.\n", "sample.txt"),
    (
        b"# Title\n\nWords *and* [links](https://example.org).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n- two\n",
        "sample.md",
    ),
    (b"<!doctype html><html><head><title>T</title></head><body><h1>H</h1><p>Words.</p></body></html>", "sample.html"),
)


def preload() -> None:
    """Import what the common formats need. xberg (30 MB) waits until a document needs it."""
    import pypdfium2  # noqa: F401 (imported for the children to inherit)

    detect.preload()
    markdown.preload()
    # Once through everything: what is compiled and filled on first use (libmagic's expressions, our own tables) is then
    # there for every child, instead of being made anew in each (4 ms of a small document's 12).
    for sample, name in _SAMPLES:
        encode_document(parse_bytes(sample, name, ParseLimits()))


def parse_bytes(data: bytes, filename: str, limits: ParseLimits) -> ParsedDocument:
    """Return the parsed document. Raises `ParseFailed`."""
    content_type = detect.detect(data, filename)
    builder = DocumentBuilder(limits)
    if not detect.has_libmagic():
        builder.warn("libmagic is not installed; the type was recognised by a short list of signatures.")
    if content_type == detect.PDF:
        read_pdf(builder, data, limits)
    elif content_type in detect.OFFICE:
        from ragecho.engines.parsing.office import read_office

        read_office(builder, data, content_type, limits)
    else:
        _read_text(builder, data, content_type, filename)
    if builder.is_empty:
        raise failure("empty")
    return builder.finish(content_type)


def _read_text(builder: DocumentBuilder, data: bytes, content_type: str, filename: str) -> None:
    text, warning = detect.decode(data, is_html=content_type == detect.HTML)
    if warning:
        builder.warn(warning)
    if content_type == detect.MARKDOWN:
        markdown.read_markdown(builder, text)
    elif content_type == detect.HTML:
        read_html(builder, text)
    else:
        read_plain(builder, text, filename)


def answer(descriptor: int, request: dict[str, Any], limits: ParseLimits) -> bytes:
    """Return what the child sends back: the document or picture, or the reason why there is none."""
    try:
        data = _read_all(descriptor)
        if "page" in request:
            return render_page(
                data, request["page"], width=request["width"], boxes=request["boxes"], quotes=request["quotes"]
            )
        return encode_document(parse_bytes(data, request["filename"], limits))
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
            if detect.detect(data, filename) not in _READ_TOGETHER:
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
