"""Question to queries: one step with typed input and output, over the port `Generator`.

Each way asks the model once and all of them at the same time; what a model says is used as text to search for and for
nothing else. Where a model fails, is too slow or gives nothing usable, the question itself is searched, as without it.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from ragecho.kernel.errors import EchoError, GenerationFailed
from ragecho.ports.generator import Generator, Message

PROMPT = "rewrite.v1.json"
MAX_QUERIES = 4
MAX_CHARACTERS = 1_000
MAX_TURNS = 6
_MAX_TOKENS = 300


class Way(StrEnum):
    """How a question may be worded anew."""

    HISTORY = "history"
    DECOMPOSE = "decompose"
    HYDE = "hyde"
    TRANSLATE = "translate"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the turns before it, oldest first (role, text), and the documents' languages for translation."""

    question: str
    history: tuple[tuple[str, str], ...] = ()
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """One text to search for. `embed_as_passage`: it is an answer that was made up (HyDE; Gao et al. 2022)."""

    text: str
    way: Way | None = None
    embed_as_passage: bool = False


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What is searched, the question itself first; `question` is what stands alone without the history."""

    question: str
    queries: tuple[Query, ...]
    failed: tuple[Way, ...] = ()


class QueryRewriter:
    """Words questions anew by the ways it was made with. `timeout_seconds` bounds all of them together."""

    def __init__(self, generator: Generator, ways: Sequence[Way], *, timeout_seconds: float = 5.0) -> None:
        self._generator = generator
        self._ways = tuple(dict.fromkeys(ways))
        self._timeout_seconds = timeout_seconds
        self._prompts: dict[str, str] = json.loads(
            (files("ragecho.library.query") / "prompts" / PROMPT).read_text(encoding="utf-8")
        )

    async def rewrite(self, asked: Asked) -> Rewritten:
        """Return the queries, at most `MAX_QUERIES` besides the question. Never raises for a model's failure."""
        failed: list[Way] = []
        question = asked.question
        if Way.HISTORY in self._ways and asked.history:
            alone = await self._say(Way.HISTORY, asked, question)
            question, failed = (alone[0], failed) if alone else (question, [Way.HISTORY])
        others = [way for way in self._ways if way is not Way.HISTORY and (way is not Way.TRANSLATE or asked.languages)]
        said = await asyncio.gather(*(self._say(way, asked, question) for way in others))
        queries = [Query(question)]
        for way, texts in zip(others, said, strict=True):
            failed += [] if texts is not None else [way]
            queries += [Query(text, way, way is Way.HYDE) for text in texts or () if text != question]
        return Rewritten(question, tuple(dict.fromkeys(queries))[: MAX_QUERIES + 1], tuple(failed))

    async def _say(self, way: Way, asked: Asked, question: str) -> list[str] | None:
        """Return the model's texts, None when it gave none that can be used."""
        about: dict[str, object] = {"question": question}
        if way is Way.HISTORY:
            about["history"] = [
                {"role": role, "text": text[:MAX_CHARACTERS]} for role, text in asked.history[-MAX_TURNS:]
            ]
        if way is Way.TRANSLATE:
            about["languages"] = list(asked.languages)
        messages = [Message("system", self._prompts[way]), Message("user", json.dumps(about, ensure_ascii=False))]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                pieces = [delta.text async for delta in self._generator.stream(messages, max_tokens=_MAX_TOKENS)]
            return _texts("".join(pieces))
        except (EchoError, TimeoutError):
            return None


def _texts(answer: str) -> list[str]:
    """Return the strings of the first JSON list in the answer. Raises `GenerationFailed` when there is none."""
    start = answer.find("[")
    if start >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(answer[start:])
        except ValueError:
            value = None
        if isinstance(value, list):
            texts = [
                " ".join(text.split())[:MAX_CHARACTERS] for text in value if isinstance(text, str) and text.strip()
            ]
            if texts:
                return texts[:MAX_QUERIES]
    raise GenerationFailed("The model gave no list of texts.")
