"""Where sentences begin and end: for chunks that end at one, and for answers that are checked one at a time.

Rules, not a model: the same text always gives the same spans, in time linear to its length.
"""

import re
from collections.abc import Iterator

_CLOSERS = "\"'\u2019\u201d\u00bb\u203a)\\]}\u300d\u300f\uff09\u3011\u300b*_`"
_MARKS = r"(?:[ \t]?\[\d{1,4}(?:[ \t]*[,;\u2013-][ \t]*\d{1,4})*\])*"
_END = re.compile(
    # A blank line, or a line break in front of what begins anew: a list item, a table row, a heading, a quote.
    r"(?P<line>[ \t]*\n(?:[ \t]*\n[ \t\n]*|(?=[ \t]*(?:[-*+\u2022\u2013|#>][ \t|#>]|\|-|\d{1,3}[.)][ \t]))))"
    rf"|(?P<wide>[\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965]+[{_CLOSERS}]*{_MARKS})"
    rf"|(?P<stop>[.!?\u2026]+[{_CLOSERS}]*{_MARKS})(?=\s|$)"
)
_LAST_WORD = re.compile(r"[^\W\d_](?:[\w.\u2019'-]*\w)?$")
_LOOK_BACK = 24  # characters; longer than every abbreviation below

_NEVER_LAST = """
    dr mr mrs ms prof st mt gen col sgt lt capt rev hon gov sen rep fr sr sra srta dra mme mlle mgr
    fig figs eq eqs sec sect ch chap vol vols nos art arts para pp ref refs tab tbl app ex cf viz vs approx ca
    e.g i.e eg ie al z.b d.h u.a p.ex bzw vgl nr bd abs ggf incl excl resp tel univ dept est
"""
_MAYBE_LAST = """
    etc inc ltd co corp llc plc jr bros no p a.m p.m u.s u.k u.n e.u d.c ph.d m.d b.a m.a b.c a.d usw ed eds
    jan feb mar apr jun jul aug sep sept oct nov dec
"""
_FIRST = """
    The This That These Those It Its He She They We You I A An In On At For From To By With As If When While Where Why
    How What Who Which There Here However But And Or So Then Thus Therefore After Before Since Although Because Our
    Their His Her My Your No Not All Some Many Most Each Every Both Such One Two Also Please See
    Der Die Das El La Los Las Le Les Il Un Une
"""
_NEVER_LAST_WORDS = frozenset(_NEVER_LAST.split())  # something that belongs to them follows
_MAYBE_LAST_WORDS = frozenset(_MAYBE_LAST.split())  # they end a sentence when a usual first word follows
_FIRST_WORDS = frozenset(_FIRST.split())


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of every sentence of `text`, in order and without overlap.

    Spans begin and end with a visible character, and every visible character lies in exactly one span. A line break
    inside a paragraph ends nothing; a blank line, a list item, a table row and a heading do.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for end in _ends(text):
        _append_trimmed(spans, text, start, end)
        start = end
    _append_trimmed(spans, text, start, len(text))
    return spans


def _append_trimmed(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    visible = piece.strip()
    if not visible:
        return
    first = start + len(piece) - len(piece.lstrip())
    spans.append((first, first + len(visible)))


def _ends(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        if match["stop"] is None or _is_end(text, match):
            yield match.end()


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Tell whether the stop found really ends a sentence, from the words on both sides."""
    following = text[match.end() : match.end() + _LOOK_BACK].lstrip()
    if not following or following[0].islower():
        return not following
    if match["stop"][0] != "." or match["stop"].startswith(".."):
        return True
    before = text[max(0, match.start() - _LOOK_BACK) : match.start()]
    if _is_list_number(before):
        return False
    word = _LAST_WORD.search(before)
    if word is None:
        return True
    return _word_may_end(word[0], following)


def _is_list_number(before: str) -> bool:
    """Tell whether the stop belongs to a number or letter that opens a line, such as "2." or "a."."""
    line = before[before.rfind("\n") + 1 :]
    # A line that fills the look-back began earlier and is longer than any such number.
    return len(line) < _LOOK_BACK and re.fullmatch(r"\s*(?:\d{1,3}|\w)", line) is not None


def _word_may_end(word: str, following: str) -> bool:
    key = word.lower()
    if key in _NEVER_LAST_WORDS:
        return False
    if key in _MAYBE_LAST_WORDS:
        return _opens_sentence(following)
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    is_dotted = "." in word and all(len(part) == 1 for part in word.split("."))
    if is_initial or is_dotted:
        return _opens_sentence(following)
    return True


def _opens_sentence(following: str) -> bool:
    first = re.match(r"[^\W\d_]+", following)
    return first is not None and first[0] in _FIRST_WORDS
