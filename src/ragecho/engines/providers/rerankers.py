"""Reranking by providers (Cohere, Jina, Voyage) and by any language model, which puts a list in order."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from ragecho.engines.providers.http import ProviderClient
from ragecho.kernel.errors import GenerationFailed, Unavailable
from ragecho.ports.generator import Generator, Message

_PROMPT: Final = "rank.v1.md"
_WINDOW_CHARACTERS: Final = 1_200
_MAX_TOKENS: Final = 400
_NUMBERS: Final = re.compile(r"\[[\d,\s]*\]")

Shape = Callable[[str, str, Sequence[str]], tuple[str, dict[str, Any]]]


def _cohere(model: str, question: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    return "v2/rerank", {"model": model, "query": question, "documents": list(texts), "top_n": len(texts)}


def _jina(model: str, question: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    body = {"model": model, "query": question, "documents": list(texts), "top_n": len(texts)}
    return "rerank", body | {"return_documents": False}


def _voyage(model: str, question: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    return "rerank", {"model": model, "query": question, "documents": list(texts), "truncation": True}


_SHAPES: Final[Mapping[str, tuple[Shape, str]]] = {
    "cohere": (_cohere, "results"),
    "jina": (_jina, "results"),
    "voyage": (_voyage, "data"),
}
RERANKING_PROVIDERS: Final = tuple(_SHAPES)


class ProviderReranker:
    """Implements the port `Reranker` over HTTP; all texts go in one request, as these interfaces want it."""

    def __init__(self, provider: str, model: str, client: ProviderClient) -> None:
        self._provider = provider
        self._model = model
        self._client = client
        self._shape, self._list = _SHAPES[provider]

    @property
    def model(self) -> str:
        """provider:model."""
        return f"{self._provider}:{self._model}"

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._client.aclose()

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one relevance (0 to 1) per text, in order. Raises what `ProviderClient.post` does."""
        if not texts:
            return []
        path, body = self._shape(self._model, question, [text.strip() or "." for text in texts])
        answer = await self._client.post(path, body)
        try:
            scores = {int(entry["index"]): float(entry["relevance_score"]) for entry in answer[self._list]}
            return [min(1.0, max(0.0, scores[index])) for index in range(len(texts))]
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"{self._provider} did not give one score for each text.") from error


class ListwiseReranker:
    """Implements the port `Reranker` with a language model that is asked for the order of all texts at once.

    Its scores come from the order alone (first 1, then falling evenly), so they say nothing across questions; a model
    whose scores were not calibrated does not count as evidence (ask/calibration.py). What the model leaves out stays in
    its order behind the rest, with 0.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._prompt = (files("ragecho.engines.providers") / "prompts" / _PROMPT).read_text(encoding="utf-8")

    @property
    def model(self) -> str:
        """llm:provider:model, with the prompt's version."""
        return f"llm:{self._generator.name}#{_PROMPT.removesuffix('.md')}"

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one score (0 to 1) per text, in order. Raises `GenerationFailed`."""
        if not texts:
            return []
        listed = json.dumps({str(n): text[:_WINDOW_CHARACTERS] for n, text in enumerate(texts, 1)}, ensure_ascii=False)
        asked = json.dumps(question, ensure_ascii=False)
        messages = [Message("system", self._prompt), Message("user", f"Question: {asked}\n\nPassages: {listed}")]
        pieces = [delta.text async for delta in self._generator.stream(messages, max_tokens=_MAX_TOKENS)]
        order = _order("".join(pieces), len(texts))
        scores = [0.0] * len(texts)
        for place, index in enumerate(order):
            scores[index] = 1 - place / len(texts)
        return scores


def _order(answer: str, count: int) -> list[int]:
    """Return the indexes in the answer's list, each once. Raises `GenerationFailed` when there is no usable list."""
    for found in _NUMBERS.findall(answer):
        numbers = dict.fromkeys(int(number) for number in re.findall(r"\d{1,6}", found))
        if order := [number - 1 for number in numbers if 1 <= number <= count]:
            return order
    raise GenerationFailed("The model gave no order of the passages.")
