"""Do the passages hold evidence for the question? Asked before anything is answered.

The cross-encoder reads the best windows of the first passages; its best score, the embedder's cosine and the share of
the question's words that the best window holds are combined by a logistic model fitted in
`benchmarks/answer_quality.py`. The result is a probability: 0.7 means that about seven in ten such questions had an answer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragecho.ask.calibration import Signals, calibration_for
from ragecho.ask.identifiers import identifiers_of, mentions
from ragecho.ask.windows import ScoredWindow, best_windows, context_of, coverage, read_with_context, term_weights
from ragecho.kernel.passages import Passage
from ragecho.ports.reranker import Reranker

# How many windows of the 1st, 2nd, … passage are read: 13 short windows cost about a fifth of a second of two cores.
QUOTAS = (4, 3, 2, 2, 1, 1)
_FOREIGN_LETTERS = re.compile(r"[^\W\d_a-zA-Z]")
_FOREIGN_WORDS = frozenset(
    [
        "der",
        "die",
        "das",
        "und",
        "ist",
        "wie",
        "wer",
        "wann",
        "welche",
        "welcher",
        "welches",
        "ein",
        "eine",
        "für",
        "mit",
        "el",
        "los",
        "las",
        "que",
        "qué",
        "cuál",
        "cuándo",
        "dónde",
        "quién",
        "cómo",
        "del",
        "por",
        "para",
        "una",
        "le",
        "les",
        "des",
        "est",
        "qui",
        "quel",
        "quelle",
        "quand",
        "où",
        "comment",
        "pour",
        "dans",
        "il",
        "gli",
        "che",
        "di",
        "cosa",
        "quando",
        "dove",
        "chi",
        "quem",
        "qual",
        "onde",
        "não",
        "het",
        "een",
        "wat",
        "wie",
        "waar",
    ]
)
_MANY_FOREIGN = 0.25


@dataclass(frozen=True, slots=True)
class Evidence:
    """The judgement. `windows` are those read, best first (by a cross-encoder when `is_reread`).

    `reason` is a stable word when evidence is missing.
    """

    confidence: float
    is_sufficient: bool
    is_worth_asking: bool
    reason: str | None
    windows: tuple[ScoredWindow, ...]
    is_reread: bool = False


async def judge_evidence(
    question: str,
    passages: Sequence[Passage],
    *,
    reranker: Reranker | None,
    embedder_model: str | None,
    min_confidence: float | None = None,
) -> Evidence:
    """Return whether the passages (best first) answer the question.

    `is_sufficient` allows quoting; `is_worth_asking` is the lower bar for a generator, which can still decline.
    `min_confidence` replaces the measured threshold. Where the question names a part number or code, passages that do
    not mention it are no evidence.
    """
    if not passages:
        return Evidence(0.0, is_sufficient=False, is_worth_asking=False, reason="no_passages", windows=())
    identifiers = identifiers_of(question)
    named = [index for index, passage in enumerate(passages) if mentions(passage, identifiers)]
    if identifiers and not named:
        return Evidence(0.0, is_sufficient=False, is_worth_asking=False, reason="no_evidence", windows=())
    weights = term_weights(question, passages)
    windows = best_windows(weights, passages, quotas=QUOTAS)
    if identifiers:
        windows = [window for window in windows if window.passage in named] or windows
    reader = reranker if reranker is not None and not reads_foreign(question) else None
    if reader is None:
        scored = [ScoredWindow(window, window.coverage) for window in windows]
    else:
        texts = [read_with_context(passages[w.passage], w.start, w.end) for w in windows]
        scores = await reader.score(question, texts)
        scored = [ScoredWindow(window, score) for window, score in zip(windows, scores, strict=True)]
    scored.sort(key=lambda s: (-s.score, s.window.passage, s.window.start))
    signals = signals_of(scored, passages, weights, is_reread=reader is not None)
    has_cosine = signals.cosine is not None
    calibration = calibration_for(embedder_model if has_cosine else None, reader.model if reader is not None else None)
    confidence = calibration.confidence(signals)
    threshold = calibration.threshold if min_confidence is None else min_confidence
    is_sufficient = bool(scored) and confidence >= threshold
    return Evidence(
        confidence=round(confidence, 4),
        is_sufficient=is_sufficient,
        is_worth_asking=is_sufficient or (min_confidence is None and confidence >= calibration.worth_asking),
        reason=None if is_sufficient else "no_evidence",
        windows=tuple(scored),
        is_reread=reader is not None,
    )


def signals_of(
    scored: Sequence[ScoredWindow], passages: Sequence[Passage], weights: Mapping[str, float], *, is_reread: bool
) -> Signals:
    """Return what the confidence is made of; `scored` is sorted best first."""
    cosines = [passage.scores["vector"] for passage in passages if "vector" in passage.scores]
    first = passages[0]
    return Signals(
        reread=scored[0].score if is_reread and scored else None,
        cosine=max(cosines, default=None),
        coverage=max((s.window.coverage for s in scored), default=0.0),
        reread_coverage=scored[0].window.coverage if scored else 0.0,
        first_coverage=coverage(weights, f"{context_of(first)} {first.text}"),
    )


def reads_foreign(question: str) -> bool:
    """Tell whether a question is clearly not English: the bundled cross-encoder was trained on English only."""
    letters = [char for char in question if char.isalpha()]
    if letters and len(_FOREIGN_LETTERS.findall(question)) / len(letters) > _MANY_FOREIGN:
        return True
    words = re.findall(r"[^\W\d_]+", question.lower())
    return bool(words) and sum(word in _FOREIGN_WORDS for word in words) / len(words) >= _MANY_FOREIGN
