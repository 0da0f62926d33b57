"""A passage with what stands around it: its neighbours, or the whole section, as one span of the stored text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from ragecho.kernel.ids import ChunkId
from ragecho.kernel.passages import Passage
from ragecho.library.query.options import Expand

# More of a section than this is not shown: about six pages.
MAX_CHARACTERS: Final = 12_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk beside a passage that was found: its place in the document, not its text."""

    id: ChunkId
    ordinal: int
    start: int
    end: int
    page: int | None
    page_breaks: tuple[int, ...]
    heading_path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is shown for a passage: code points `start` to `end` of its version, and where its pages begin."""

    start: int
    end: int
    page: int | None
    page_breaks: tuple[int, ...]


def stretch_of(hit: ChunkId, pieces: Sequence[Piece], how: Expand) -> Stretch | None:
    """Return the stretch around a chunk among its document's `pieces` (in reading order); None when it is not there.

    Neighbours are the chunk before and behind. A section is every chunk around with the same headings; whatever would
    make it longer than `MAX_CHARACTERS` is left out, the farthest first.
    """
    at = next((place for place, piece in enumerate(pieces) if piece.id == hit), None)
    if at is None:
        return None
    first = last = at
    can_go = [True, True]
    while any(can_go):
        for side, place in enumerate((first - 1, last + 1)):
            can_go[side] = can_go[side] and _belongs(pieces, at, place, (first, last), how)
            if can_go[side]:
                first, last = min(first, place), max(last, place)
    chosen = pieces[first : last + 1]
    return Stretch(chosen[0].start, max(piece.end for piece in chosen), chosen[0].page, _breaks(chosen))


def _belongs(pieces: Sequence[Piece], at: int, place: int, shown: tuple[int, int], how: Expand) -> bool:
    if not 0 <= place < len(pieces) or abs(pieces[place].ordinal - pieces[at].ordinal) != abs(place - at):
        return False
    if how is Expand.NEIGHBOURS:
        return abs(place - at) == 1
    first, last = min(shown[0], place), max(shown[1], place)
    is_short = pieces[last].end - pieces[first].start <= MAX_CHARACTERS
    return is_short and pieces[place].heading_path == pieces[at].heading_path


def _breaks(pieces: Sequence[Piece]) -> tuple[int, ...]:
    """Return where the pages after the first begin: inside the chunks, and between them."""
    found: list[int] = []
    if pieces[0].page is None:
        return ()
    for piece in pieces:
        shown = pieces[0].page + len(found)
        # A page that begins between two chunks begins, for whoever reads them, with the second.
        found.extend([piece.start] * max(0, (piece.page or shown) - shown))
        found.extend(place for place in piece.page_breaks if not found or place > found[-1])
    return tuple(found)


def joined(passages: Sequence[Passage], stretches: Sequence[Stretch | None]) -> list[tuple[Passage, Stretch | None]]:
    """Return each passage with its stretch; one that meets a better one's stretch is shown as a part of that."""
    kept: list[tuple[Passage, Stretch | None]] = []
    for passage, stretch in zip(passages, stretches, strict=True):
        own = stretch or Stretch(passage.start, passage.end, passage.page, passage.page_breaks)
        for place, (one, shown) in enumerate(kept):
            if shown is not None and one.version_id == passage.version_id and _meet(shown, own):
                kept[place] = (one, _union(shown, own))
                break
        else:
            kept.append((passage, stretch))
    return kept


def _meet(one: Stretch, other: Stretch) -> bool:
    return one.start < other.end and other.start < one.end


def _union(one: Stretch, other: Stretch) -> Stretch:
    first, second = sorted((one, other), key=lambda stretch: stretch.start)
    known = first.page_breaks[-1] if first.page_breaks else first.start
    breaks = first.page_breaks + tuple(place for place in second.page_breaks if place > known)
    return Stretch(first.start, max(one.end, other.end), first.page, breaks)


def stretched(passage: Passage, stretch: Stretch, text: str) -> Passage:
    """Return the passage with the stretch's text; the chunk that was found stays its `chunk_id`."""
    return replace(
        passage,
        start=stretch.start,
        end=stretch.end,
        page=stretch.page,
        page_breaks=stretch.page_breaks,
        text=text,
        content_sha256=sha256(text.encode()).hexdigest(),
    )
