"""A Matryoshka model with fewer dimensions: the first ones of each vector, made a unit vector again (Kusupati et al. 2022)."""

from collections.abc import Sequence

import numpy as np

from ragecho.ports.embedder import Embedder, TokenCounter, Vectors


class ShortenedEmbedder:
    """Implements the port `Embedder` over another one, whose weights, tokenizer and caches it shares."""

    def __init__(self, whole: Embedder, dimensions: int) -> None:
        if not 0 < dimensions <= whole.dimensions:
            raise ValueError(f"{whole.model} has {whole.dimensions} dimensions, not {dimensions}")
        self._whole = whole
        self._dimensions = dimensions

    @property
    def model(self) -> str:
        """The name of the model that is shortened."""
        return self._whole.model

    @property
    def revision(self) -> str:
        """What pins its weights."""
        return self._whole.revision

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        return self._dimensions

    @property
    def max_tokens(self) -> int:
        """Longest input."""
        return self._whole.max_tokens

    @property
    def tokens(self) -> TokenCounter:
        """The model's own tokenizer."""
        return self._whole.tokens

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions) float32 unit vectors in the order of `texts`."""
        return self._cut(await self._whole.embed_passages(texts))

    async def embed_query(self, text: str) -> Vectors:
        """Return a (dimensions,) float32 unit vector."""
        return self._cut(await self._whole.embed_query(text))

    def _cut(self, vectors: Vectors) -> Vectors:
        kept = vectors[..., : self._dimensions]
        lengths = np.linalg.norm(kept, axis=-1, keepdims=True)
        unit: Vectors = (kept / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
        return unit
