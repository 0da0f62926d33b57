import pytest

from ragecho.evals.diff import differences, find_run
from ragecho.evals.page import trend_page
from ragecho.evals.trend import Step
from ragecho.kernel.errors import InvalidInput


def run(at: str, scores: dict[str, float], *, suite: str = "s", commit: str = "abc") -> dict[str, object]:
    return {"at": at, "suite": suite, "commit": commit, "scores": {"nDCG@10": scores}}


BEFORE = run("2026-01-01T10:00", {str(n): 0.5 for n in range(40)}, commit="aaa111")
AFTER = run("2026-01-02T10:00", {str(n): 0.5 - 0.2 * (n < 12) + 0.1 * (n == 39) for n in range(41)}, commit="bbb222")


def test_questions_of_both_runs_are_compared_the_worst_first() -> None:
    (one,) = differences(BEFORE, AFTER)
    assert one.questions == 40
    assert one.difference == pytest.approx((-0.2 * 12 + 0.1) / 40)
    assert one.low < one.difference < one.high < 0
    assert one.p_loss < 0.05 < one.p_gain
    assert len(one.changed) == 13
    assert one.changed[0].difference == pytest.approx(-0.2)
    assert one.changed[-1].question == "39"


def test_equal_runs_differ_in_nothing() -> None:
    (one,) = differences(BEFORE, BEFORE)
    assert (one.difference, one.changed, one.p_loss, one.p_gain) == (0, (), 1, 1)


def test_runs_of_different_suites_are_not_compared() -> None:
    with pytest.raises(InvalidInput, match="different suites"):
        differences(BEFORE, run("x", {}, suite="t"))


@pytest.mark.parametrize(("name", "wanted"), [("-1", AFTER), ("-2", BEFORE), ("2026-01-01", BEFORE), ("bbb", AFTER)])
def test_a_run_is_named_by_its_place_its_time_or_its_commit(name: str, wanted: dict[str, object]) -> None:
    other = run("2026-01-03", {}, suite="t")
    assert find_run([BEFORE, AFTER, other], name, suite="s") is wanted


@pytest.mark.parametrize("name", ["-3", "2025", "zzz"])
def test_a_run_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="no recorded run"):
        find_run([BEFORE, AFTER], name)


def test_the_page_holds_every_value_and_nothing_that_runs() -> None:
    steps = [
        Step("2026-01-01T10:00", "<script>s", "hybrid", "0.1", 40, {"nDCG@10": 0.5, "R@10": 0.9}, {}),
        Step("2026-01-02T10:00", "<script>s", "hybrid", "0.2", 40, {"nDCG@10": 0.4}, {"nDCG@10": -0.1}),
    ]
    page = trend_page(steps)
    assert "<script" not in page
    assert "http" not in page
    assert '<td class="loss">0.4000 (-0.1000)</td>' in page
    assert 'aria-label="nDCG@10 from 0.5000 to 0.4000 over 2 runs"' in page
    assert "no runs yet" in trend_page([])
