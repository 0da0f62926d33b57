"""The local cross-encoder: an ONNX model behind the `Reranker` port."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ragecho.engines.models.batching import FairPool, usable_threads
from ragecho.engines.models.catalogue import ModelSpec, Role
from ragecho.engines.models.onnx import CHARACTERS_PER_TOKEN, OnnxModel, OnnxTokenCounter
from ragecho.kernel.errors import ConfigurationError

_QUESTION_TOKENS: Final = 256
# A character is at most three tokens (a Hangul syllable taken apart), so a question this short needs no counting.
_SURELY_SHORT_CHARACTERS: Final = 80


class OnnxReranker:
    """Implements the port `Reranker`. A score depends on its pair alone, not on the other candidates.

    Where question and passage are too long together, the passage is cut; a question is cut at 256 tokens.
    """

    def __init__(self, spec: ModelSpec, model_dir: Path, *, threads: int = 0) -> None:
        if spec.role is not Role.RERANKER:
            raise ConfigurationError(f"{spec.name} is no reranker but an {spec.role}.")
        self._spec = spec
        self._model = OnnxModel(spec, model_dir)
        self._tokens = OnnxTokenCounter(spec, model_dir)
        self._pairs = FairPool(self._score_pair, size_of=_pair_size, threads=usable_threads(threads), name="rerank")

    @property
    def model(self) -> str:
        """The catalogue name."""
        return self._spec.name

    @property
    def revision(self) -> str:
        """SHA-256 of the weights."""
        return self._spec.revision

    async def load(self) -> None:
        """Read and verify the files now rather than on first use. Raises `ConfigurationError` when they are not there."""
        await asyncio.to_thread(self._model.load)

    def close(self) -> None:
        """Let the threads end."""
        self._pairs.close()

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return the probability (0 to 1) that each text answers the question, in order."""
        if texts and len(question) > _SURELY_SHORT_CHARACTERS:
            question = await asyncio.to_thread(self._cut, question)
        return await self._pairs.map([(question, text) for text in texts])

    def _cut(self, question: str) -> str:
        (offsets,) = self._tokens.offsets([question[: _QUESTION_TOKENS * CHARACTERS_PER_TOKEN]])
        return question if len(offsets) <= _QUESTION_TOKENS else question[: offsets[_QUESTION_TOKENS - 1][1]]

    def _score_pair(self, pair: tuple[str, str]) -> float:
        question, text = pair
        logits = self._model.run(self._model.encode(question, text))
        return 1 / (1 + math.exp(-float(logits[0])))


def _pair_size(pair: tuple[str, str]) -> int:
    return len(pair[0]) + len(pair[1])
