"""Question to queries: one step with typed input and output, over the port `Generator`.

Each way asks the model once, all but the first at the same time. What a model says is used as text to search for and for
nothing else: it reaches neither a prompt nor an answer. Where a model fails, is too slow or gives nothing usable, the
question itself is searched, as without it.
"""

import asyncio
import json
import unicodedata
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain, zip_longest
from typing import Any, Final, cast

from ragecho.kernel.errors import ConfigurationError, EchoError, GenerationFailed
from ragecho.kernel.passages import Usage
from ragecho.library.query.queries import Query, Way
from ragecho.platform.telemetry import get_logger
from ragecho.ports.generator import Generator, Message

log = get_logger(__name__)

PROMPT: Final = "rewrite.v1.json"
MAX_QUERIES: Final = 4
MAX_CHARACTERS: Final = 1_000
MAX_TURNS: Final = 6
_MAX_TOKENS: Final = 300
# What a server may say that ignores `max_tokens`; the rest is not waited for.
_MAX_ANSWER: Final = 8_000
# A list may come after other brackets, a model's thoughts for example.
_MAX_STARTS: Final = 20
_UNSPEAKABLE: Final = frozenset({"Cc", "Cs"})
# One text for what must stand alone, and for what an answer might say.
_ONE: Final = frozenset({Way.HISTORY, Way.HYDE})


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the turns before it, oldest first (role, text)."""

    question: str
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What is searched, the question itself first; `question` is what stands alone without the history.

    `failed` are the ways that gave nothing; `usage` is what the model took.
    """

    question: str
    queries: tuple[Query, ...]
    failed: tuple[Way, ...] = ()
    usage: Usage = field(default_factory=Usage)

    @classmethod
    def unchanged(cls, question: str) -> "Rewritten":
        """Return the question as it is."""
        return cls(question, (Query(question),))


class QueryRewriter:
    """Words questions anew by the ways it was made with. `timeout_seconds` bounds all of them together.

    `languages` (ISO 639-1) are what `translate` translates to: those of the documents. Raises `ConfigurationError` without.
    """

    def __init__(
        self,
        generator: Generator,
        ways: Sequence[Way],
        *,
        languages: Sequence[str] = (),
        timeout_seconds: float = 5.0,
    ) -> None:
        if Way.TRANSLATE in ways and not languages:
            raise ConfigurationError("RAGECHO_QUERY_REWRITER=translate needs RAGECHO_QUERY_REWRITER_LANGUAGES.")
        self._generator = generator
        self._ways = tuple(dict.fromkeys(ways))
        self._languages = tuple(languages)
        self._timeout_seconds = timeout_seconds
        self._prompts: dict[str, str] = json.loads(
            (files("ragecho.library.query") / "prompts" / PROMPT).read_text(encoding="utf-8")
        )

    @property
    def name(self) -> str:
        """Everything that the queries depend on besides what was asked."""
        languages = f"({','.join(self._languages)})" if Way.TRANSLATE in self._ways else ""
        return f"{','.join(self._ways)}{languages}@{self._generator.name}#{PROMPT.removesuffix('.json')}"

    async def rewrite(self, asked: Asked) -> Rewritten:
        """Return the queries, at most `MAX_QUERIES` besides the question. Never raises for a model's failure."""
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        first = Query(asked.question)
        failed: list[Way] = []
        usages: list[Usage] = []
        if Way.HISTORY in self._ways and asked.history:
            alone = await self._say(Way.HISTORY, asked, asked.question, until, usages)
            if alone is None:
                failed.append(Way.HISTORY)
            elif alone[0] != asked.question:
                first = Query(alone[0], Way.HISTORY)
        others = [way for way in self._ways if way is not Way.HISTORY]
        said = await asyncio.gather(*(self._say(way, asked, first.text, until, usages) for way in others))
        failed += [way for way, texts in zip(others, said, strict=True) if texts is None]
        if failed:
            log.warning("query.rewrite_failed", ways=[str(way) for way in failed], model=self._generator.name)
        found = [
            [Query(text, way, way is Way.HYDE) for text in texts or () if text.casefold() != first.text.casefold()]
            for way, texts in zip(others, said, strict=True)
        ]
        # In turn: one way that has much to say leaves room for the others.
        in_turn = (query for query in chain.from_iterable(zip_longest(*found)) if query is not None)
        queries = tuple(dict.fromkeys([first, *in_turn]))[: MAX_QUERIES + 1]
        return Rewritten(first.text, queries, tuple(failed), _sum(usages))

    async def _say(self, way: Way, asked: Asked, question: str, until: float, usages: list[Usage]) -> list[str] | None:
        """Return the model's texts, None when it gave none that can be used."""
        about: dict[str, object] = {"question": question}
        if way is Way.HISTORY:
            about["history"] = [
                {"role": role, "text": text[:MAX_CHARACTERS]} for role, text in asked.history[-MAX_TURNS:]
            ]
        if way is Way.TRANSLATE:
            about["languages"] = list(self._languages)
        messages = [Message("system", self._prompts[way]), Message("user", json.dumps(about, ensure_ascii=False))]
        try:
            async with asyncio.timeout_at(until):
                texts = _texts(await self._answer(messages, usages))
        except (EchoError, TimeoutError):
            return None
        return texts[:1] if way in _ONE else texts

    async def _answer(self, messages: Sequence[Message], usages: list[Usage]) -> str:
        answer = ""
        # Every implementation is an async generator; closing it closes the provider's connection.
        stream = cast(Any, self._generator.stream(messages, max_tokens=_MAX_TOKENS))
        async with aclosing(stream):
            async for delta in stream:
                answer += delta.text
                if delta.usage is not None:
                    usages.append(delta.usage)
                if len(answer) > _MAX_ANSWER:
                    break
        return answer[:_MAX_ANSWER]


def _texts(answer: str) -> list[str]:
    """Return the strings of the first JSON list of strings in the answer. Raises `GenerationFailed` without one."""
    start = -1
    for _ in range(_MAX_STARTS):
        start = answer.find("[", start + 1)
        if start < 0:
            break
        try:
            value, _ = json.JSONDecoder().raw_decode(answer[start:])
        except (ValueError, RecursionError):
            continue
        texts = [_clean(text) for text in value if isinstance(text, str)] if isinstance(value, list) else []
        if found := [text for text in dict.fromkeys(texts) if any(char.isalnum() for char in text)]:
            return found[:MAX_QUERIES]
    raise GenerationFailed("The model gave no list of texts.")


def _clean(text: str) -> str:
    """Return what can be searched and stored: no control characters, halves of pairs, or text without end."""
    kept = (" " if unicodedata.category(char) in _UNSPEAKABLE else char for char in text[: 4 * MAX_CHARACTERS])
    return " ".join("".join(kept).split())[:MAX_CHARACTERS].rstrip()


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        sum(usage.input_tokens for usage in usages),
        sum(usage.output_tokens for usage in usages),
        sum(usage.cost_usd for usage in usages),
    )
