"""Port: a prompt to text, from any provider."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ragecho.kernel.passages import Usage


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a generated text; the last one of a stream carries `usage` and the `model` that really answered."""

    text: str
    usage: Usage | None = None
    model: str | None = None


class Generator(Protocol):
    """Generates text. Raises `GenerationFailed` when it cannot, before or during the stream."""

    @property
    def name(self) -> str:
        """provider:model, e.g. 'openai:gpt-5-mini'."""
        ...

    def stream(self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0) -> AsyncIterator[Delta]:
        """Yield the answer as it is made."""
        ...
