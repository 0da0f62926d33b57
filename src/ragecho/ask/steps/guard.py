"""Is this a question we take at all."""

import unicodedata

from ragecho.kernel.errors import InvalidInput

MAX_QUESTION_CHARS = 4000
_ALLOWED_CONTROLS = frozenset("\t\n\r")


def guard(question: str) -> str:
    """Return the question in NFC without surrounding white space.

    Raises `InvalidInput` for a blank one, one over 4 000 characters, and for control characters: NUL cannot be stored,
    and the others have no place in a question but hide text from the person who reads it.
    """
    if len(question) > MAX_QUESTION_CHARS:
        raise InvalidInput(
            f"A question may have {MAX_QUESTION_CHARS} characters; this one has {len(question)}.",
            limit=MAX_QUESTION_CHARS,
        )
    if any(unicodedata.category(char) in {"Cc", "Cs"} and char not in _ALLOWED_CONTROLS for char in question):
        raise InvalidInput("The question contains control characters.")
    cleaned = unicodedata.normalize("NFC", question).strip()
    if not any(char.isalnum() for char in cleaned):
        raise InvalidInput("The question is empty.")
    return cleaned
