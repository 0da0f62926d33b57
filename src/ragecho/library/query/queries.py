"""What is searched for a question: its own words, and the words that a language model found for it."""

from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """How a question may be worded anew."""

    HISTORY = "history"
    DECOMPOSE = "decompose"
    HYDE = "hyde"
    TRANSLATE = "translate"


@dataclass(frozen=True, slots=True)
class Query:
    """One text to search for; `way` is how it came about, None for the question itself.

    `decompose` is also what the question's own words show, without a model (ask/steps/parts.py). `embed_as_passage`: it is an answer that was made up (HyDE; Gao et al. 2022), so only its meaning is searched, not
    its words, and how near a passage comes to it says nothing about evidence.
    """

    text: str
    way: Way | None = None
    embed_as_passage: bool = False
