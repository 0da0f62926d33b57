"""Words of a question that nothing found holds, and the words that were perhaps meant.

Nothing is stored for this: what was perhaps meant is looked for in the passages that the vectors found, which the caller may
read. So no correction tells of a word that is not the caller's to see, and a word counts as unknown only when a search for
it alone, by the same caller, finds nothing (library/refining.py).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Final

from ragecho.kernel.passages import Passage
from ragecho.library.analysis import UNSPACED, is_stop_word, terms_of

MAX_WORDS: Final = 3
LOOKED_AT: Final = 10
_LEAST_LENGTH: Final = 5
# One slip in a short word, two in a long one.
_TWO_SLIPS_FROM: Final = 9
_WORD = re.compile(rf"(?<![\w.@/'’-])[^\W\d_{UNSPACED}]{{{_LEAST_LENGTH},40}}(?![\w@/'’-])")
_CONTENT = re.compile(r"\w{4,}")
_FEW_WORDS: Final = 3
_LONGEST: Final = 40
_MOST_PLACES: Final = 60


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
    found: dict[str, str] = {}
    for word in words[:MAX_WORDS]:
        best = _nearest(word.casefold(), text)
        if best is not None:
            found[word] = best
    return found


def _nearest(word: str, text: str) -> str | None:
    limit = 2 if len(word) >= _TWO_SLIPS_FROM else 1
    near: list[tuple[int, bool, int, str]] = []
    for other in _sharing(word, text, limit + 1):
        if abs(len(other) - len(word)) > limit or (other[0] != word[0] and other[-3:] != word[-3:]):
            continue
        # Endings and beginnings are grammar, not slips.
        if other.startswith(word) or word.startswith(other) or other.endswith(word) or word.endswith(other):
            continue
        slips = distance(word, other, limit)
        if slips <= limit:
            near.append((slips, other[0] != word[0], -text.count(other), other))
    return min(near)[3] if near else None


def _sharing(word: str, text: str, parts: int) -> set[str]:
    """Return the words of `text` that hold one of as many `parts` of a word: so many slips less one leave one part whole.

    Two letters in each other's place may break two parts at once; the parts are searched with such a pair set right, too.
    """
    cuts = [len(word) * part // parts for part in range(parts + 1)]
    pieces = [word[start:end] for start, end in pairwise(cuts)]
    pieces += [word[: cut - 1] + word[cut] + word[cut - 1] + word[cut + 1 :] for cut in cuts[1:-1]]
    found: set[str] = set()
    for piece in pieces:
        at, times = text.find(piece), 0
        while at >= 0 and times < _MOST_PLACES:
            start, end = at, at + len(piece)
            while start > 0 and text[start - 1].isalpha() and at - start < _LONGEST:
                start -= 1
            while end < len(text) and text[end].isalpha() and end - at < _LONGEST:
                end += 1
            found.add(text[start:end])
            at, times = text.find(piece, end), times + 1
    return found


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
