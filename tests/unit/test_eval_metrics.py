"""Metrics against values computed by hand, intervals and refusal counts."""

import math
import sys

import pytest

from ragecho.evals.metrics import estimate, ranking_scores, refusal_counts, refusal_scores
from ragecho.kernel.errors import ConfigurationError

pytest.importorskip("ir_measures", reason="the group 'eval' is not installed")


def test_ranking_measures_equal_hand_computed_values() -> None:
    relevant = {"q": {"a": 1, "b": 1}, "r": {"c": 1}}
    ranked = {"q": ["a", "x", "b"], "r": ["x", "y", "z", "c"]}

    scores = ranking_scores(relevant, ranked)

    ideal = 1 + 1 / math.log2(3)
    assert scores["nDCG@10"]["q"] == pytest.approx((1 + 1 / math.log2(4)) / ideal)
    assert scores["nDCG@10"]["r"] == pytest.approx(1 / math.log2(5))
    assert scores["RR@10"] == {"q": 1.0, "r": 0.25}
    assert scores["R@10"] == {"q": 1.0, "r": 1.0}
    assert scores["R@100"] == {"q": 1.0, "r": 1.0}


def test_the_cutoff_is_at_the_tenth_document_and_recall_100_reads_on() -> None:
    ranked = {"q": [f"x{i}" for i in range(10)] + ["a"]}

    scores = ranking_scores({"q": {"a": 1}}, ranked)

    assert scores["nDCG@10"]["q"] == scores["RR@10"]["q"] == scores["R@10"]["q"] == 0.0
    assert scores["R@100"]["q"] == 1.0


def test_a_hundred_and_first_document_does_not_count() -> None:
    scores = ranking_scores({"q": {"a": 1}}, {"q": [f"x{i:03}" for i in range(100)] + ["a"]})

    assert scores["R@100"]["q"] == 0.0


def test_a_question_for_which_nothing_was_found_counts_as_zero() -> None:
    scores = ranking_scores({"q": {"a": 1}, "r": {"b": 1}}, {"q": ["a"], "r": []})

    assert scores["nDCG@10"] == {"q": 1.0, "r": 0.0}
    assert scores["RR@10"] == {"q": 1.0, "r": 0.0}


def test_when_nothing_at_all_was_found_everything_is_zero() -> None:
    assert ranking_scores({"q": {"a": 1}}, {"q": []})["R@10"] == {"q": 0.0}


def test_graded_relevance_uses_the_grade_as_gain() -> None:
    scores = ranking_scores({"q": {"a": 2, "b": 1}}, {"q": ["b", "a"]})

    assert scores["nDCG@10"]["q"] == pytest.approx((1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3)))


def test_without_ir_measures_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)

    with pytest.raises(ConfigurationError, match=r"ragecho\[eval\]"):
        ranking_scores({"q": {"a": 1}}, {"q": ["a"]})


def test_refusals_are_scored_both_ways() -> None:
    is_answerable = {"yes1": True, "yes2": True, "no1": False, "no2": False}
    refused = {"yes1": False, "yes2": True, "no1": True, "no2": False}

    counts = refusal_counts(is_answerable, refused)

    assert refusal_scores(is_answerable, refused) == {"yes1": 1.0, "yes2": 0.0, "no1": 1.0, "no2": 0.0}
    assert (counts.precision, counts.recall, counts.refused, counts.unanswerable) == (0.5, 0.5, 2, 2)


def test_never_refusing_has_full_precision_and_no_recall() -> None:
    counts = refusal_counts({"no": False}, {"no": False})

    assert (counts.precision, counts.recall) == (1.0, 0.0)


def test_an_estimate_is_the_mean_inside_its_interval_and_repeats() -> None:
    values = [0.0, 1.0, 0.5, 1.0, 0.25] * 20

    found = estimate(values)

    assert found.value == pytest.approx(0.55)
    assert found.low < found.value < found.high
    # Normal approximation: 0.55 +- 1.96 * 0.4 / 10.
    assert found.low == pytest.approx(0.472, abs=0.01)
    assert found.high == pytest.approx(0.628, abs=0.01)
    assert estimate(values) == found


def test_equal_values_leave_no_doubt() -> None:
    found = estimate([1.0] * 30)

    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


def test_nothing_cannot_be_averaged() -> None:
    with pytest.raises(ValueError, match="nothing"):
        estimate([])
