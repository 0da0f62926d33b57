"""Recognition by Tesseract 5, whose engine comes in tesserocr's wheel; its models are files of the system or of wheels."""

import itertools
import os
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragecho.kernel.parsed import Box

if TYPE_CHECKING:
    from PIL.Image import Image

# Below this the page is most likely turned: a page upside down still looks like words to several languages at once.
TURN_BELOW = 70
_SURE = 85
_BETTER_BY = 5
_STRAIGHTEN_FROM = 0.035  # radians (2 degrees); the engine copes with less
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


def recognise(image: "Image", languages: Sequence[str]) -> Recognised:
    """Return the text of an upright or turned picture in any of `languages` (Tesseract's codes, the likeliest first)."""
    import tesserocr

    folder, there = installed(tuple(languages))
    with tesserocr.PyTessBaseAPI(path=folder, lang="+".join(there), psm=tesserocr.PSM.AUTO) as engine:
        best = _read(engine, image, 0)
        if best.confidence >= TURN_BELOW:
            return best
        if (angle := _slant(engine)) and (straight := _straightened(engine, image, angle)).confidence > best.confidence:
            best = straight
        for turn in (90, 270, 180):
            if best.confidence >= _SURE:
                break
            turned = _read(engine, image.rotate(turn, expand=True, fillcolor=255), turn)
            if turned.confidence > best.confidence + _BETTER_BY:
                best = turned
    return best if best.confidence >= _NOTHING_BELOW else Recognised((), best.confidence, 0)


def _straightened(engine: Any, image: "Image", angle: float) -> Recognised:
    from math import degrees

    # The boxes are those of the straightened page, which is off by the slant only.
    return _read(engine, image.rotate(degrees(angle), fillcolor=255), 0)


def _slant(engine: Any) -> float:
    layout = engine.AnalyseLayout()
    if layout is None:
        return 0.0
    angle = float(layout.Orientation()[3])
    return angle if abs(angle) >= _STRAIGHTEN_FROM else 0.0


def _read(engine: Any, image: "Image", turned: int) -> Recognised:
    engine.SetImage(image)
    if not engine.Recognize():
        return Recognised((), 0.0, turned)
    found: list[tuple[str, Box]] = []
    sure = characters = 0.0
    paragraphs = list(_paragraphs(engine))
    pieces = with_bullets([text for text, _, _ in paragraphs])
    for (text, confidence, box), parts in zip(paragraphs, pieces, strict=True):
        place = _unturned(_fractions(box, image.size), turned)
        found.extend((part, place) for part in parts)
        sure += confidence * len(text)
        characters += len(text)
    return Recognised(tuple(found), round(sure / characters, 1) if characters else 0.0, turned)


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


def _fractions(box: tuple[int, int, int, int], size: tuple[int, int]) -> Box:
    width, height = size
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def _unturned(box: Box, turned: int) -> Box:
    """Return the box on the page as it lies, of one on the page turned counter-clockwise."""
    left, top, right, bottom = box
    match turned:
        case 90:
            box = 1 - bottom, left, 1 - top, right
        case 180:
            box = 1 - right, 1 - bottom, 1 - left, 1 - top
        case 270:
            box = top, 1 - right, bottom, 1 - left
    left, top, right, bottom = (round(min(1.0, max(0.0, edge)), 4) for edge in box)
    return left, top, right, bottom
