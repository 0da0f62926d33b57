"""Port: which language a text is in."""

from typing import Protocol


class LanguageDetector(Protocol):
    """Tells languages apart."""

    def detect(self, text: str) -> str | None:
        """Return the ISO 639-1 code of the text's main language (639-3 where there is none), None when it cannot tell."""
        ...
