"""Embedding by providers: OpenAI's interface (also vLLM, TEI, LM Studio, …), Ollama, Cohere, Voyage."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any, Final

import numpy as np

from ragecho.engines.providers.http import ProviderClient
from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.ports.embedder import TokenCounter, Vectors

# Words in pieces of six letters, marks, and single characters of scripts without spaces: a little more than the
# providers' tokenizers count, so that chunks made by it are never too long.
_PIECE: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w{1,6}|[^\w\s]"
)
_QUERY_CACHE_ENTRIES: Final = 2048


@dataclass(frozen=True, slots=True)
class ProviderModel:
    """What is known of a model: its space is made of these. `sends_dimensions`: the provider is to shorten the vectors."""

    provider: str
    model: str
    dimensions: int
    max_tokens: int
    query_prefix: str = ""
    passage_prefix: str = ""
    sends_dimensions: bool = False

    @property
    def name(self) -> str:
        """provider:model."""
        return f"{self.provider}:{self.model}"

    @property
    def revision(self) -> str:
        """What names the space; providers give no hash of their weights, so their word for the model has to do."""
        prefixes = f"/{self.query_prefix}/{self.passage_prefix}" if self.query_prefix or self.passage_prefix else ""
        return f"{self.name}@{self.dimensions}{prefixes}"


class PieceCounter:
    """Counts tokens about as providers' tokenizers do, which are not here."""

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each text's pieces as (start, end) in code points."""
        return [[match.span() for match in _PIECE.finditer(text)] for text in texts]

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of each text's pieces."""
        return [sum(1 for _ in _PIECE.finditer(text)) for text in texts]


Shape = Callable[[ProviderModel, Sequence[str], bool], tuple[str, dict[str, Any]]]
Reading = Callable[[Any], list[Any]]


def _openai(model: ProviderModel, texts: Sequence[str], is_query: bool) -> tuple[str, dict[str, Any]]:
    del is_query
    body = {"model": model.model, "input": list(texts), "encoding_format": "float"}
    return "embeddings", body | ({"dimensions": model.dimensions} if model.sends_dimensions else {})


def _ollama(model: ProviderModel, texts: Sequence[str], is_query: bool) -> tuple[str, dict[str, Any]]:
    del is_query
    return "api/embed", {"model": model.model, "input": list(texts), "truncate": True}


def _cohere(model: ProviderModel, texts: Sequence[str], is_query: bool) -> tuple[str, dict[str, Any]]:
    body = {
        "model": model.model,
        "texts": list(texts),
        "input_type": "search_query" if is_query else "search_document",
        "embedding_types": ["float"],
    }
    return "v2/embed", body | ({"output_dimension": model.dimensions} if model.sends_dimensions else {})


def _voyage(model: ProviderModel, texts: Sequence[str], is_query: bool) -> tuple[str, dict[str, Any]]:
    body = {"model": model.model, "input": list(texts), "input_type": "query" if is_query else "document"}
    return "embeddings", body | ({"output_dimension": model.dimensions} if model.sends_dimensions else {})


def _listed(answer: Any) -> list[Any]:
    return [entry["embedding"] for entry in sorted(answer["data"], key=lambda entry: entry["index"])]


_SHAPES: Final[Mapping[str, tuple[Shape, Reading]]] = {
    "openai": (_openai, _listed),
    "openai-compatible": (_openai, _listed),
    "ollama": (_ollama, lambda answer: list(answer["embeddings"])),
    "cohere": (_cohere, lambda answer: list(answer["embeddings"]["float"])),
    "voyage": (_voyage, _listed),
}
EMBEDDING_PROVIDERS: Final = tuple(_SHAPES)


class ProviderEmbedder:
    """Implements the port `Embedder` over HTTP. Passages go in batches; questions are cached."""

    def __init__(self, model: ProviderModel, client: ProviderClient, *, batch: int = 64) -> None:
        self._model = model
        self._client = client
        self._batch = batch
        self._shape, self._reading = _SHAPES[model.provider]
        self._tokens = PieceCounter()
        self._queries: OrderedDict[str, Vectors] = OrderedDict()
        self.cache_hits = 0
        self.cache_misses = 0

    @property
    def model(self) -> str:
        """provider:model."""
        return self._model.name

    @property
    def revision(self) -> str:
        """What the space is made of."""
        return self._model.revision

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        return self._model.dimensions

    @property
    def max_tokens(self) -> int:
        """Longest input."""
        return self._model.max_tokens

    @property
    def tokens(self) -> TokenCounter:
        """An estimate of the provider's tokenizer."""
        return self._tokens

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._client.aclose()

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions) float32 unit vectors in the order of `texts`. Raises what `ProviderClient.post` does."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        prefixed = [self._model.passage_prefix + text for text in texts]
        calls = [asyncio.ensure_future(self._embed(part, is_query=False)) for part in batched(prefixed, self._batch)]
        try:
            return np.vstack(await asyncio.gather(*calls))
        finally:
            for call in calls:
                call.cancel()

    async def embed_query(self, text: str) -> Vectors:
        """Return a (dimensions,) float32 unit vector, read-only because it may be shared by the cache."""
        cached = self._queries.get(text)
        if cached is not None:
            self._queries.move_to_end(text)
            self.cache_hits += 1
            return cached
        self.cache_misses += 1
        vector: Vectors = (await self._embed([self._model.query_prefix + text], is_query=True))[0]
        vector.flags.writeable = False
        self._queries[text] = vector
        while len(self._queries) > _QUERY_CACHE_ENTRIES:
            self._queries.popitem(last=False)
        return vector

    async def _embed(self, texts: Sequence[str], *, is_query: bool) -> Vectors:
        # Providers refuse empty texts and control characters; a space stands for them and has a vector, too.
        sendable = [text.replace("\0", " ") if text.strip("\0 \t\r\n") else " ." for text in texts]
        path, body = self._shape(self._model, sendable, is_query)
        answer = await self._client.post(path, body)
        try:
            vectors: Vectors = np.asarray(self._reading(answer), dtype=np.float32)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unavailable(f"{self._model.provider} answered in an unknown form.") from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():  # noqa: PLR2004 - rows and columns
            raise Unavailable(f"{self._model.provider} did not give one vector for each text.")
        if vectors.shape[1] != self.dimensions:
            raise ConfigurationError(
                f"{self.model} gives {vectors.shape[1]} dimensions, not {self.dimensions}: set RAGECHO_EMBEDDER_DIMENSIONS."
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (lengths > 0).all():
            raise Unavailable(f"{self._model.provider} gave a vector without a direction.")
        return vectors / lengths
