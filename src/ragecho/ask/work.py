"""One question under way."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ragecho.ask.model import EXTRACTIVE, AskRequest
from ragecho.ask.steps.judge_evidence import Evidence
from ragecho.ask.windows import ScoredWindow
from ragecho.ask.writer import AnswerWriter, Emit
from ragecho.kernel.caller import Caller
from ragecho.kernel.passages import EmbeddingSpace, Passage, Usage
from ragecho.library.query.rewrite import Rewritten
from ragecho.platform.telemetry import span


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a question that asks for several things, and the evidence for it, which points into `passages`."""

    question: str
    evidence: Evidence
    passages: Sequence[Passage]


@dataclass(slots=True)
class Work:
    """One question under way: what is known so far. Lives in one task.

    `asked` is what the question was understood as: for looking and judging, never for a prompt. `is_momentary`: rights
    changed on the way, so that the next one to ask may be answered differently.
    """

    caller: Caller
    request: AskRequest
    question: str
    emit: Emit
    asked: Rewritten
    timings_ms: dict[str, float] = field(default_factory=dict)
    passages: list[Passage] = field(default_factory=list)
    space: EmbeddingSpace | None = None
    windows: list[ScoredWindow] = field(default_factory=list)
    evidence: Evidence | None = None
    parts: list[Part] = field(default_factory=list)
    writer: AnswerWriter | None = None
    model: str = EXTRACTIVE
    prompt_version: str = EXTRACTIVE
    usage: Usage = field(default_factory=Usage)
    warnings: list[str] = field(default_factory=list)
    refusal: str | None = None
    is_momentary: bool = False

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block under `name` and put it in a span of its own."""
        started = time.perf_counter()
        try:
            with span(f"ask.{name}"):
                yield
        finally:
            spent = (time.perf_counter() - started) * 1e3
            self.timings_ms[name] = round(self.timings_ms.get(name, 0.0) + spent, 3)

    def add(self, usage: Usage | None) -> None:
        """Count what a model call cost; several calls add up."""
        if usage is None:
            return
        self.usage = Usage(
            self.usage.input_tokens + usage.input_tokens,
            self.usage.output_tokens + usage.output_tokens,
            self.usage.cost_usd + usage.cost_usd,
        )
