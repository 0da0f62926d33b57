"""Reranking by providers (Cohere, Jina, Voyage), by servers of one's own, and by any language model, which puts a list in order.

Servers of one's own speak as Jina does (vLLM, llama.cpp, Infinity) or as Text Embeddings Inference.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from ragecho.engines.generation.breaker import CircuitBreaker
from ragecho.engines.providers.http import ProviderClient
from ragecho.kernel.errors import EchoError, GenerationFailed, InvalidInput, Unavailable
from ragecho.ports.generator import Generator, Message

_PROMPT: Final = "rank.v1.md"
_WINDOW_CHARACTERS: Final = 1_200
_MAX_TOKENS: Final = 400
_NUMBERS: Final = re.compile(r"\[[\d,\s]*\]")

# Who waits less than this was not kept waiting: the question was given up, the provider may be well.
_LONG_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Speech:
    """How an interface is asked and how it answers: the list's name (None when it is the whole answer) and the score's."""

    body: Callable[[str, str, Sequence[str]], tuple[str, dict[str, Any]]]
    list_name: str | None
    score_name: str = "relevance_score"
    most_texts: int = 1_000


def _cohere(model: str, question: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    return "v2/rerank", {"model": model, "query": question, "documents": list(texts), "top_n": len(texts)}


def _jina(model: str, question: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    body = {"model": model, "query": question, "documents": list(texts), "top_n": len(texts)}
    return "rerank", body | {"return_documents": False}


def _voyage(model: str, question: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    return "rerank", {"model": model, "query": question, "documents": list(texts), "truncation": True}


def _tei(_model: str, question: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    # One server has one model; longer texts than it takes are refused unless they may be cut.
    return "rerank", {"query": question, "texts": list(texts), "raw_scores": False, "truncate": True}


_SPEECHES: Final[Mapping[str, _Speech]] = {
    "cohere": _Speech(_cohere, "results"),
    "jina": _Speech(_jina, "results"),
    "voyage": _Speech(_voyage, "data"),
    "rerank-compatible": _Speech(_jina, "results"),
    # Its default for the longest batch of a client (--max-client-batch-size).
    "tei": _Speech(_tei, None, "score", most_texts=32),
}
RERANKING_PROVIDERS: Final = tuple(_SPEECHES)


class ProviderReranker:
    """Implements the port `Reranker` over HTTP; all texts go in one request where the interface takes as many.

    A provider that fails, or keeps its callers waiting until they leave, several times in a row is left alone for a while.
    """

    def __init__(
        self, provider: str, model: str, client: ProviderClient, *, breaker: CircuitBreaker | None = None
    ) -> None:
        self._provider = provider
        self._model = model
        self._client = client
        self._speech = _SPEECHES[provider]
        self._breaker = breaker or CircuitBreaker()

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
        if not self._breaker.allows():
            raise Unavailable(f"{self._provider} is left alone after failures.", provider=self._provider)
        started = time.monotonic()
        try:
            scores = await self._scores(question, [text.strip() or "." for text in texts])
        except InvalidInput:
            self._breaker.told_nothing()
            raise
        except EchoError:
            self._breaker.failed()
            raise
        except asyncio.CancelledError:
            is_slow = time.monotonic() - started >= _LONG_SECONDS
            self._breaker.failed() if is_slow else self._breaker.told_nothing()
            raise
        except BaseException:
            self._breaker.told_nothing()
            raise
        self._breaker.succeeded()
        return scores

    async def _scores(self, question: str, texts: Sequence[str]) -> list[float]:
        most = self._speech.most_texts
        parts = [texts[start : start + most] for start in range(0, len(texts), most)]
        found = await asyncio.gather(*(self._ask(question, part) for part in parts))
        return _within_one([score for scores in found for score in scores])

    async def _ask(self, question: str, texts: Sequence[str]) -> list[float]:
        speech = self._speech
        answer = await self._client.post(*speech.body(self._model, question, texts))
        try:
            entries = answer if speech.list_name is None else answer[speech.list_name]
            scores = {int(entry["index"]): float(entry[speech.score_name]) for entry in entries}
            found = [scores[index] for index in range(len(texts))]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Unavailable(f"{self._provider} did not give one score for each text.") from error
        if not all(math.isfinite(score) for score in found):
            raise Unavailable(f"{self._provider} gave scores that are no numbers.")
        return found


def _within_one(scores: list[float]) -> list[float]:
    """Return the scores as they are between 0 and 1; a server's logits by the logistic function, which keeps their order."""
    if all(0 <= score <= 1 for score in scores):
        return scores
    return [1 / (1 + math.exp(-max(-700.0, min(700.0, score)))) for score in scores]


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
