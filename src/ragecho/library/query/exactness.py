"""Exact forms in a question: quoted phrases, error codes, part numbers, file names, versions.

To a model ERR_CONN-4012 and ERR_CONN-4013 mean the same, and BM25 sees three words of which two are equal. To whoever asks
they are different things: passages that hold the form, letter by letter, come first.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from ragecho.kernel.passages import Passage
from ragecho.library.analysis import UNSPACED, terms_of

MAX_FORMS: Final = 6
MAX_CHARACTERS: Final = 300
# A fused score is at most 1: a passage that holds a form comes before all that do not.
CERTAIN: Final = 1.0
# IL-6 and COVID-19 are words of a language more than they are identifiers: a push, no rule.
LIKELY: Final = 0.05
# Unless they are what a short question is about.
PROBABLE: Final = 0.5
_LOOSE: Final = 0.5
_CONTEXT: Final = 0.8

_QUOTED = re.compile(
    r"\"([^\"\n]+)\"|“([^”“\n]+)[”“]|„([^”“\n]+)[”“]|«([^»«\n]+)»|»([^»«\n]+)«|‹([^›‹\n]+)›|「([^」\n]+)」|『([^』\n]+)』|`([^`\n]+)`"
)
# A plain question has neither quotes nor digits nor signs inside words, and is known by one look.
_PERHAPS = re.compile(r"[\"“”„«»‹「『`\d_\\@]|\w(?:::|[./:#])\w|[^\W\d_][-–‑][^\W\d_]")
_WORD = rf"[^\W{UNSPACED}]"
_RUN = re.compile(rf"{_WORD}+(?:(?:::|[-‐‑–−_./:\\#@+=~&])+{_WORD}+)*", re.UNICODE)
_CONNECTOR = re.compile(r"::|[-‐‑–−./:\\#@+=~&]")
_FILE = re.compile(r"(?i)[\w-][\w .-]*\.(?:[a-z]{2,4}\d?|docx|xlsx|pptx|html|json|yaml|toml|jpeg|tiff|epub)$")
_MEASURE = re.compile(r"\d+(?:[.,:]\d+)?(?:[a-z]{1,3})?s?$")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_JOINING: Final = "-._"
_COUNTED = re.compile(r"\d+(?:[-‐‑–][a-z]+)+$")
_WRITTEN = re.compile(r"[^\W\d_A-Z]{3}")
_NUMBER = re.compile(r"\d{4}")
_DASHES: Final = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-") | dict.fromkeys(map(ord, "’‘ʼ"), "'")
_CODE_LENGTH: Final = 4
_LONG_NUMBER: Final = 5
_FEW_WORDS: Final = 2
_MANY_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class Form:
    """One exact form as written. `bonus` is what holding it adds to a passage's score."""

    text: str
    is_phrase: bool
    bonus: float

    @property
    def is_file_name(self) -> bool:
        """Whether it looks like the name of a file."""
        return bool(_FILE.match(self.text))


def forms_of(question: str) -> tuple[Form, ...]:
    """Return the quoted phrases and identifiers of a question, each once, in order; most questions have none."""
    if _PERHAPS.search(question) is None:
        return ()
    found: dict[str, Form] = {}
    for match in _QUOTED.finditer(question):
        phrase = " ".join(next(filter(None, match.groups()), "").split()).strip(".,;:!?")
        if phrase and len(phrase) <= MAX_CHARACTERS and any(map(str.isalnum, phrase)):
            found.setdefault(folded(phrase), Form(phrase, is_phrase=True, bonus=CERTAIN))
    for match in _RUN.finditer(_QUOTED.sub(" ", question)):
        bonus = _bonus(match[0])
        if bonus and len(match[0]) <= MAX_CHARACTERS:
            found.setdefault(folded(match[0]), Form(match[0], is_phrase=False, bonus=bonus))
    forms = tuple(found.values())[:MAX_FORMS]
    if any(form.bonus == LIKELY for form in forms) and _is_about(forms, question):
        return tuple(replace(form, bonus=max(form.bonus, PROBABLE)) for form in forms)
    return forms


def _is_about(forms: Sequence[Form], question: str) -> bool:
    """Tell whether a question has few words of meaning besides its forms."""
    for form in forms:
        question = question.replace(form.text, " ")
    return len(terms_of(question)) <= _FEW_WORDS


def _bonus(run: str) -> float:
    """Return how surely a run without spaces is an identifier: 0 for words, numbers, amounts and years."""
    if "_" in run.strip("_") or "\\" in run or "::" in run:
        return CERTAIN
    if not any(map(str.isdigit, run)):
        return _bonus_of_letters(run)
    if run.isdigit() or _MEASURE.match(run):
        return CERTAIN if run.isdigit() and len(run) >= _LONG_NUMBER else 0.0
    digits, letters = sum(map(str.isdigit, run)), sum(map(str.isalpha, run))
    connectors, capitals = len(_CONNECTOR.findall(run)), sum(map(str.isupper, run))
    is_long = digits + letters >= _CODE_LENGTH
    # AB-12.34/7, K7E0421 and 2.3.1. But IL-6, H3K79me2 and MOZ-TIF2-induced are words of a language, and so is 100-day.
    is_joined = connectors > 1 or (connectors and letters and not _COUNTED.match(run))
    is_numbered = letters and _NUMBER.search(run) is not None
    is_coded = connectors > 1 and capitals and is_long and _WRITTEN.search(run) is None
    if is_coded or (digits >= _MANY_DIGITS and (is_joined or is_numbered) and (is_long or connectors > 1)):
        return CERTAIN
    return LIKELY if (letters and connectors) or (capitals and is_long) else 0.0


