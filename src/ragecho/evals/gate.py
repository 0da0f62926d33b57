"""The gate: did a change lose quality beyond chance? Paired per question, against the committed baseline."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ragecho.evals.metrics import REFUSAL, SEALED, SEED, PerQuestion
from ragecho.kernel.errors import InvalidInput

GUARDED = ("nDCG@10", "R@100", REFUSAL, SEALED)
# A loss fails the gate when it is larger than this and as unlikely by chance as this.
TOLERANCE = 0.005
SIGNIFICANCE = 0.05
PERMUTATIONS = 20_000
BASELINES = "baselines.json"
# Baselines are stored with three digits; a smaller difference is none.
ROUNDING = 0.001


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure against its baseline. `p_value`: how often chance alone brings a loss this large."""

    suite: str
    mode: str
    measure: str
    baseline: float
    value: float
    p_value: float
    questions: int
    is_loss: bool

    @property
    def difference(self) -> float:
        """Value minus baseline."""
        return self.value - self.baseline


def compare(suite: str, mode: str, baseline: PerQuestion, scores: PerQuestion) -> list[Comparison]:
    """Return one comparison per guarded measure that the baseline holds.

    Raises `InvalidInput` when the run lacks a measure or question of the baseline: what was not measured must not pass.
    """
    compared = []
    for measure in GUARDED:
        before = baseline.get(measure)
        if not before:
            continue
        now = scores.get(measure, {})
        missing = sorted(before.keys() - now.keys())
        if missing:
            raise InvalidInput(
                f"{suite}: {measure} was not measured for {len(missing)} questions of the baseline (first '{missing[0]}')."
            )
        questions = sorted(before)
        old, new = np.array([before[q] for q in questions]), np.array([now[q] for q in questions])
        p_value = loss_p_value(new - old)
        difference = float(new.mean() - old.mean())
        compared.append(
            Comparison(
                suite=suite,
                mode=mode,
                measure=measure,
                baseline=float(old.mean()),
                value=float(new.mean()),
                p_value=p_value,
                questions=len(questions),
                # One passage seen by the wrong person is a loss, however likely by chance.
                is_loss=difference < 0 if measure == SEALED else difference < -TOLERANCE and p_value < SIGNIFICANCE,
            )
        )
    return compared


def loss_p_value(differences: np.ndarray[Any, np.dtype[np.float64]], *, seed: int = SEED) -> float:
    """Return the one-sided p-value of a paired randomisation test (Smucker, Allan, Carterette 2007) for a loss.

    Under the null hypothesis each question's difference may as well have the other sign.
    """
    changed = differences[np.abs(differences) > ROUNDING]
    if not len(changed) or changed.sum() >= 0:
        return 1.0
    generator = np.random.default_rng(seed)
    extreme = 0
    for _ in range(0, PERMUTATIONS, 1000):
        signs = generator.choice((-1.0, 1.0), size=(1000, len(changed)))
        extreme += int(np.count_nonzero(signs @ changed <= changed.sum() + 1e-9))
    return (extreme + 1) / (PERMUTATIONS + 1)


def read_baselines(path: Path | None = None) -> dict[str, PerQuestion]:
    """Return the baselines, keyed `suite/mode`; the packaged ones unless a file is named."""
    source = path if path is not None else files("ragecho.evals") / BASELINES
    if not source.is_file():
        return {}
    stored: dict[str, dict[str, Any]] = json.loads(source.read_text(encoding="utf-8"))
    return {
        key: {
            measure: dict(zip(entry["questions"][_kind(measure)], values, strict=True))
            for measure, values in entry["scores"].items()
        }
        for key, entry in stored.items()
    }


def write_baseline(path: Path, key: str, scores: PerQuestion, *, about: Mapping[str, Any]) -> None:
    """Store the guarded measures of one run under `key`, keeping the file's other entries."""
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = {measure: scores[measure] for measure in GUARDED if scores.get(measure)}
    questions: dict[str, list[str]] = {}
    for measure, values in kept.items():
        questions.setdefault(_kind(measure), sorted(values))
    stored[key] = {
        "about": dict(about),
        "questions": questions,
        # Three digits: what rounding hides is far below the tolerance.
        "scores": {
            measure: [round(values[question], 3) for question in questions[_kind(measure)]]
            for measure, values in kept.items()
        },
    }
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(stored[name], separators=(',', ':'))}" for name in sorted(stored)
    )
    path.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def _kind(measure: str) -> str:
    return measure if measure in (REFUSAL, SEALED) else "ranking"
