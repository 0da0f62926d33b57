import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from ragecho.engines.generation.scripted import ScriptedGenerator
from ragecho.kernel.errors import GenerationFailed
from ragecho.library.query.rewrite import MAX_QUERIES, Asked, Query, QueryRewriter, Way
from ragecho.ports.generator import Delta, Message

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Slow:
    name = "slow:model"

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncIterator[Delta]:
        await asyncio.Event().wait()
        yield Delta("")


def says(*answers: str, error: GenerationFailed | None = None) -> ScriptedGenerator:
    return ScriptedGenerator("fake:model", answers, error=error)


async def test_a_follow_up_is_made_to_stand_alone() -> None:
    generator = says('["How long is the warranty of gauge G-20?"]')
    asked = Asked("And its warranty?", (("user", "What does G-20 cost?"), ("assistant", "240 euros.")))
    found = await QueryRewriter(generator, [Way.HISTORY]).rewrite(asked)
    assert found.queries == (Query("How long is the warranty of gauge G-20?"),)
    assert json.loads(generator.prompts[0][1].content)["history"][0]["text"] == "What does G-20 cost?"


async def test_a_first_question_needs_no_model() -> None:
    generator = says("[]")
    assert (await QueryRewriter(generator, [Way.HISTORY]).rewrite(Asked("Why?"))).question == "Why?"
    assert generator.prompts == []


async def test_parts_and_a_made_up_answer_are_searched_beside_the_question() -> None:
    found = await QueryRewriter(says('Of course: ["a?",', ' "b?"] and so on'), [Way.DECOMPOSE, Way.HYDE]).rewrite(
        Asked("a and b?")
    )
    assert [query.text for query in found.queries] == ["a and b?", "a?", "b?", "a?", "b?"]
    assert [query.embed_as_passage for query in found.queries] == [False, False, False, True, True]


async def test_translation_is_asked_for_only_with_languages() -> None:
    generator = says('["¿Por qué?"]')
    assert len((await QueryRewriter(generator, [Way.TRANSLATE]).rewrite(Asked("Why?"))).queries) == 1
    found = await QueryRewriter(generator, [Way.TRANSLATE]).rewrite(Asked("Why?", languages=("es",)))
    assert found.queries[1] == Query("¿Por qué?", Way.TRANSLATE)


@pytest.mark.parametrize("answer", ["", "no list", "[", "[1, 2]", '{"a": 1}', "[[]]"])
async def test_an_answer_of_no_use_leaves_the_question(answer: str) -> None:
    found = await QueryRewriter(says(answer), [Way.DECOMPOSE]).rewrite(Asked("q?"))
    assert found.queries == (Query("q?"),)
    assert found.failed == (Way.DECOMPOSE,)


async def test_a_model_that_fails_or_hangs_leaves_the_question() -> None:
    failing = QueryRewriter(says(error=GenerationFailed("no")), [Way.HYDE])
    hanging = QueryRewriter(Slow(), [Way.HISTORY, Way.HYDE], timeout_seconds=0.02)
    for rewriter in (failing, hanging):
        found = await rewriter.rewrite(Asked("q?", (("user", "before"),)))
        assert found.queries == (Query("q?"),)
        assert Way.HYDE in found.failed


async def test_there_are_never_many_queries_nor_long_ones() -> None:
    many = json.dumps([f"{n} " + "x" * 5_000 for n in range(50)])
    found = await QueryRewriter(says(many), [Way.DECOMPOSE, Way.HYDE]).rewrite(Asked("q?"))
    assert len(found.queries) == MAX_QUERIES + 1
    assert max(len(query.text) for query in found.queries) <= 1_000