def _bonus_of_letters(run: str) -> float:
    """index.html, but neither and/or nor well-known; ERR-CONN is like one, TCP/IP is not."""
    letters, connectors = sum(map(str.isalpha, run)), len(_CONNECTOR.findall(run))
    if letters <= _CODE_LENGTH:
        return 0.0
    if connectors == run.count(".") == 1 and _FILE.match(run):
        return CERTAIN
    return LIKELY if run.isupper() and "-" in run else 0.0


def folded(text: str) -> str:
    """Return a text for comparison: NFKC, case-folded, one kind of dash and apostrophe, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_DASHES).casefold().split())


def lift(forms: Sequence[Form], passages: Sequence[Passage]) -> tuple[list[Passage], dict[str, bool]]:
    """Return the passages, those with the question's forms first, and which of the forms some passage holds exactly.

    `score` grows by what a passage holds, `scores["exact"]` is its share of the forms.
    """
    if not forms:
        return list(passages), {}
    found = {form.text: False for form in forms}
    lifted: list[Passage] = []
    for passage in passages:
        grades = grades_of(forms, passage)
        for form, value in grades.items():
            found[form.text] = found[form.text] or value >= _CONTEXT
        held = sum(grades.values()) / len(forms)
        gained = sum(form.bonus * value for form, value in grades.items())
        if held:
            passage = replace(passage, score=passage.score + gained, scores=passage.scores | {"exact": round(held, 4)})  # noqa: PLW2901 (the same passage with its score)
        lifted.append(passage)
    # Sorting is stable: what holds as much as another keeps its place behind it.
    return sorted(lifted, key=lambda one: -one.score), found


def grades_of(forms: Sequence[Form], passage: Passage) -> dict[Form, float]:
    """Return how well a passage holds each form: 1 in its text, less in title, headings or file name, or written otherwise."""
    text = folded(passage.text)
    context = folded(" \n ".join([passage.filename, passage.title or "", *passage.heading_path]))
    return {form: _grade(form, text, context) for form in forms}


def _grade(form: Form, text: str, context: str) -> float:
    wanted = folded(form.text)
    if _stands_in(wanted, text, is_phrase=form.is_phrase):
        return 1.0
    if _stands_in(wanted, context, is_phrase=form.is_phrase):
        return _CONTEXT
    loose = None if form.is_phrase else _loose(wanted)
    is_loose = loose is not None and any(
        _is_whole(match.start(), match.end(), place) for place in (text, context) for match in loose.finditer(place)
    )
    return _LOOSE if is_loose else 0.0


def _stands_in(wanted: str, text: str, *, is_phrase: bool) -> bool:
    """Tell whether a folded form stands in a folded text, not as a part of a longer word or of another identifier."""
    start = text.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        # 2.3 is not found in 2.3.1, nor CONN-4012 in ERR_CONN-4012: those are other things.
        if _is_whole(start, end, text) and (is_phrase or not _is_joined(start, end, text)):
            return True
        start = text.find(wanted, start + 1)
    return False


def _is_whole(start: int, end: int, text: str) -> bool:
    """Tell whether words end where the span does; scripts without spaces have no such borders."""
    before = start > 0 and _is_word(text[start]) and _is_word(text[start - 1])
    after = end < len(text) and _is_word(text[end - 1]) and _is_word(text[end])
    return not before and not after


def _is_joined(start: int, end: int, text: str) -> bool:
    before = start > 1 and text[start - 1] in _JOINING and _is_word(text[start - 2])
    after = end + 1 < len(text) and text[end] in _JOINING and _is_word(text[end + 1])
    return before or after


def _is_word(char: str) -> bool:
    return (char.isalnum() or char == "_") and _UNSPACED.match(char) is None


@lru_cache(maxsize=256)
def _loose(wanted: str) -> re.Pattern[str]:
    """Return what finds an identifier written with other signs between its parts, or none."""
    return re.compile(r"[-_./:\\ ]?".join(map(re.escape, re.findall(r"[^\W_]+", wanted))))


def sql_pattern(form: Form) -> str:
    """Return PostgreSQL's regular expression (`~*`) that matches wherever `lift` would find the form itself."""
    words = unicodedata.normalize("NFKC", form.text).translate(_DASHES).split()
    return r"\s+".join("".join(_SQL_CLASSES.get(char) or _escaped(char) for char in word) for word in words)


_SQL_CLASSES: Mapping[str, str] = {"-": "[-‐‑‒–—―−]", "'": "['’‘ʼ]"}


def _escaped(char: str) -> str:
    return char if char.isalnum() or char == "_" else "\\" + char
