"""One suite through the product: load the corpus, ask every question, measure. Steps are the system's; numbers are ours."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ragecho.evals.metrics import (
    DEPTH,
    RANKING,
    REFUSAL,
    SEALED,
    Estimate,
    PerQuestion,
    Refusals,
    estimate,
    ranking_scores,
    refusal_counts,
    refusal_scores,
)
from ragecho.evals.suites import Suite, SuiteDocument

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a corpus. `failed` holds (document id, reason)."""

    documents: int
    chunks: int
    failed: tuple[tuple[str, str], ...]
    seconds: float


class System(Protocol):
    """The product as an evaluation sees it. Document ids are the suite's own."""

    async def load(self, documents: Sequence[SuiteDocument], on_progress: Progress) -> Loaded:
        """Take all documents through the product's own ingestion and return when each has ended."""
        ...

    async def rank(self, question: str, *, depth: int, reader: str) -> list[str]:
        """Return up to `depth` documents, best first, each once: a document ranks where its best chunk does."""
        ...

    async def refuses(self, question: str) -> bool:
        """Return whether the product refuses to answer the question from its documents."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """What one suite gave. `scores[measure][question]` are what `estimates` average."""

    suite: str
    loaded: Loaded
    scores: PerQuestion
    estimates: dict[str, Estimate]
    refusals: Refusals | None
    question_ms: dict[str, float] = field(default_factory=dict)


async def evaluate(system: System, suite: Suite, *, limit: int | None, on_progress: Progress) -> Result:
    """Measure `suite`, the corpus always whole; `limit` asks only the first so many questions of each kind."""
    loaded = await system.load(suite.documents, on_progress)
    ranked: dict[str, list[str]] = {}
    took: list[float] = []
    questions = suite.judged[:limit]
    for number, question in enumerate(questions, start=1):
        started = time.perf_counter()
        ranked[question.id] = await system.rank(question.text, depth=DEPTH, reader=question.reader)
        took.append((time.perf_counter() - started) * 1e3)
        on_progress("searching", number, len(questions))
    scores = ranking_scores({question.id: suite.relevant[question.id] for question in questions}, ranked)
    if suite.has_permissions:
        scores[SEALED] = await _sealed(system, suite, ranked, limit=limit)
    refusals = await _refusals(system, suite, scores, limit=limit, on_progress=on_progress)
    return Result(
        suite=suite.name,
        loaded=loaded,
        scores=scores,
        estimates={
            name: estimate([*scores[name].values()]) for name in (*RANKING, REFUSAL, SEALED) if scores.get(name)
        },
        refusals=refusals,
        question_ms=_spread(took),
    )


async def _sealed(system: System, suite: Suite, ranked: dict[str, list[str]], *, limit: int | None) -> dict[str, float]:
    """Return 1.0 for each question whose asker saw nothing hidden; questions without a relevant document are asked, too."""
    sealed: dict[str, float] = {}
    for question in suite.questions[:limit]:
        found = ranked.get(question.id)
        if found is None:
            found = await system.rank(question.text, depth=DEPTH, reader=question.reader)
        sealed[question.id] = float(suite.hidden_from(question.reader).isdisjoint(found))
    return sealed


async def _refusals(
    system: System, suite: Suite, scores: PerQuestion, *, limit: int | None, on_progress: Progress
) -> Refusals | None:
    """Ask the questions that say whether they can be answered; add their scores to `scores`."""
    if not suite.has_unanswerable:
        return None
    yes = [question for question in suite.questions if question.is_answerable is True][:limit]
    no = [question for question in suite.questions if question.is_answerable is False][:limit]
    refused: dict[str, bool] = {}
    for number, question in enumerate(yes + no, start=1):
        refused[question.id] = await system.refuses(question.text)
        on_progress("answering", number, len(yes) + len(no))
    answerable = {question.id: bool(question.is_answerable) for question in yes + no}
    scores[REFUSAL] = refusal_scores(answerable, refused)
    return refusal_counts(answerable, refused)


def _spread(milliseconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {
        "p50": round(ordered[len(ordered) // 2], 1),
        "p95": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], 1),
    }
