"""A page of a PDF as a PNG, with the cited words marked. Runs in the sandbox's child process, like all parsing."""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.unlock import open_pdf
from ragecho.kernel.parsed import Box

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_WIDTH = 3000
_MAX_PIXELS = 24_000_000
_RGB = 3
# The marker multiplies the picture's colours, as ink does: white turns yellow, black stays black.
_GREEN = bytes(round(value * 0.93) for value in range(256))
_BLUE = bytes(round(value * 0.35) for value in range(256))


def render_page(
    data: bytes,
    page: int,
    *,
    width: int,
    boxes: Sequence[Box] = (),
    quotes: Sequence[str] = (),
    passwords: Sequence[str] = (),
) -> bytes:
    """Return page `page` (from 1) as a PNG of `width` pixels (at most 3,000).

    Each of `quotes` is marked where the page shows it; when one is not found, `boxes` (fractions of the page) are
    marked instead. The first of `passwords` that fits opens it. Raises `ParseFailed`: "encrypted", "damaged", or "no_page".
    """
    opened = open_pdf(data, passwords)
    if opened is None:
        raise failure("damaged")
    document = opened[0]
    document.init_forms()  # so that what was entered into a form is drawn
    if not 1 <= page <= len(document):
        raise failure("no_page", page=page, pages=len(document))
    shown = document[page - 1]
    page_width, page_height = shown.get_size()
    scale = min(width, MAX_WIDTH) / max(page_width, 1.0)
    scale = min(scale, (_MAX_PIXELS / max(page_width * page_height, 1.0)) ** 0.5)
    found = [_find(shown, quote) for quote in quotes]
    marked = [box for one in found for box in one] if found and all(found) else list(boxes)
    bitmap = shown.render(scale=scale, rev_byteorder=True, fill_color=(255, 255, 255, 255))
    return _png(bitmap, marked)


def _find(page: Any, quote: str) -> list[Box]:
    """Return the boxes of the first place where the page shows `quote`, one per line."""
    words = " ".join(quote.split())
    if not words:
        return []
    text = page.get_textpage()
    place = text.search(words).get_next()
    if place is None:
        return []
    index, count = place
    width, height = page.get_size()
    boxes = []
    for line in range(text.count_rects(index, count)):
        left, bottom, right, top = text.get_rect(line)
        boxes.append((left / width, 1 - top / height, right / width, 1 - bottom / height))
    return boxes


def _png(bitmap: Any, boxes: Sequence[Box]) -> bytes:
    width, height, stride = bitmap.width, bitmap.height, bitmap.stride
    channels = bitmap.n_channels
    raw = memoryview(bitmap.buffer).cast("B")
    rows = [_row(bytes(raw[y * stride : y * stride + width * channels]), channels) for y in range(height)]
    for box in boxes:
        left, right = (max(0, min(width, round(edge * width))) for edge in (box[0], box[2]))
        top, bottom = (max(0, min(height, round(edge * height))) for edge in (box[1], box[3]))
        for y in range(top, bottom):
            for offset, table in ((1, _GREEN), (2, _BLUE)):
                part = slice(left * _RGB + offset, right * _RGB, _RGB)
                rows[y][part] = rows[y][part].translate(table)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 6)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG_SIGNATURE + _part(b"IHDR", header) + _part(b"IDAT", body) + _part(b"IEND", b"")


def _row(pixels: bytes, channels: int) -> bytearray:
    """Return a row of pixels as RGB."""
    if channels == _RGB:
        return bytearray(pixels)
    row = bytearray(len(pixels) // channels * _RGB)
    for channel in range(_RGB):
        row[channel::_RGB] = pixels[min(channel, channels - 1) :: channels]
    return row


def _part(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
