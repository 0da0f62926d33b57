"""The local embedder: an ONNX model behind the `Embedder` port."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, cast

import numpy as np

from ragecho.engines.models.batching import FairPool, usable_threads
from ragecho.engines.models.catalogue import ModelSpec, Pooling, Role
from ragecho.engines.models.onnx import OnnxModel, OnnxTokenCounter
from ragecho.kernel.errors import ConfigurationError
from ragecho.ports.embedder import TokenCounter, Vectors

# A question that nobody else's waits beside is embedded by a session of its own: 4.7 instead of 6.2 ms of a small model, for
# 40 MB and half as much processor time again. Where several were in work a moment ago it would take from the others.
ALONE_THREADS: Final = 2
ALONE_UP_TO_BYTES: Final = 64 << 20
CROWDED_SECONDS: Final = 0.2


class OnnxEmbedder:
    """Implements the port `Embedder`. Vectors depend on the text alone, not on what else is embedded with it.

    Passages share `threads` (0: all cores) fairly between callers; queries have threads of their own, so a question
    never waits behind an ingest. A question that is alone takes two cores. `cache_hits` and `cache_misses` count queries
    answered from and added to the cache.
    """

    def __init__(self, spec: ModelSpec, model_dir: Path, *, threads: int = 0, query_cache_entries: int = 2048) -> None:
        if spec.role is not Role.EMBEDDER:
            raise ConfigurationError(f"{spec.name} is a {spec.role}, not an embedder.")
        self._spec = spec
        self._model = OnnxModel(spec, model_dir)
        self._tokens = OnnxTokenCounter(spec, model_dir)
        self._passages = FairPool(
            self._embed_passage, size_of=len, threads=usable_threads(threads), name="embed-passages"
        )
        is_small = spec.size_bytes <= ALONE_UP_TO_BYTES and usable_threads(threads) >= ALONE_THREADS
        self._alone = OnnxModel(spec, model_dir, threads=ALONE_THREADS) if is_small else None
        self._loading_alone: asyncio.Future[None] | None = None
        self._asking = 0
        self._crowded_until = 0.0
        self._queries = ThreadPoolExecutor(usable_threads(threads), thread_name_prefix="embed-query")
        self._query_cache: OrderedDict[str, Vectors] = OrderedDict()
        self._query_cache_entries = query_cache_entries
        self.cache_hits = 0
        self.cache_misses = 0

    @property
    def model(self) -> str:
        """The catalogue name."""
        return self._spec.name

    @property
    def revision(self) -> str:
        """SHA-256 of the weights."""
        return self._spec.revision

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        return self._spec.dimensions

    @property
    def max_tokens(self) -> int:
        """Longest input, special tokens included."""
        return self._spec.max_tokens

    @property
    def tokens(self) -> TokenCounter:
        """The model's own tokenizer."""
        return self._tokens

    async def load(self) -> None:
        """Read and verify the files now rather than on first use. Raises `ConfigurationError` when they are not there."""
        await asyncio.to_thread(self._model.load)

    def close(self) -> None:
        """Let the threads end."""
        self._passages.close()
        self._queries.shutdown(wait=False)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions) float32 unit vectors in the order of `texts`."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return np.stack(await self._passages.map(texts))

    async def embed_query(self, text: str) -> Vectors:
        """Return a (dimensions,) float32 unit vector, read-only because it may be shared by the cache."""
        cached = self._query_cache.get(text)
        if cached is not None:
            self._query_cache.move_to_end(text)
            self.cache_hits += 1
            return cached
        self.cache_misses += 1
        loop = asyncio.get_running_loop()
        self._asking += 1
        try:
            whole = self._spec.query_prefix + text
            vector = await loop.run_in_executor(self._queries, self._embed, whole, self._free_model())
        finally:
            self._asking -= 1
        vector.flags.writeable = False
        self._remember(text, vector)
        return vector

    def _free_model(self) -> OnnxModel:
        """Return what runs the question that was asked just now."""
        now = time.monotonic()
        if self._asking > 1:
            self._crowded_until = now + CROWDED_SECONDS
        if self._alone is None or now < self._crowded_until:
            return self._model
        if not self._alone.is_loaded and self._model.is_loaded and self._loading_alone is None:
            self._loading_alone = asyncio.get_running_loop().run_in_executor(None, self._alone.load)
        return self._alone if self._alone.is_loaded else self._model

    def _remember(self, text: str, vector: Vectors) -> None:
        self._query_cache[text] = vector
        while len(self._query_cache) > self._query_cache_entries:
            self._query_cache.popitem(last=False)

    def _embed_passage(self, text: str) -> Vectors:
        return self._embed(self._spec.passage_prefix + text)

    def _embed(self, text: str, model: OnnxModel | None = None) -> Vectors:
        states = (model or self._model).run(self._model.encode(text))  # (tokens, dimensions); nothing is padded
        # Fewer dimensions than the model has: a Matryoshka model keeps its meaning in the first ones.
        pooled = _pool(states, self._spec.pooling)[: self._spec.dimensions]
        unit: Vectors = (pooled / np.linalg.norm(pooled)).astype(np.float32)
        return unit


def _pool(states: Vectors, pooling: Pooling) -> Vectors:
    match pooling:
        case Pooling.CLS:
            return cast("Vectors", states[0])
        case Pooling.LAST:
            return cast("Vectors", states[-1])
        case Pooling.MEAN:
            return states.mean(axis=0)
        case Pooling.NONE:
            return states
