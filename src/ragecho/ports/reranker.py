"""Port: how well does a passage answer a question."""

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """Scores question/passage pairs; higher is better and scores of one engine are comparable across questions."""

    @property
    def model(self) -> str:
        """The catalogue name."""
        ...

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one relevance probability (0 to 1) per text, in order."""
        ...
