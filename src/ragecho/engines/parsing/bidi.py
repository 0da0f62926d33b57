"""Right-to-left text that a PDF stores as it is drawn, from left to right, back into the order in which it is read.

Most PDFs keep the order of reading. Which one a line has is told by letters that only end words: Arabic teh marbuta
and alef maksura, final shapes of either script. Where they begin words, the line is drawn order.
"""

import re
import unicodedata

_RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_WORD = re.compile(f"[{_RIGHT_TO_LEFT}]{{2,}}")
_RUN = re.compile(f"[{_RIGHT_TO_LEFT}](?:[{_RIGHT_TO_LEFT}\\s\\d.,:;!?()\\[\\]«»\"'،؛؟-]*[{_RIGHT_TO_LEFT}])?")
_ENDS_WORDS = frozenset("\u0629\u0649\u05da\u05dd\u05df\u05e3\u05e5")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_CLUSTER = re.compile(
    r"[^\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670][\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]*|."
)
_MARK = re.compile("[\u064b-\u065f\u0670\u0591-\u05c7]")
_MIRRORED = str.maketrans("()[]«»", ")(][»«")


def has_right_to_left(text: str) -> bool:
    """Tell whether there is anything to do."""
    return _WORD.search(text) is not None


def in_reading_order(text: str) -> str:
    """Return `text` with its right-to-left runs in reading order; unchanged where they are so, or where nothing tells."""
    words = _WORD.findall(text)
    drawn = sum(_ends_words(word[0]) or _is_mark(word[0]) for word in words)
    read = sum(_ends_words(_last_letter(word)) for word in words)
    return _RUN.sub(lambda run: _reversed(run[0]), text) if drawn > read else text


def _ends_words(letter: str) -> bool:
    return letter in _ENDS_WORDS or (unicodedata.decomposition(letter).startswith("<final>"))


def _is_mark(letter: str) -> bool:
    return _MARK.match(letter) is not None


def _last_letter(word: str) -> str:
    return next((letter for letter in reversed(word) if not _is_mark(letter)), word[-1])


def _reversed(run: str) -> str:
    """Return a run backwards; a mark stays with its letter, which it precedes in drawn order or follows, numbers stay."""
    backwards = "".join(reversed(run)).translate(_MIRRORED)
    backwards = _NUMBER.sub(lambda number: number[0][::-1], backwards)
    if _MARK.match(run) or not _MARK.search(run):
        return backwards
    return backwards if _marks_follow(backwards) else "".join(reversed(_CLUSTER.findall(run))).translate(_MIRRORED)


def _marks_follow(text: str) -> bool:
    return not any(_is_mark(letter) and (index == 0 or text[index - 1].isspace()) for index, letter in enumerate(text))
