"""The gate: real losses fail, noise and gains pass, and what was not measured never passes."""

import json
from pathlib import Path

import numpy as np
import pytest

from ragecho.evals.gate import compare, loss_p_value, read_baselines, write_baseline
from ragecho.evals.metrics import PerQuestion
from ragecho.kernel.errors import InvalidInput


def scores(values: np.ndarray) -> PerQuestion:
    return {"nDCG@10": {f"q{i:04}": float(value) for i, value in enumerate(values)}}


def graded(questions: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).choice([0.0, 0.39, 0.5, 0.63, 1.0], size=questions)


def verdict(before: np.ndarray, after: np.ndarray) -> bool:
    (found,) = compare("suite", "hybrid", scores(before), scores(after))
    return found.is_loss


@pytest.mark.parametrize("questions", [45, 300, 809])
def test_a_seeded_loss_fails(questions: int) -> None:
    before = np.maximum(graded(questions), 0.39)
    worse = before.copy()
    worse[:: questions // 15] = 0.0  # every fifteenth part of the questions finds nothing any more

    assert verdict(before, worse)


@pytest.mark.parametrize("seed", range(20))
def test_noise_without_a_direction_passes(seed: int) -> None:
    before = graded(300)
    noise = np.zeros(300)
    changed = np.random.default_rng(seed).permutation(300)[:20]
    noise[changed] = np.tile([0.1, -0.1], 10)

    assert not verdict(before, before + noise)


def test_the_same_result_and_a_better_one_pass() -> None:
    before = graded(300)

    assert not verdict(before, before)
    assert not verdict(before, np.minimum(before + 0.1, 1.0))


def test_a_significant_loss_below_the_tolerance_passes() -> None:
    before = np.ones(1000)

    assert not verdict(before, before - 0.001)


def test_a_loss_on_few_questions_is_not_told_from_chance() -> None:
    before = np.ones(45)
    worse = before.copy()
    worse[:4] = 0.0

    (found,) = compare("suite", "hybrid", scores(before), scores(worse))

    assert found.p_value == pytest.approx(1 / 16, abs=0.01)
    assert not found.is_loss


def test_the_p_value_is_that_of_the_sign_flips() -> None:
    # Of the 2^6 ways to give six equal differences a sign, one is as bad as all negative.
    assert loss_p_value(np.array([-0.2] * 6 + [0.0] * 50)) == pytest.approx(1 / 64, abs=0.005)
    assert loss_p_value(np.array([0.0, 0.0])) == 1.0


def test_a_question_that_was_not_asked_fails_loudly() -> None:
    with pytest.raises(InvalidInput, match="q0001"):
        compare("suite", "hybrid", {"nDCG@10": {"q0000": 1.0, "q0001": 1.0}}, {"nDCG@10": {"q0000": 1.0}})


def test_a_measure_that_was_not_taken_fails_loudly() -> None:
    with pytest.raises(InvalidInput, match="refusal"):
        compare("suite", "hybrid", {"refusal": {"q": 1.0}}, {"nDCG@10": {"q": 1.0}})


def test_baselines_are_read_as_written_and_other_entries_stay(tmp_path: Path) -> None:
    file = tmp_path / "baselines.json"
    first: PerQuestion = {
        "nDCG@10": {"b": 0.5, "a": 1.0},
        "R@100": {"a": 1.0, "b": 1.0},
        "refusal": {"u": 1.0, "a": 0.0},
    }

    write_baseline(file, "one/hybrid", first, about={"version": "0"})
    write_baseline(file, "two/hybrid", {"nDCG@10": {"x": 0.3333}}, about={})

    assert read_baselines(file) == {"one/hybrid": first, "two/hybrid": {"nDCG@10": {"x": 0.333}}}
    assert json.loads(file.read_text())["one/hybrid"]["about"] == {"version": "0"}


def test_a_missing_baselines_file_holds_nothing(tmp_path: Path) -> None:
    assert read_baselines(tmp_path / "none.json") == {}
