"""Port: text to vectors."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragecho.kernel.passages import EmbeddingSpace

Vectors = NDArray[np.float32]


class TokenCounter(Protocol):
    """The embedder's own tokenizer, as the chunker needs it. Pure CPU work without I/O."""

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return for each text its tokens' (start, end) in code points, special tokens left out, nothing truncated."""
        ...

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens `offsets` has for each text, for less work."""
        ...


class Embedder(Protocol):
    """Turns text into unit vectors. Safe for concurrent use from one event loop."""

    @property
    def model(self) -> str:
        """The catalogue name, e.g. 'bge-small-en-v1.5'."""
        ...

    @property
    def revision(self) -> str:
        """What pins the weights: their SHA-256, or the provider's model version."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest input, special tokens included; longer texts are cut by the model."""
        ...

    @property
    def tokens(self) -> TokenCounter:
        """The model's own tokenizer."""
        ...

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions) float32, L2-normalised, in the order of `texts`."""
        ...

    async def embed_query(self, text: str) -> Vectors:
        """Return (dimensions,) float32, L2-normalised; the model's query prefix is added here."""
        ...


class Embedders(Protocol):
    """Every embedder that this installation has, by the space whose vectors it makes."""

    def of(self, space: EmbeddingSpace) -> Embedder:
        """Return the embedder of a space; weights are loaded at first use. Raises `Unavailable` that names the fix."""
        ...
