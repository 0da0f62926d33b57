"""How signals become a confidence, per pair of models: data.

Measured on 923 questions over 1 967 chunks of mixed domains (Natural Questions and SQuAD passages, SciFact abstracts):
380 with an answer there (130 + 250), 152 whose passage is on the topic but lacks the answer ("near"), and 391 whose
documents were taken away ("cross"). The figures are five-fold cross-validated; the weights are fitted on all. They come
from the method of `benchmarks/answer_quality.py` with another random sample of the same sizes, before table rows were
read with their column names (no table is in these sets).

bge-small was measured with its makers' query prefix, which questions go without now (docs/how-to/evaluate.md). Its cosines
were carried over: over 1 772 questions of three sets the best passage's cosine with the prefix is .9669 times that without
plus .0108 (r .93 to .98), which is worked into bias and weight.
"""

import math
from dataclasses import dataclass

_CLIP = 1e-5


@dataclass(frozen=True, slots=True)
class Signals:
    """What the confidence is made of. `reread` is the cross-encoder's best probability, None without one.

    `cosine` is the best passage's, None when the search gave none; `coverage` that of the best window by words, and
    `reread_coverage` that of the window the cross-encoder liked best.
    """

    reread: float | None
    cosine: float | None
    coverage: float
    reread_coverage: float
    first_coverage: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weights of the signals, and the confidences from which to quote (`threshold`) and to ask a generator."""

    bias: float
    reread: float = 0.0
    cosine: float = 0.0
    coverage: float = 0.0
    reread_coverage: float = 0.0
    first_coverage: float = 0.0
    threshold: float = 0.35
    worth_asking: float = 0.15

    def confidence(self, signals: Signals) -> float:
        """Return the probability, 0 to 1, that the passages hold an answer."""
        logit = (
            self.bias
            + self.reread * _logit(signals.reread if signals.reread is not None else 0.5)
            + self.cosine * (signals.cosine or 0.0)
            + self.coverage * signals.coverage
            + self.reread_coverage * signals.reread_coverage
            + self.first_coverage * signals.first_coverage
        )
        return 1 / (1 + math.exp(-logit))


def _logit(probability: float) -> float:
    clipped = min(max(probability, _CLIP), 1 - _CLIP)
    return math.log(clipped / (1 - clipped))


_BGE = "bge-small-en-v1.5"
_MINILM = "ms-marco-MiniLM-L-12-v2"

# Answered at the threshold, of answerable / near / cross · precision and recall of refusals · AUC over all, and of NQ
# with an answer against near. "near" is hard on purpose; half of it is still answered, with words on the topic.
_TABLE: dict[tuple[str | None, str | None], Calibration] = {
    # .94 / .50 / .018 · .954, .847 · .956, .880
    (_BGE, _MINILM): Calibration(bias=-5.756, reread=0.313, cosine=6.325, reread_coverage=1.686),
    # .93 / .50 / .054 · .941, .821 · .939, .871
    (_BGE, None): Calibration(bias=-14.938, cosine=17.661, coverage=1.43, first_coverage=3.668, threshold=0.3),
    # .93 / .51 / .013 · .945, .847 · .954, .858
    (None, _MINILM): Calibration(bias=-1.283, reread=0.382, reread_coverage=1.404),
    # .88 / .51 / .115 · .901, .773 · .897, .736   words alone: any embedder that was not measured
    (None, None): Calibration(bias=-3.685, coverage=1.553, first_coverage=5.83, threshold=0.3),
}


def calibration_for(embedder: str | None, reranker: str | None) -> Calibration:
    """Return the measured weights of the pair; a model that was not measured does not count as a signal."""
    known_reranker = reranker if (None, reranker) in _TABLE else None
    return _TABLE.get((embedder, known_reranker)) or _TABLE[None, known_reranker]
