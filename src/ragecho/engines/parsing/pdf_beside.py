"""What the layout leaves out of a page of a PDF: text that is turned or that it loses, and people's notes on it."""

import re
from collections.abc import Iterator
from typing import Any

from ragecho.engines.parsing.running_lines import Line
from ragecho.kernel.parsed import BlockKind, Box

_FEW_LETTERS = 400  # of a page; only then is it worth looking for what the layout may have lost
_MOST_LOST = 0.6
_LEAST_LETTERS = 12
_MOST_NOTES = 500
_LINE_END = re.compile(r"(\w)[\ufffe\u0002\u00ad]\s*|\s*\r?\n\s*")


def lost_text(page: Any, found: list[Line]) -> str | None:
    """Return a page's text as PDFium reads it where the layout has less than half of its letters, else None."""
    letters = sum(_letters(line.text) for line in found)
    if letters > _FEW_LETTERS:
        return None
    text = page.get_textpage().get_text_bounded()
    own = _letters(text)
    if own < _LEAST_LETTERS or letters > (1 - _MOST_LOST) * own:
        return None
    return _LINE_END.sub(lambda end: end[1] or " ", text)


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def notes_on(page: Any) -> Iterator[tuple[str, Box | None]]:
    """Yield the notes that people have put on a page, with their boxes."""
    from pypdfium2 import raw

    shown = {raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_HIGHLIGHT, raw.FPDF_ANNOT_UNDERLINE}
    shown |= {raw.FPDF_ANNOT_SQUIGGLY, raw.FPDF_ANNOT_STRIKEOUT, raw.FPDF_ANNOT_CARET, raw.FPDF_ANNOT_STAMP}
    width, height = page.get_size()
    for index in range(min(_MOST_NOTES, raw.FPDFPage_GetAnnotCount(page.raw))):
        annotation = raw.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        try:
            if raw.FPDFAnnot_GetSubtype(annotation) in shown and not _is_hidden(annotation):
                text, author = _value(annotation, b"Contents"), _value(annotation, b"T")
                if text.strip():
                    yield f"{author}: {text}" if author.strip() else text, _box(annotation, width, height)
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def _is_hidden(annotation: Any) -> bool:
    from pypdfium2 import raw

    return bool(raw.FPDFAnnot_GetFlags(annotation) & (raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW))


def _value(annotation: Any, key: bytes) -> str:
    import ctypes

    from pypdfium2 import raw

    size = raw.FPDFAnnot_GetStringValue(annotation, key, None, 0)
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFAnnot_GetStringValue(annotation, key, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return buffer.raw[: max(0, size - 2)].decode("utf-16-le", "replace")


def _box(annotation: Any, width: float, height: float) -> Box | None:
    from pypdfium2 import raw

    rect = raw.FS_RECTF()
    if not raw.FPDFAnnot_GetRect(annotation, rect) or not width or not height:
        return None
    edges = (rect.left / width, 1 - rect.top / height, rect.right / width, 1 - rect.bottom / height)
    left, top, right, bottom = (round(min(1.0, max(0.0, edge)), 4) for edge in edges)
    return left, top, right, bottom


def comments(page: Any, number: int) -> list[Line]:
    """Return the notes on page `number` as blocks."""
    return [Line(BlockKind.COMMENT, text, 0, number, box) for text, box in notes_on(page)]
