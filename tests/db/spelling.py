"""An embedder that was taught no long word whole, as real models cut what is spelled wrongly."""

from collections.abc import Sequence

from ragecho.engines.fakes import FakeEmbedder
from ragecho.ports.embedder import TokenCounter


class _Pieces:
    """Pieces of up to six characters, each a token."""

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(at, min(at + 6, len(text))) for at in range(0, len(text), 6)] for text in texts]

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(found) for found in self.offsets(texts)]


class SpellingEmbedder(FakeEmbedder):
    """Knows words of up to six letters."""

    @property
    def tokens(self) -> TokenCounter:
        return _Pieces()
