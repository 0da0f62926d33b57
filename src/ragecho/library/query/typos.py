"""Words of a question that nothing found holds, and the words that were perhaps meant.

Nothing is stored for this: what was perhaps meant is looked for in the passages that the vectors found, which the caller may
read. So no correction tells of a word that is not the caller's to see, and a word counts as unknown only when a search for
it alone, by the same caller, finds nothing (library/refining.py).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from ragecho.kernel.passages import Passage
from ragecho.library.analysis import UNSPACED, is_stop_word, terms_of

MAX_WORDS: Final = 3
LOOKED_AT: Final = 10
COMPARED: Final = 6
_LEAST_LENGTH: Final = 5
# One slip in a short word, two in a long one.
_TWO_SLIPS_FROM: Final = 9
_WORD = re.compile(rf"(?<![\w.@/'’-])[^\W\d_{UNSPACED}]{{{_LEAST_LENGTH},40}}(?![\w@/'’-])")
_CONTENT = re.compile(r"\w{4,}")
_FEW_WORDS: Final = 3
_MARKS: Final = ".,;:!?()[]{}\"'“”„«»‘’…*"


def text_of(passages: Sequence[Passage]) -> str:
    """Return all that is read of some passages, case-folded: texts, titles, headings and names of files."""
    parts = (
        part
        for passage in passages
        for part in (passage.text, passage.title or "", passage.filename, *passage.heading_path)
    )
    return "\n".join(parts).casefold()


def missing_words(question: str, text: str, *, beside: Collection[str] = ()) -> list[str]:
    """Return the question's longer words that `text` (case-folded) holds in no form; `beside` are exact forms to leave alone."""
    for form in beside:
        question = question.replace(form, " ")
    words = {word.casefold(): word for word in _WORD.findall(question)}
    # By its stem, so that another form of the word counts as the word.
    return [
        word
        for folded, word in words.items()
        if folded not in text and not is_stop_word(folded) and terms_of(folded)[0] not in text
    ]


def meant(words: Sequence[str], text: str) -> dict[str, str]:
    """Return the nearest word of `text` (case-folded) for each word that has one, within one slip (two in long words).

    Slips are Damerau's: a letter too much, too few, wrong, or two letters in each other's place.
    """
    known = set(text.split())
    found: dict[str, str] = {}
    for word in words[:MAX_WORDS]:
        best = _nearest(word.casefold(), known, text)
        if best is not None:
            found[word] = best
    return found


def _nearest(word: str, known: Collection[str], text: str) -> str | None:
    limit = 2 if len(word) >= _TWO_SLIPS_FROM else 1
    # A comma or bracket may stand at either end.
    least, most, first, last = len(word) - limit, len(word) + limit + 2, word[0], word[-3:]
    near: dict[str, tuple[int, bool, int, str]] = {}
    likely = [token for token in known if first in token[:2] or token.endswith(last)]
    for token in likely:
        if not least <= len(token) <= most:
            continue
        other = token.strip(_MARKS)
        if not other.isalpha() or abs(len(other) - len(word)) > limit:
            continue
        # Endings and beginnings are grammar, not slips.
        if other.startswith(word) or word.startswith(other) or other.endswith(word) or word.endswith(other):
            continue
        slips = distance(word, other, limit)
        if slips <= limit:
            near[other] = (slips, other[0] != first, -text.count(other), other)
    return min(near.values())[3] if near else None


def distance(one: str, other: str, limit: int) -> int:
    """Return the optimal string alignment distance of two words, or `limit + 1` when it is larger."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, char in enumerate(one, start=1):
        row = [i]
        for j, its in enumerate(other, start=1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (char != its))
            if i > 1 and j > 1 and char == other[j - 2] and one[i - 2] == its:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit and min(last) > limit:
            return limit + 1
        before, last = last, row
    return min(last[-1], limit + 1)


def edits(word: str) -> list[str]:
    """Return all words that one slip makes of `word`: a letter too much, too few, wrong, or two in each other's place.

    Letters are those of the word's script: what a Russian word lacks is no Latin letter.
    """
    letters = _letters_of(word)
    parts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    found = dict.fromkeys(before + after[1:] for before, after in parts if after)
    found |= dict.fromkeys(before + after[1] + after[0] + after[2:] for before, after in parts if len(after) > 1)
    found |= dict.fromkeys(before + char + after[1:] for before, after in parts if after for char in letters)
    found |= dict.fromkeys(before + char + after for before, after in parts for char in letters)
    found.pop(word, None)
    return list(found)


def _letters_of(word: str) -> str:
    if any("\u0370" <= char <= "\u03ff" for char in word):
        return "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώς"
    if any("\u0400" <= char <= "\u052f" for char in word):
        return "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ"
    return "abcdefghijklmnopqrstuvwxyzäöüßáàâéèêëíîïóôúûñçãõåøæœ"


def is_short(question: str) -> bool:
    """Tell whether a question is a few words only: then a word that no passage holds is hardly a side issue."""
    return len(_CONTENT.findall(question)) <= _FEW_WORDS


def corrected(question: str, words: Mapping[str, str]) -> str:
    """Return the question with each word replaced by what was meant."""
    for word, other in words.items():
        question = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", other, question)
    return question
