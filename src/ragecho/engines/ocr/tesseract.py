"""Recognition by Tesseract 5, whose engine comes in tesserocr's wheel; its models are files of the system or of wheels."""

import itertools
import os
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import cos, radians, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragecho.kernel.parsed import Box

if TYPE_CHECKING:
    from PIL.Image import Image

# Below this the page is most likely turned: a page upside down still looks like words to several languages at once.
TURN_BELOW = 70
_SURE = 85
_BETTER_BY = 5
_FIRST_TURN = 90
_MOST_SLANT = 12  # degrees
_LEAST_SLANT = 1.0
_SLANT_EDGE = 500  # pixels: enough to see lines of text, and measured in 60 ms
_LEAST_WORD = 20  # confidence below which a "word" is dirt
_NOTHING_BELOW = 30  # of a page: a photograph without text gives a few "words" like this


@dataclass(frozen=True, slots=True)
class Recognised:
    """The paragraphs of a page in reading order with their boxes (fractions of the page as it lies), and how sure (0-100)."""

    paragraphs: tuple[tuple[str, Box], ...]
    confidence: float
    turned: int  # degrees counter-clockwise that the page had to be turned by to be read


def folders() -> tuple[Path, ...]:
    """Return where models may be: TESSDATA_PREFIX, wheels in this environment, the system's packages."""
    named = os.environ.get("TESSDATA_PREFIX")
    system = sorted(Path("/usr/share/tesseract-ocr").glob("*/tessdata"), reverse=True)
    found = [
        *([Path(named), Path(named) / "tessdata"] if named else []),
        *system,
        Path("/usr/share/tessdata"),
        Path("/usr/local/share/tessdata"),
        Path(sysconfig.get_path("data")) / "share" / "tessdata",
    ]
    return tuple(folder for folder in found if folder.is_dir())


