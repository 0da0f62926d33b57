"""Question and passages to the messages of a generator."""

import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from ragecho.ask.windows import context_of
from ragecho.kernel.passages import Passage
from ragecho.ports.generator import Message

PROMPT_VERSION = "answer.v1"
REFUSAL_TOKEN = "NO_EVIDENCE"  # noqa: S105 - a word that the model is told to say, no credential
_FENCE_BYTES = 6
_EARLIER = 3
_EARLIER_CHARACTERS = 500
_TAGS = re.compile(r"</?\s*passages?\b[^>]*>", re.IGNORECASE)

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent, and the passages in it: number `n` in the text is `passages[n - 1]`."""

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    version: str = PROMPT_VERSION


def build_prompt(
    question: str,
    passages: Sequence[Passage],
    *,
    count_tokens: CountTokens,
    max_context_tokens: int,
    earlier: Sequence[str] = (),
    fence: str | None = None,
) -> Prompt:
    """Return the prompt with as many passages as the budget holds, best first; the first one is always in, cut if needed.

    Passages stand between tags whose name ends in a random `fence`, so that no document can close them; anything in a
    passage that looks like such a tag is defused (SECURITY 19). `earlier` are questions that the same person asked before,
    for what "it" means; what a model made of them, or answered, is not theirs and stays out.
    """
    fence = fence or secrets.token_hex(_FENCE_BYTES)
    kept: list[Passage] = []
    blocks: list[str] = []
    left = max_context_tokens
    for passage in passages:
        block = _block(len(kept) + 1, passage, fence)
        tokens = count_tokens(block)
        if tokens > left:
            if kept:
                continue
            block = _cut(block, max_context_tokens / tokens, fence)
            tokens = left
        kept.append(passage)
        blocks.append(block)
        left -= tokens
    system = _template(PROMPT_VERSION).format(refusal_token=REFUSAL_TOKEN, fence=fence)
    body = "\n".join(blocks)
    before = json.dumps([text[:_EARLIER_CHARACTERS] for text in earlier[-_EARLIER:]], ensure_ascii=False)
    said = f"Asked before, in the same conversation: {before}\n\n" if earlier else ""
    user = f"<passages-{fence}>\n{body}\n</passages-{fence}>\n\n{said}Question: {question}"
    version = f"{PROMPT_VERSION}+earlier" if earlier else PROMPT_VERSION
    return Prompt((Message("system", system), Message("user", user)), tuple(kept), version)


def _block(number: int, passage: Passage, fence: str) -> str:
    heading = _defuse(context_of(passage) or passage.filename).replace("\n", " ")
    return f"<passage-{fence}>[{number}] {heading}\n{_defuse(passage.text)}\n</passage-{fence}>"


def _cut(block: str, share: float, fence: str) -> str:
    return f"{block[: int(len(block) * share)].rstrip()}\n</passage-{fence}>"


def _defuse(text: str) -> str:
    return _TAGS.sub(lambda match: match[0].replace("<", "‹").replace(">", "›"), text)


@lru_cache
def _template(version: str) -> str:
    return (files("ragecho.ask") / "prompts" / f"{version}.md").read_text(encoding="utf-8")
