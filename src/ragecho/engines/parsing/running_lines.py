"""Headers, footers and page numbers: what pages repeat at their edges is not part of what they say."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ragecho.kernel.parsed import BlockKind, Box

_BAND = 0.09  # of the page's height: where running headers and footers stand
_REPEATS = 3
_PAGE_NUMBER = re.compile(
    r"(?:page|seite|p\.)?\s*[-\u2013]?\s*(?:\d{1,5}|[ivxlc]{1,7})\s*(?:(?:of|von|/)\s*\d{1,5})?\s*[-\u2013]?", re.I
)


@dataclass(slots=True)
class Line:
    """A block of a page before the whole document is known."""

    kind: BlockKind
    text: str
    level: int
    page: int
    box: Box | None


def mark_running_lines(blocks: Sequence[Line], pages: int) -> None:
    """Mark what stands in the top or bottom band of many pages, numbers apart, and page numbers."""
    if pages < _REPEATS:
        return
    in_band = [(found, side) for found in blocks if (side := _band(found)) is not None]
    counts = Counter({key: len(on) for key, on in _pages_by_line(in_band).items()})
    for found, side in in_band:
        is_number = _PAGE_NUMBER.fullmatch(found.text.strip()) is not None
        if is_number or counts[side, _line_key(found.text)] >= _REPEATS:
            found.kind, found.level = side, 0


def _pages_by_line(in_band: Sequence[tuple[Line, BlockKind]]) -> dict[tuple[BlockKind, str], set[int]]:
    found_on: dict[tuple[BlockKind, str], set[int]] = {}
    for found, side in in_band:
        found_on.setdefault((side, _line_key(found.text)), set()).add(found.page)
    return found_on


def _band(found: Line) -> BlockKind | None:
    if found.box is None:
        return None
    if found.box[3] <= _BAND:
        return BlockKind.HEADER
    return BlockKind.FOOTER if found.box[1] >= 1 - _BAND else None


def _line_key(text: str) -> str:
    return re.sub(r"\d+|\b[ivxlc]+\b", "#", " ".join(text.lower().split()))
