"""Order passages by a reranker's judgement, within a budget of time.

A cascade: the search's best passages are read first, a few at a time, each by the part of it that holds most of the
question's words. It ends when the budget is spent or when nothing unread could still come among the first ten. A local
cross-encoder's judgement is added to the fused score, because it alone orders worse than the search (SciFact, 261
questions, first ten: nDCG@10 .711 by the cross-encoder alone, .739 as found, .745 added; docs/how-to/evaluate.md). A
provider's or a language model's judgement orders alone.

The budget holds by construction, however busy the machine is: waiting ends when it is spent, and what would end later
than that, going by the step before, is not begun. What a thread has begun it ends for nobody; that is a pair or two.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ragecho.kernel.errors import EchoError
from ragecho.kernel.passages import Passage
from ragecho.library import analysis
from ragecho.library.search import Found
from ragecho.library.settings import SearchSettings
from ragecho.platform.telemetry import get_logger, span
from ragecho.ports.reranker import Reranker

log = get_logger(__name__)

# Beyond this the order is not looked at: who asks for ten wants the first ten right.
_SETTLED_DEPTH = 10
_WINDOW_CHARACTERS = 900
_STEP_CHARACTERS = 300
# A probability of 1 - e^-10 says no more than one of 1 - e^-5.
_LOGIT_LIMIT = 10.0
_MARGIN_MS = 12.0

FAILED = "rerank_failed"
TOO_LATE = "rerank_timeout"


@dataclass(frozen=True, slots=True)
class RerankPolicy:
    """`depth` passages at most, `at_once` in one call; `weight` of a judgement's logit, None when it orders alone."""

    budget_ms: float
    depth: int
    at_once: int
    weight: float | None


@dataclass(frozen=True, slots=True)
class Reranked:
    """Passages in their new order, and the search's timings with `rerank` added.

    `judged` is how many the reranker read. `warning` says why it read none: `rerank_failed` or `rerank_timeout`.
    """

    passages: list[Passage]
    timings_ms: dict[str, float]
    judged: int
    warning: str | None = None


def policy_for(reranker: Reranker, settings: SearchSettings | None = None) -> RerankPolicy:
    """Return how the reranker is used: `provider:model` is asked once for all, a local model in a cascade."""
    found = settings or SearchSettings()
    if is_remote(reranker):
        # A language model reads all in one prompt: more would be slow, and lost in the middle of it.
        depth = 20 if reranker.model.startswith("llm:") else 50
        return RerankPolicy(found.rerank_remote_budget_ms, depth=depth, at_once=depth, weight=None)
    return RerankPolicy(found.rerank_budget_ms, depth=20, at_once=2, weight=0.02)


def is_remote(reranker: Reranker) -> bool:
    """Return whether a provider or a language model judges: it puts passages in order, and knows no probabilities."""
    return ":" in reranker.model


async def rerank(
    reranker: Reranker,
    question: str,
    found: Found,
    policy: RerankPolicy | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Reranked:
    """Return the passages in their new order.

    What was not read keeps its order behind what was: it counts as judged like the worst of those. A reranker that fails,
    or is not there for now, changes nothing but the `warning`.
    """
    policy = policy or policy_for(reranker)
    started = clock()
    warning = None
    # The budget is the whole search's; ending what is being read takes some milliseconds, too.
    left_ms = max(0.0, policy.budget_ms - found.timings_ms["total"] - _MARGIN_MS)
    scores: dict[int, float] = {}
    with span("search.rerank", passages=min(policy.depth, len(found.passages))):
        try:
            async with asyncio.timeout(left_ms / 1e3):
                reading = _Reading(reranker, question, policy, clock, until=started + left_ms / 1e3)
                await reading.read(found.passages[: policy.depth], scores)
        except TimeoutError:
            log.info("search.rerank_budget_spent", read=len(scores))
            warning = None if scores else TOO_LATE
        except EchoError as error:
            # A key that was refused is as little reason to find nothing as a provider that is away.
            log.warning("search.rerank_failed", model=reranker.model, code=error.code)
            scores.clear()
            warning = FAILED
    worst = min(scores.values(), default=None)
    judged = [_judged(passage, scores.get(place), worst, policy) for place, passage in enumerate(found.passages)]
    order = sorted(range(len(judged)), key=lambda place: (-judged[place].score, place not in scores, place))
    spent = (clock() - started) * 1e3
    timings = {**found.timings_ms, "rerank": round(spent, 3), "total": round(found.timings_ms["total"] + spent, 3)}
    return Reranked([judged[i] for i in order], timings, len(scores), warning)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One question's passages being read, until the clock says `until`."""

    reranker: Reranker
    question: str
    policy: RerankPolicy
    clock: Callable[[], float]
    until: float

    async def read(self, passages: list[Passage], scores: dict[int, float]) -> None:
        """Fill `scores` from the first passage on, until the order is settled. Raises `TimeoutError`."""
        wanted = set(analysis.query_terms_of(self.question))
        step_seconds = 0.0
        while (done := len(scores)) < len(passages) and not _is_settled(passages, scores, self.policy):
            begun = self.clock()
            if begun + step_seconds >= self.until:
                raise TimeoutError
            batch = passages[done : done + self.policy.at_once]
            texts = [_window(wanted, passage.text) for passage in batch]
            scores.update(enumerate(await self.reranker.score(self.question, texts), start=done))
            step_seconds = self.clock() - begun


def _is_settled(passages: list[Passage], scores: dict[int, float], policy: RerankPolicy) -> bool:
    """Return whether nothing unread could come among the first ten, however well it were judged."""
    if policy.weight is None or len(scores) < _SETTLED_DEPTH:
        return False
    best = sorted((_judged(passages[i], score, score, policy).score for i, score in scores.items()), reverse=True)
    # Passages come by falling score, so the first unread one is the one with the best prospects.
    return passages[len(scores)].score + policy.weight * _LOGIT_LIMIT <= best[_SETTLED_DEPTH - 1]


def _judged(passage: Passage, score: float | None, worst: float | None, policy: RerankPolicy) -> Passage:
    """Return the passage with its new score: of its own judgement, or of the worst one; as it was if there is none."""
    counted = score if score is not None else worst
    if counted is None:
        return passage
    if policy.weight is None:
        new = counted if score is not None else 0.0
    else:
        new = passage.score + policy.weight * _logit(counted)
    return replace(passage, score=new, scores=passage.scores if score is None else {**passage.scores, "rerank": score})


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-9), 1 - 1e-9)
    return max(-_LOGIT_LIMIT, min(_LOGIT_LIMIT, math.log(clipped / (1 - clipped))))


def _window(wanted: set[str], text: str) -> str:
    """Return the part of `text` with most of the wanted terms; a cross-encoder's time grows with what it reads."""
    if len(text) <= _WINDOW_CHARACTERS + _STEP_CHARACTERS:
        return text
    starts = [0, *range(_STEP_CHARACTERS, len(text) - _WINDOW_CHARACTERS + _STEP_CHARACTERS, _STEP_CHARACTERS)]
    windows = [text[start : start + _WINDOW_CHARACTERS] for start in starts]
    return max(windows, key=lambda window: len(wanted.intersection(analysis.terms_of(window))))
