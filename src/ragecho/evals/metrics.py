"""Numbers of a run: ranking measures by ir-measures, refusal counts, and how far each can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragecho.kernel.errors import ConfigurationError

RANKING = ("nDCG@10", "R@10", "R@100", "RR@10")
REFUSAL = "refusal"  # per question: 1 when the product refused or answered as it should have
SEALED = "sealed"  # per question: 1 when nothing was found that the asker may not read
DEPTH = 100
RESAMPLES = 10_000
SEED = 20_251_121

PerQuestion = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions with its 95 % confidence interval (percentile bootstrap over questions, seeded)."""

    value: float
    low: float
    high: float
    questions: int


@dataclass(frozen=True, slots=True)
class Refusals:
    """Precision: of what was refused, how much had to be. Recall: of what had to be refused, how much was."""

    precision: float
    recall: float
    refused: int
    unanswerable: int
    questions: int


def ranking_scores(relevant: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Sequence[str]]) -> PerQuestion:
    """Return measure → question → value for every question of `relevant`; nothing ranked for one counts as 0.

    `ranked` holds document ids, best first. Raises `ConfigurationError` where ir-measures is not installed.
    """
    try:
        import ir_measures
        from ir_measures import RR, R, nDCG
    except ImportError:
        raise ConfigurationError("Evaluation needs the extra 'eval': pip install 'ragecho[eval]'.") from None
    measures = [nDCG @ 10, R @ 10, R @ 100, RR @ 10]
    judgements = [
        ir_measures.Qrel(question, document, grade)
        for question, documents in relevant.items()
        for document, grade in documents.items()
    ]
    # Falling scores without ties: the order is the product's own and the evaluator's tie-breaking never acts.
    run = [
        ir_measures.ScoredDoc(question, document, float(DEPTH - rank))
        for question, documents in ranked.items()
        for rank, document in enumerate(documents[:DEPTH])
    ]
    scores: PerQuestion = {name: dict.fromkeys(relevant, 0.0) for name in RANKING}
    if run:
        for metric in ir_measures.iter_calc(measures, judgements, run):
            scores[str(metric.measure)][metric.query_id] = float(metric.value)
    return scores


def refusal_scores(is_answerable: Mapping[str, bool], refused: Mapping[str, bool]) -> dict[str, float]:
    """Return for each question 1.0 where refusing or answering was right, else 0.0."""
    return {question: float(refused[question] != is_answerable[question]) for question in is_answerable}


def refusal_counts(is_answerable: Mapping[str, bool], refused: Mapping[str, bool]) -> Refusals:
    """Return precision and recall of refusing; a precision of nothing refused is 1.0, as is a recall of nothing to refuse."""
    due = {question for question, answerable in is_answerable.items() if not answerable}
    done = {question for question in is_answerable if refused[question]}
    both = len(due & done)
    return Refusals(
        precision=both / len(done) if done else 1.0,
        recall=both / len(due) if due else 1.0,
        refused=len(done),
        unanswerable=len(due),
        questions=len(is_answerable),
    )


def estimate(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """Return the mean of `values` and its confidence interval; equal input gives equal output."""
    observed = np.asarray(values, dtype=np.float64)
    if not len(observed):
        raise ValueError("there is nothing to average")
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    # In slices: 10 000 resamples of a thousand questions at once would take 80 MB.
    for first in range(0, resamples, 500):
        size = min(500, resamples - first)
        means[first : first + size] = observed[generator.integers(len(observed), size=(size, len(observed)))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(float(observed.mean()), float(low), float(high), len(observed))
