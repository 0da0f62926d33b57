"""A run and its record, with a system whose answers are known."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ragecho.evals import trend
from ragecho.evals.run import Loaded, Progress, Result, evaluate
from ragecho.evals.suites import Question, Suite, SuiteDocument
from ragecho.kernel.errors import InvalidInput

pytest.importorskip("ir_measures", reason="the group 'eval' is not installed")

SUITE = Suite(
    name="x",
    documents=(SuiteDocument("d1", "", "one"), SuiteDocument("d2", "", "two")),
    questions=(
        Question("q1", "one?", True),
        Question("q2", "two?", True),
        Question("u1", "nine?", False),
    ),
    relevant={"q1": {"d1": 1}, "q2": {"d2": 1}},
)


class Known:
    """Finds d1 first for everything and refuses whatever has 'nine' in it."""

    async def load(self, documents: Sequence[SuiteDocument], on_progress: Progress) -> Loaded:
        on_progress("ingesting", len(documents), len(documents))
        return Loaded(len(documents), 2, (("d2", "broken"),), 1.0)

    async def rank(self, question: str, *, depth: int, reader: str) -> list[str]:
        return ["d1", "d2"][:depth]

    async def refuses(self, question: str) -> bool:
        return "nine" in question


def run(limit: int | None = None) -> Result:
    stages: list[str] = []
    result = asyncio.run(evaluate(Known(), SUITE, limit=limit, on_progress=lambda stage, *_: stages.append(stage)))
    assert stages[0] == "ingesting"
    assert stages[-1] == "answering"
    return result


def test_a_run_measures_ranking_on_judged_and_refusals_on_all_questions() -> None:
    result = run()

    assert result.scores["RR@10"] == {"q1": 1.0, "q2": 0.5}
    assert result.scores["refusal"] == {"q1": 1.0, "q2": 1.0, "u1": 1.0}
    assert result.estimates["RR@10"].value == 0.75
    assert result.refusals is not None
    assert (result.refusals.precision, result.refusals.recall) == (1.0, 1.0)


def test_a_limit_asks_the_first_questions_of_each_kind() -> None:
    result = run(limit=1)

    assert set(result.scores["nDCG@10"]) == {"q1"}
    assert set(result.scores["refusal"]) == {"q1", "u1"}


def test_runs_are_recorded_and_the_trend_shows_differences_within_suite_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "runs.jsonl"
    result = run()
    for mode, change in (("hybrid", 0.0), ("vector", 0.0), ("hybrid", 0.125)):
        record = trend.record_of(result, mode=mode, settings={"k": 1}, at=datetime(2026, 1, 2, tzinfo=UTC))
        record["metrics"]["RR@10"]["value"] += change
        trend.append(file, record)

    found = trend.steps(trend.read(file))

    assert [(step.mode, step.changes.get("RR@10")) for step in found] == [
        ("hybrid", None),
        ("vector", None),
        ("hybrid", 0.125),
    ]
    assert found[0].questions == 3
    assert next(trend.read(file))["scores"]["RR@10"] == {"q1": 1.0, "q2": 0.5}
    assert next(trend.read(file))["failed"] == [["d2", "broken"]]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text("{}\n{\n")

    with pytest.raises(InvalidInput, match=":2 is not valid JSON"):
        list(trend.read(tmp_path / "runs.jsonl"))


def test_no_record_yet_is_an_empty_trend(tmp_path: Path) -> None:
    assert trend.steps(trend.read(tmp_path / "none.jsonl")) == []
