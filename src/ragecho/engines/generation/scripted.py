"""The fake: a generator that says what a test wrote down."""

from collections.abc import AsyncIterator, Sequence

from ragecho.kernel.errors import EchoError
from ragecho.kernel.passages import Usage
from ragecho.ports.generator import Delta, Message


class ScriptedGenerator:
    """Yields `pieces` to every prompt, then raises `error` if there is one. `prompts` keeps what it was asked."""

    def __init__(self, name: str, pieces: Sequence[str], *, error: EchoError | None = None) -> None:
        self._name = name
        self._pieces = tuple(pieces)
        self.error = error
        self.prompts: list[tuple[Message, ...]] = []

    @property
    def name(self) -> str:
        """provider:model."""
        return self._name

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncIterator[Delta]:
        """Yield the script, at most `max_tokens` pieces of it; a piece counts as one token."""
        del temperature
        self.prompts.append(tuple(messages))
        pieces = self._pieces[:max_tokens]
        for piece in pieces:
            yield Delta(piece)
        if self.error is not None:
            raise self.error
        words = sum(len(message.content.split()) for message in messages)
        yield Delta("", usage=Usage(words, len(pieces)), model=self._name)
