"""WebVTT and SubRip: what is said as paragraphs, each under the time and the speaker it begins with.

A paragraph is a page whose label is its time ("00:11–00:16"), so that a citation says when it was said.
"""

import html
import re
from dataclasses import dataclass

from ragecho.engines.parsing.build import DocumentBuilder, PageInfo, clean
from ragecho.engines.parsing.failures import failure
from ragecho.kernel.parsed import BlockKind

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]+)>")
_TAG = re.compile(r"</?[^>]*>|\{\\[^}]*\}")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")
_PAUSE_SECONDS = 4.0
_ROLLING_SECONDS = 0.2  # captions that roll repeat the line before at once
_LONGEST = 700  # characters of a paragraph
_ENOUGH = 300  # characters from which the end of a sentence ends the paragraph


@dataclass(slots=True)
class _Cue:
    start: float
    end: float
    speaker: str
    text: str


def read_subtitles(builder: DocumentBuilder, text: str) -> None:
    """Add the paragraphs of subtitles in either format. Raises `ParseFailed`."""
    cues = _cues(text.replace("\r\n", "\n").replace("\r", "\n"))
    if not cues:
        raise failure("empty")
    paragraphs: list[list[_Cue]] = []
    for cue in cues:
        if paragraphs and _continues(paragraphs[-1], cue):
            paragraphs[-1].append(cue)
        else:
            paragraphs.append([cue])
    for number, spoken in enumerate(paragraphs, 1):
        label = f"{_clock(spoken[0].start)}–{_clock(spoken[-1].end)}"
        builder.page(PageInfo(number, label=label))
        words = " ".join(cue.text for cue in spoken)
        speaker = spoken[0].speaker
        is_new = speaker and (number == 1 or paragraphs[number - 2][0].speaker != speaker)
        builder.add(BlockKind.PARAGRAPH, f"{speaker}: {words}" if is_new else words)


def _cues(text: str) -> list[_Cue]:
    found: list[_Cue] = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.strip("\n").split("\n")
        place = next((index for index, line in enumerate(lines[:2]) if _TIMING.match(line)), None)
        if place is None:
            continue
        times = _TIMING.match(lines[place])
        if times is None:
            continue
        spoken = "\n".join(lines[place + 1 :])
        voice = _VOICE.search(spoken)
        words = " ".join(clean(html.unescape(_TAG.sub("", spoken))).split())
        start, end = _seconds(*times.group(1, 2, 3, 4)), _seconds(*times.group(5, 6, 7, 8))
        is_rolling = bool(found) and found[-1].text == words and start - found[-1].end < _ROLLING_SECONDS
        if words and not is_rolling:
            found.append(_Cue(start, end, clean(voice[1]) if voice else "", words))
    return found


def _continues(spoken: list[_Cue], cue: _Cue) -> bool:
    last = spoken[-1]
    length = sum(len(one.text) + 1 for one in spoken)
    return (
        cue.speaker == last.speaker
        and cue.start - last.end < _PAUSE_SECONDS
        and length + len(cue.text) < _LONGEST
        and not (length >= _ENOUGH and _SENTENCE_END.search(last.text))
    )


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes:02}:{whole % 60:02}"
