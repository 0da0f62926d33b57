"""Ordered fallback over generators, each behind its own circuit breaker."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import structlog

from ragecho.engines.generation.breaker import CircuitBreaker
from ragecho.kernel.errors import EchoError, GenerationFailed, RateLimited
from ragecho.kernel.passages import Usage
from ragecho.ports.generator import Delta, Generator, Message

log = structlog.get_logger(logger_name=__name__)

# Reasons that lie in the request: the next model may manage, but this provider is not ill.
_NOT_THE_PROVIDERS_FAULT = frozenset({"context_length", "content_filter", "refused", "empty"})


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of one generator; `outcome` is ok, abandoned, rate_limited or the failure's reason."""

    model: str
    outcome: str
    seconds: float
    usage: Usage


class FallbackGenerator:
    """Asks the first generator that is well; the next one only while nothing has been yielded.

    `on_call` is told of every call (metrics). Raises `ProviderBusy` when every one that was asked said so, else
    `GenerationFailed` with `attempts`: each name and reason.
    """

    def __init__(
        self,
        generators: Sequence[Generator],
        *,
        failures_to_open: int = 3,
        open_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        on_call: Callable[[CallRecord], None] | None = None,
    ) -> None:
        if not generators:
            raise ValueError("at least one generator")
        self._clock = clock
        self._on_call = on_call
        self._members = [
            (generator, CircuitBreaker(failures_to_open=failures_to_open, open_seconds=open_seconds, clock=clock))
            for generator in generators
        ]

    @property
    def name(self) -> str:
        """Name of the first choice; the last `Delta` of a stream says who really answered."""
        return self._members[0][0].name

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncIterator[Delta]:
        """Yield the answer of the first generator that gives one."""
        failures: list[tuple[str, EchoError]] = []
        for generator, breaker in self._members:
            if not breaker.allows():
                skipped = GenerationFailed("left alone after failures", reason="circuit_open")
                failures.append((generator.name, skipped))
                continue
            call = _Call(generator.name, breaker, self._clock, self._on_call)
            inner = generator.stream(messages, max_tokens=max_tokens, temperature=temperature)
            try:
                # Every implementation is an async generator; closing it closes the provider's connection.
                async with aclosing(cast(Any, inner)):
                    async for delta in inner:
                        call.note(delta)
                        yield delta
                call.end("ok")
            except GenerationFailed as error:
                call.end(_reason(error))
                if call.has_text:
                    raise
                failures.append((generator.name, error))
            else:
                return
            finally:
                call.end("abandoned")
        raise self._summary(failures)

    def _summary(self, failures: list[tuple[str, EchoError]]) -> EchoError:
        asked = [error for _, error in failures if error.facts.get("reason") != "circuit_open"]
        if asked and all(isinstance(error, RateLimited) for error in asked):
            return asked[0]
        attempts = [{"model": name, "reason": _reason(error)} for name, error in failures]
        waits = [breaker.opens_again_in_seconds for _, breaker in self._members]
        return GenerationFailed(
            "No configured generator produced an answer.",
            reason=attempts[-1]["reason"] if len(attempts) == 1 else "all_failed",
            attempts=attempts,
            retry_after_seconds=min(waits),
        )


class _Call:
    """Accounts for one call exactly once, however it ends."""

    def __init__(
        self,
        model: str,
        breaker: CircuitBreaker,
        clock: Callable[[], float],
        on_call: Callable[[CallRecord], None] | None,
    ) -> None:
        self._model = model
        self._breaker = breaker
        self._clock = clock
        self._on_call = on_call
        self._started = clock()
        self._usage = Usage()
        self._has_ended = False
        self.has_text = False

    def note(self, delta: Delta) -> None:
        """Take notice of a piece."""
        self.has_text = self.has_text or bool(delta.text)
        self._usage = delta.usage or self._usage

    def end(self, outcome: str) -> None:
        """Account; later calls do nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        if outcome == "ok":
            self._breaker.succeeded()
        elif outcome == "abandoned" or outcome in _NOT_THE_PROVIDERS_FAULT:
            self._breaker.told_nothing()
        else:
            self._breaker.failed()
        seconds = self._clock() - self._started
        log.info(
            "generation.called",
            model=self._model,
            outcome=outcome,
            duration_ms=round(seconds * 1000),
            input_tokens=self._usage.input_tokens,
            output_tokens=self._usage.output_tokens,
        )
        if self._on_call is not None:
            self._on_call(CallRecord(self._model, outcome, seconds, self._usage))


def _reason(error: EchoError) -> str:
    return str(error.facts.get("reason", error.code))