@cache
def installed(wanted: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the folder that has most of the `wanted` languages and which of them it has; ("", ()) for none.

    The engine takes all its models from one folder.
    """
    best: tuple[str, tuple[str, ...]] = ("", ())
    for folder in folders():
        there = tuple(name for name in wanted if (folder / f"{name}.traineddata").is_file())
        if len(there) > len(best[1]):
            best = (str(folder), there)
    return best


def is_installed() -> bool:
    """Tell whether the engine can be imported."""
    try:
        import tesserocr  # noqa: F401 (only whether it is there)
    except ImportError:
        return False
    return True


def recognise(image: "Image", languages: Sequence[str], first: str | None = None) -> Recognised:
    """Return the text of an upright, slanted or turned picture in any of `languages` (Tesseract's codes).

    `first` alone is tried first: with one language the engine is twice as fast as with seven, and no less right.
    """
    import tesserocr

    folder, there = installed(tuple(languages))
    best = Recognised((), 0.0, 0)
    if first in there and len(there) > 1:
        with tesserocr.PyTessBaseAPI(path=folder, lang=first, psm=tesserocr.PSM.AUTO) as engine:
            best = _read(engine, image, 0)
    if best.confidence < TURN_BELOW:
        with tesserocr.PyTessBaseAPI(path=folder, lang="+".join(there), psm=tesserocr.PSM.AUTO) as engine:
            best = _best_turn(engine, image)
    return best if best.confidence >= _NOTHING_BELOW else Recognised((), best.confidence, 0)


def _best_turn(engine: Any, image: "Image") -> Recognised:
    best = _read(engine, image, 0)
    for turn in (90, 270, 180):
        if best.confidence >= (TURN_BELOW if turn == _FIRST_TURN else _SURE):
            break
        turned = _read(engine, image, turn)
        if turned.confidence > best.confidence + _BETTER_BY:
            best = turned
    return best


def _read(engine: Any, image: "Image", turn: int) -> Recognised:
    """Return what the picture says when it is turned by `turn` degrees and the lines are made level."""
    from PIL.Image import Resampling

    slant = level_by(image.rotate(turn, expand=True, fillcolor=255) if turn else image)
    angle = turn + slant
    level = (
        image.rotate(angle, Resampling.BICUBIC if slant else Resampling.NEAREST, expand=True, fillcolor=255)
        if angle
        else image
    )
    engine.SetImage(level)
    if not engine.Recognize():
        return Recognised((), 0.0, turn)
    found: list[tuple[str, Box]] = []
    sure = characters = 0.0
    paragraphs = list(_paragraphs(engine))
    pieces = with_bullets([text for text, _, _ in paragraphs])
    for (text, confidence, box), parts in zip(paragraphs, pieces, strict=True):
        place = turned_back(box, level.size, image.size, angle)
        found.extend((part, place) for part in parts)
        sure += confidence * len(text)
        characters += len(text)
    return Recognised(tuple(found), round(sure / characters, 1) if characters else 0.0, turn)


def level_by(image: "Image") -> float:
    """Return the degrees (counter-clockwise) by which a picture has to be turned for its lines to be level.

    Level lines of text make the sharpest steps between rows of ink and rows of paper. At most 12 degrees; 0 below one.
    """
    from PIL.Image import Resampling

    small = image.copy()
    small.thumbnail((_SLANT_EDGE, _SLANT_EDGE))
    ink = small.point(lambda value: 255 - value)

    def sharpness(angle: float) -> int:
        rows = ink.rotate(angle, Resampling.BILINEAR).resize((1, ink.height), Resampling.BOX).tobytes()
        return sum((above - below) ** 2 for above, below in itertools.pairwise(rows))

    coarse = max(range(-_MOST_SLANT, _MOST_SLANT + 1), key=lambda angle: (sharpness(angle), -abs(angle)))
    fine = max((coarse + quarter / 4 for quarter in (0, -3, -2, -1, 1, 2, 3)), key=sharpness)
    return fine if abs(fine) >= _LEAST_SLANT else 0.0


def _paragraphs(engine: Any) -> Iterator[tuple[str, float, tuple[int, int, int, int]]]:
    from tesserocr import RIL

    iterator = engine.GetIterator()
    if iterator is None:
        return
    iterator.Begin()
    while True:
        text = "" if iterator.Empty(RIL.PARA) else iterator.GetUTF8Text(RIL.PARA)
        confidence = 0.0 if not text else float(iterator.Confidence(RIL.PARA))
        if text.strip() and confidence >= _LEAST_WORD:
            yield text, confidence, iterator.BoundingBox(RIL.PARA)
        if not iterator.Next(RIL.PARA):
            return


_BULLET = re.compile(r"(?:[e¢©*°•·«»+-]|[oO0](?= [A-Z][a-z]))\s+(?=[A-Z0-9“\"(])")
_LEAST_BULLETS = 2


def with_bullets(paragraphs: Sequence[str]) -> list[list[str]]:
    """Return each paragraph as the pieces it is made of: where a page has bullets, a line with one begins a new piece.

    A bullet is a dot to the engine's eye: it comes out as e, ¢, ©, * and the like. The pieces that had one begin "- ".
    """
    lines = [line.strip() for text in paragraphs for line in text.splitlines()]
    if sum(_BULLET.match(line) is not None for line in lines) < _LEAST_BULLETS:
        return [[joined_lines(text)] for text in paragraphs]
    pieces = [_parted(text) for text in paragraphs]
    for before, after in itertools.pairwise(pieces):
        # A line of an item that the engine took for a paragraph of its own.
        if before and after and before[-1].startswith("- ") and after[0][0].islower() and before[-1][-1] not in ".!?:":
            before[-1] = joined_lines(f"{before[-1]}\n{after.pop(0)}")
    return pieces


def _parted(text: str) -> list[str]:
    pieces: list[list[str]] = [[]]
    for line in text.splitlines():
        if bullet := _BULLET.match(line.strip()):
            pieces.append([f"- {line.strip()[bullet.end() :]}"])
        else:
            pieces[-1].append(line)
    return [joined for piece in pieces if (joined := joined_lines("\n".join(piece)))]


def joined_lines(text: str) -> str:
    """Return a paragraph's lines as running text; a word divided at the end of a line is whole again."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    joined = ""
    for line in filter(None, lines):
        if len(joined) > 1 and joined[-1] in "-\u00ad\u2010" and joined[-2].isalpha() and line[0].islower():
            joined = joined[:-1] + line
        else:
            joined = f"{joined} {line}" if joined else line
    return joined


def turned_back(
    box: tuple[float, float, float, float], size: tuple[int, int], page: tuple[int, int], angle: float
) -> Box:
    """Return, as fractions of the page as it lies, a box of pixels on the page turned counter-clockwise by `angle`."""
    left, top, right, bottom = box
    cosine, sine = cos(radians(angle)), sin(radians(angle))
    across, down = [], []
    for x, y in ((left, top), (right, top), (left, bottom), (right, bottom)):
        from_middle_x, from_middle_y = x - size[0] / 2, y - size[1] / 2
        across.append((from_middle_x * cosine - from_middle_y * sine) / page[0] + 0.5)
        down.append((from_middle_x * sine + from_middle_y * cosine) / page[1] + 0.5)
    edges = (min(across), min(down), max(across), max(down))
    left, top, right, bottom = (round(min(1.0, max(0.0, edge)), 4) for edge in edges)
    return left, top, right, bottom
