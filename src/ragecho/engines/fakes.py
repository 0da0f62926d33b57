"""Deterministic engines for tests: no weights, no network, and honest enough to pass the ports' contract suites."""

import re
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

import numpy as np

from ragecho.kernel.passages import EmbeddingSpace, Usage
from ragecho.ports.embedder import Embedder, TokenCounter, Vectors
from ragecho.ports.generator import Delta, Message

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_FLOOR: Final = 1e-4  # keeps the vector of an empty text from being zero


def _words(text: str) -> list[str]:
    return [match.group().lower() for match in _TOKEN.finditer(text)]


class FakeTokenCounter:
    """Words and punctuation marks are tokens."""

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each text's tokens as (start, end) in code points."""
        return [[match.span() for match in _TOKEN.finditer(text)] for text in texts]

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of each text's tokens."""
        return [len(found) for found in self.offsets(texts)]


class FakeEmbedder:
    """Counts hashed words; texts that share words are near each other. Also the embedder of every space."""

    model = "fake"
    revision = "1"
    max_tokens = 512

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions = dimensions
        self._tokens = FakeTokenCounter()

    def of(self, space: EmbeddingSpace) -> Embedder:
        """Return itself."""
        del space
        return self

    @property
    def tokens(self) -> TokenCounter:
        """Words and punctuation marks."""
        return self._tokens

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions) float32 unit vectors in the order of `texts`."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return np.stack([self._embed(text) for text in texts])

    async def embed_query(self, text: str) -> Vectors:
        """Return a (dimensions,) float32 unit vector."""
        return self._embed(text)

    def _embed(self, text: str) -> Vectors:
        counts = np.full(self.dimensions, _FLOOR, dtype=np.float32)
        for word in _words(text)[: self.max_tokens]:
            counts[zlib.crc32(word.encode()) % self.dimensions] += 1
        unit: Vectors = counts / np.linalg.norm(counts)
        return unit


class FakeReranker:
    """Scores by the share of the question's words that the passage holds."""

    model = "fake"

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return a number from 0 to 1 per text, in order."""
        asked = {word for word in _words(question) if word.isalnum()}
        return [len(asked & set(_words(text))) / max(len(asked), 1) for text in texts]


class FakeGenerator:
    """Says `text`, word by word, and keeps the prompts it was given in `prompts`."""

    def __init__(self, text: str = "I do not know.", *, name: str = "fake:generator") -> None:
        self.text = text
        self.prompts: list[tuple[Message, ...]] = []
        self._name = name

    @property
    def name(self) -> str:
        """provider:model."""
        return self._name

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncIterator[Delta]:
        """Yield the text, at most `max_tokens` words of it, then the usage."""
        self.prompts.append(tuple(messages))
        pieces = re.findall(r"\s*\S+", self.text)[:max_tokens]
        for piece in pieces:
            yield Delta(piece)
        asked = sum(len(_words(message.content)) for message in messages)
        yield Delta("", usage=Usage(input_tokens=asked, output_tokens=len(pieces)), model=self._name)
