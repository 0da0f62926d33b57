"""What every reranker keeps."""

import asyncio
from collections.abc import Iterator

import pytest

from ragecho.engines.fakes import FakeReranker
from ragecho.engines.models.catalogue import MS_MARCO_MINILM_L12
from ragecho.engines.models.reranker import OnnxReranker
from ragecho.engines.models.store import default_model_dir, missing_files
from ragecho.ports.reranker import Reranker

pytestmark = pytest.mark.anyio

QUESTION = "How many vacation days do employees get?"
TEXTS = (
    "The cafeteria opens at eight.",
    "Employees get 25 vacation days each year.",
    "The pump is serviced every six months.",
    "",
    "日本語の文書です。",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def onnx() -> Iterator[OnnxReranker]:
    if missing_files(default_model_dir(), MS_MARCO_MINILM_L12):
        pytest.skip("ms-marco-MiniLM-L-12-v2 is not fetched: python -m ragecho.engines.models.fetch")
    made = OnnxReranker(MS_MARCO_MINILM_L12, default_model_dir(), threads=2)
    yield made
    made.close()


@pytest.fixture(params=["onnx", "fake"])
def reranker(request: pytest.FixtureRequest) -> Reranker:
    return FakeReranker() if request.param == "fake" else request.getfixturevalue("onnx")


async def test_the_answering_passage_scores_highest_and_scores_are_probabilities(reranker: Reranker) -> None:
    scores = await reranker.score(QUESTION, TEXTS)
    assert len(scores) == len(TEXTS)
    assert all(isinstance(score, float) and 0 <= score <= 1 for score in scores)
    assert max(scores) == scores[1]
    assert scores[1] > 0.5 > max(scores[0], scores[2])


async def test_no_texts_give_no_scores(reranker: Reranker) -> None:
    assert await reranker.score(QUESTION, []) == []


async def test_a_score_does_not_depend_on_the_other_candidates_or_their_order(reranker: Reranker) -> None:
    together = await reranker.score(QUESTION, TEXTS)
    assert (await reranker.score(QUESTION, TEXTS[::-1]))[::-1] == together
    assert [(await reranker.score(QUESTION, [text]))[0] for text in TEXTS] == together


async def test_concurrent_questions_get_their_own_scores(reranker: Reranker) -> None:
    questions = [QUESTION, "When does the cafeteria open?", "How often is the pump serviced?"]
    expected = [await reranker.score(question, TEXTS) for question in questions]
    assert await asyncio.gather(*(reranker.score(question, TEXTS) for question in questions)) == expected


@pytest.mark.parametrize(
    "question", ["", "字" * 3_000, "word " * 5_000, "한" * 600, "\u0000"], ids=lambda text: repr(text[:6])
)
@pytest.mark.parametrize("text", ["", "字" * 30_000, "word " * 5_000], ids=lambda text: repr(text[:6]))
async def test_questions_and_texts_of_any_length_are_scored(reranker: Reranker, question: str, text: str) -> None:
    (score,) = await reranker.score(question, [text])
    assert 0 <= score <= 1


async def test_a_long_passage_is_cut_and_the_question_is_kept(onnx: OnnxReranker) -> None:
    (score,) = await onnx.score(QUESTION, [TEXTS[1] + " Nothing else is said here." * 500])
    assert score > 0.5
