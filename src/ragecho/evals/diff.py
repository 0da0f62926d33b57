"""Two recorded runs question by question: what got better, what got worse, and whether that is more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragecho.evals.gate import ROUNDING, loss_p_value
from ragecho.evals.metrics import SEED
from ragecho.kernel.errors import InvalidInput

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Changed:
    """One question that scores differently."""

    question: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure in two runs over the questions of both.

    `low` and `high` bound the mean difference (95 %, paired bootstrap). `p_loss` and `p_gain` are one-sided, of a paired
    randomisation test.
    """

    measure: str
    before: float
    after: float
    low: float
    high: float
    p_loss: float
    p_gain: float
    questions: int
    changed: tuple[Changed, ...]

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


def find_run(records: Sequence[Mapping[str, Any]], name: str, *, suite: str | None = None) -> Mapping[str, Any]:
    """Return the run that `name` means: -1 is the last, -2 the one before, else the beginning of its time or its commit.

    Of several the latest is taken. Raises `InvalidInput` when there is none.
    """
    among = [record for record in records if suite in (None, record["suite"])]
    if name.lstrip("-").isdigit() and name.startswith("-"):
        if len(among) >= -int(name):
            return among[int(name)]
    else:
        found = [
            one for one in among if str(one["at"]).startswith(name) or str(one.get("commit") or "").startswith(name)
        ]
        if found:
            return found[-1]
    raise InvalidInput(f"There is no recorded run '{name}'" + (f" of {suite}." if suite else "."))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Return one entry per measure that both runs have. Raises `InvalidInput` for runs of different suites."""
    if before["suite"] != after["suite"]:
        raise InvalidInput(f"The runs are of different suites: {before['suite']} and {after['suite']}.")
    found = []
    for measure, old in before["scores"].items():
        new = after["scores"].get(measure, {})
        questions = sorted(old.keys() & new.keys())
        if questions:
            found.append(_difference(measure, questions, old, new))
    return found


def _difference(
    measure: str, questions: Sequence[str], old: Mapping[str, float], new: Mapping[str, float]
) -> Difference:
    first, second = np.array([old[q] for q in questions]), np.array([new[q] for q in questions])
    paired = second - first
    generator = np.random.default_rng(SEED)
    means = [
        paired[generator.integers(len(paired), size=(500, len(paired)))].mean(axis=1) for _ in range(RESAMPLES // 500)
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    changed = [Changed(q, old[q], new[q]) for q in questions if abs(new[q] - old[q]) > ROUNDING]
    return Difference(
        measure=measure,
        before=float(first.mean()),
        after=float(second.mean()),
        low=float(low),
        high=float(high),
        p_loss=loss_p_value(paired),
        p_gain=loss_p_value(-paired),
        questions=len(questions),
        changed=tuple(sorted(changed, key=lambda one: (one.difference, one.question))),
    )
