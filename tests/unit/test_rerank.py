import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from ragecho.kernel.errors import ConfigurationError, EchoError, GenerationFailed, InvalidInput, Unavailable
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId
from ragecho.kernel.passages import Passage
from ragecho.library.rerank import RerankPolicy, policy_for, rerank
from ragecho.library.search import Found
from ragecho.library.settings import SearchSettings

pytestmark = pytest.mark.anyio
LOCAL = RerankPolicy(60_000, depth=20, at_once=2, weight=0.02)
ALONE = RerankPolicy(60_000, depth=20, at_once=50, weight=None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Judge:
    """Scores a text by the number that it ends with; hangs or fails from the call `stops_at` on."""

    model = "judge"

    def __init__(self, *, stops_at: int = 1_000, error: Exception | None = None) -> None:
        self.read: list[str] = []
        self.calls = 0
        self._stops_at = stops_at
        self._error = error

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        self.calls += 1
        if self.calls >= self._stops_at:
            if self._error is not None:
                raise self._error
            await asyncio.Event().wait()
        self.read += texts
        return [float(text.rsplit(" ", 1)[1]) for text in texts]


def passage(number: int, score: float, text: str) -> Passage:
    return Passage(
        chunk_id=ChunkId(UUID(int=number)),
        document_id=DocumentId(UUID(int=number)),
        version_id=VersionId(UUID(int=number)),
        filename="f",
        title=None,
        heading_path=(),
        page=None,
        page_breaks=(),
        start=0,
        end=len(text),
        text=text,
        content_sha256="",
        score=score,
        scores={"fused": score},
    )


def found(*judgements: float, first: float = 0.9, step: float = 0.01) -> Found:
    return Found(
        [passage(n, first - n * step, f"text {n} {value}") for n, value in enumerate(judgements)], {"total": 1.0}
    )


def order(passages: Sequence[Passage]) -> list[int]:
    return [one.chunk_id.int for one in passages]


async def test_a_judgement_moves_a_passage_by_its_weight_and_is_shown() -> None:
    done = await rerank(Judge(), "q", found(0.5, 0.5, 0.99), LOCAL)
    passages, timings = done.passages, done.timings_ms
    assert (done.judged, done.warning) == (3, None)
    assert order(passages) == [2, 0, 1]
    assert passages[0].scores["rerank"] == 0.99
    assert passages[0].scores["fused"] == pytest.approx(0.88)
    assert timings["total"] >= timings["rerank"]


async def test_a_clear_lead_of_the_search_is_not_overturned() -> None:
    passages = (await rerank(Judge(), "q", found(0.2, 0.9, step=0.5), LOCAL)).passages
    assert order(passages) == [0, 1]


async def test_what_was_not_read_in_time_keeps_its_order_behind_what_was() -> None:
    judge = Judge(stops_at=3)
    policy = RerankPolicy(50, depth=20, at_once=2, weight=0.02)
    passages = (await rerank(judge, "q", found(0.01, 0.001, 0.6, 0.5, 0.99, 0.9), policy)).passages
    assert len(judge.read) == 4
    assert order(passages) == [2, 3, 0, 1, 4, 5]
    assert [one.score for one in passages] == sorted((one.score for one in passages), reverse=True)
    assert "rerank" not in passages[4].scores


async def test_reading_ends_when_nothing_unread_could_come_among_the_first_ten() -> None:
    judge = Judge()
    passages = [passage(n, 0.9 if n < 10 else 0.3, f"t {n} 0.9") for n in range(20)]
    await rerank(judge, "q", Found(passages, {"total": 1.0}), LOCAL)
    assert len(judge.read) == 10


async def test_a_reranker_that_orders_alone_is_asked_once() -> None:
    judge = Judge()
    passages = (await rerank(judge, "q", found(*[n / 30 for n in range(25)]), ALONE)).passages
    assert judge.calls == 1
    assert order(passages) == [*range(19, -1, -1), 20, 21, 22, 23, 24]


@pytest.mark.parametrize("policy", [LOCAL, ALONE])
@pytest.mark.parametrize(
    "error", [Unavailable("gone"), ConfigurationError("key"), InvalidInput("long"), GenerationFailed("no list")]
)
async def test_a_reranker_that_fails_changes_nothing_and_is_told_of(policy: RerankPolicy, error: EchoError) -> None:
    before = found(0.1, 0.9)
    after = await rerank(Judge(stops_at=1, error=error), "q", before, policy)
    assert (after.passages, after.judged, after.warning) == (before.passages, 0, "rerank_failed")


async def test_a_reranker_that_fails_halfway_changes_nothing_either() -> None:
    before = found(0.1, 0.9, 0.2, 0.8)
    after = await rerank(Judge(stops_at=2, error=Unavailable("gone")), "q", before, LOCAL)
    assert (after.passages, after.judged, after.warning) == (before.passages, 0, "rerank_failed")


async def test_a_reranker_that_hangs_is_left_when_the_budget_is_spent() -> None:
    before = found(0.1, 0.9)
    after = await rerank(Judge(stops_at=1), "q", before, RerankPolicy(20, depth=20, at_once=50, weight=None))
    assert (after.passages, after.judged, after.warning) == (before.passages, 0, "rerank_timeout")


class Ticking(Judge):
    """Takes `seconds` of its own clock for each call, and never gives the loop a chance to interrupt it."""

    def __init__(self, *seconds: float) -> None:
        super().__init__()
        self.now = 0.0
        self._seconds = seconds

    def clock(self) -> float:
        return self.now

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        self.now += self._seconds[min(self.calls, len(self._seconds) - 1)]
        return await super().score(question, texts)


async def test_what_could_not_end_within_the_budget_is_not_begun() -> None:
    judge = Ticking(0.1)
    policy = RerankPolicy(400 + 1 + 12, depth=20, at_once=2, weight=0.02)
    done = await rerank(judge, "q", found(*[0.5] * 20), policy, clock=judge.clock)
    assert (judge.calls, done.judged, done.warning) == (3, 6, None), "a fourth would end as the budget does"
    assert judge.now <= 0.4


async def test_when_the_machine_grows_busy_reading_ends_sooner() -> None:
    judge = Ticking(0.05, 0.2)
    policy = RerankPolicy(400 + 1 + 12, depth=20, at_once=2, weight=0.02)
    await rerank(judge, "q", found(*[0.5] * 20), policy, clock=judge.clock)
    assert (judge.calls, judge.now) == (2, 0.25)


async def test_a_search_that_took_the_whole_budget_is_not_reranked() -> None:
    judge, before = Judge(), found(0.1, 0.9)
    late = Found(before.passages, {"total": 500.0})
    done = await rerank(judge, "q", late, RerankPolicy(400, depth=20, at_once=2, weight=0.02))
    assert (judge.calls, done.passages, done.warning) == (0, before.passages, "rerank_timeout")


async def test_of_a_long_passage_the_part_with_the_questions_words_is_read() -> None:
    judge = Judge()
    long = "Nothing of note here. " * 100 + "The turbine needs oil every week. " + "More of nothing. " * 100
    with pytest.raises(ValueError, match="could not convert"):  # the window ends in no number: the judge says so
        await rerank(judge, "turbine oil", Found([passage(0, 1.0, long)], {"total": 1.0}), LOCAL)
    assert len(judge.read) == 1
    assert "turbine needs oil" in judge.read[0]
    assert len(judge.read[0]) < 1_000


async def test_no_passages_need_no_reranker() -> None:
    assert (await rerank(Judge(), "q", Found([], {"total": 0.0}), LOCAL)).passages == []


def test_a_provider_is_asked_at_once_and_a_local_model_in_a_cascade() -> None:
    settings = SearchSettings(rerank_budget_ms=123)
    judge = Judge()
    assert policy_for(judge, settings).budget_ms == 123
    judge.model = "cohere:rerank-v3.5"
    assert policy_for(judge, settings).weight is None
