"""What every embedder keeps: the fake that other tests lean on, and the model that answers real questions."""

import asyncio
import random
from collections.abc import Iterator

import numpy as np
import pytest

from ragecho.engines.fakes import FakeEmbedder
from ragecho.engines.models.catalogue import BGE_SMALL_EN, MULTILINGUAL_E5_SMALL
from ragecho.engines.models.embedder import OnnxEmbedder
from ragecho.engines.models.store import default_model_dir, missing_files
from ragecho.ports.embedder import Embedder

pytestmark = pytest.mark.anyio

RELATED = (
    ("How many vacation days do employees get?", "Employees get 25 vacation days each year."),
    ("How is the pump serviced?", "The pump is serviced by replacing its filter every six months."),
    ("Who signs a purchase order?", "A purchase order is valid when the head of finance signs it."),
)
ODD_TEXTS = (
    "",
    " \n\t ",
    "日本語の文書です。",
    "Ünïcödé ﬁligature 👩‍👩‍👧 مرحبا",
    "\u0000\u200b",
    "a" * 5_000,
    "word " * 20_000,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def onnx() -> Iterator[OnnxEmbedder]:
    if missing_files(default_model_dir(), BGE_SMALL_EN):
        pytest.skip("bge-small-en-v1.5 is not fetched: python -m ragecho.engines.models.fetch")
    made = OnnxEmbedder(BGE_SMALL_EN, default_model_dir(), threads=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def multilingual() -> Iterator[OnnxEmbedder]:
    if missing_files(default_model_dir(), MULTILINGUAL_E5_SMALL):
        pytest.skip("multilingual-e5-small is not fetched: ragecho models fetch multilingual-e5-small")
    made = OnnxEmbedder(MULTILINGUAL_E5_SMALL, default_model_dir(), threads=2)
    yield made
    made.close()


@pytest.fixture(params=["onnx", "multilingual", "fake"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return FakeEmbedder() if request.param == "fake" else request.getfixturevalue(request.param)


def passages(count: int) -> list[str]:
    words = [
        "pump",
        "filter",
        "invoice",
        "holiday",
        "engine",
        "contract",
        "signature",
        "water",
        "court",
        "molecule",
        "teacher",
        "budget",
    ]
    chooser = random.Random(7)
    return [" ".join(chooser.choices(words, k=chooser.randint(1, 60))) for _ in range(count)]


async def test_vectors_are_float32_of_unit_length(embedder: Embedder) -> None:
    vectors = await embedder.embed_passages(passages(5))
    query = await embedder.embed_query("a question")
    assert vectors.dtype == query.dtype == np.float32
    assert vectors.shape == (5, embedder.dimensions)
    assert query.shape == (embedder.dimensions,)
    np.testing.assert_allclose(np.linalg.norm(np.vstack([vectors, query]), axis=1), 1, atol=1e-5)


async def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    vectors = await embedder.embed_passages([])
    assert vectors.shape == (0, embedder.dimensions)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: repr(text[:12]))
async def test_any_text_has_a_finite_unit_vector(embedder: Embedder, text: str) -> None:
    for vector in (await embedder.embed_query(text), (await embedder.embed_passages([text]))[0]):
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


async def test_a_text_has_the_same_vector_alone_in_a_batch_and_in_another_order(embedder: Embedder) -> None:
    texts = passages(12)
    together = await embedder.embed_passages(texts)
    reversed_order = (await embedder.embed_passages(texts[::-1]))[::-1]
    alone = np.vstack([await embedder.embed_passages([text]) for text in texts])
    np.testing.assert_array_equal(together, reversed_order)
    np.testing.assert_array_equal(together, alone)


async def test_concurrent_calls_get_their_own_vectors(embedder: Embedder) -> None:
    groups = [passages(40)[start : start + size] for start, size in ((0, 20), (20, 1), (21, 7), (28, 12), (3, 0))]
    expected = [await embedder.embed_passages(group) for group in groups]
    found = await asyncio.gather(*(embedder.embed_passages(group) for group in groups))
    for vectors, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(vectors, wanted)


async def test_a_question_is_nearest_to_the_passage_that_answers_it(embedder: Embedder) -> None:
    vectors = await embedder.embed_passages([passage for _, passage in RELATED])
    for index, (question, _) in enumerate(RELATED):
        assert int(np.argmax(vectors @ await embedder.embed_query(question))) == index


@pytest.mark.parametrize("question", ["Wie wird die Pumpe gewartet?", "¿Cómo se mantiene la bomba?", "水泵如何维护？"])
async def test_a_question_in_another_language_is_nearest_to_its_answer(
    multilingual: OnnxEmbedder, question: str
) -> None:
    vectors = await multilingual.embed_passages([passage for _, passage in RELATED])
    assert int(np.argmax(vectors @ await multilingual.embed_query(question))) == 1


async def test_a_query_vector_cannot_be_spoilt_by_who_got_it_before(embedder: Embedder) -> None:
    first = (await embedder.embed_query("shared?")).copy()
    again = await embedder.embed_query("shared?")
    if again.flags.writeable:
        again[:] = 0
    np.testing.assert_array_equal(await embedder.embed_query("shared?"), first)


async def test_token_offsets_point_into_the_text_in_order_and_are_not_cut(embedder: Embedder) -> None:
    text = "Größe: naïve 👩 café 日本. " * 300
    (offsets,) = embedder.tokens.offsets([text])
    assert len(offsets) > embedder.max_tokens
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    assert offsets == sorted(offsets)
    assert "café" in {text[start:end] for start, end in offsets}
    assert embedder.tokens.offsets(["", "one"]) == [[], [(0, 3)]]


def test_tokens_are_counted_as_they_are_found(embedder: Embedder) -> None:
    texts = [
        "",
        "one",
        "Où est l'île? 図書館はどこですか。",
        "A rather unbelievably long-winded 12,5 % of it.\n\n| a | b |",
    ]
    assert embedder.tokens.counts(texts) == [len(found) for found in embedder.tokens.offsets(texts)]


async def test_a_cancelled_call_leaves_the_embedder_usable(embedder: Embedder) -> None:
    call = asyncio.ensure_future(embedder.embed_passages(passages(30)))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (await embedder.embed_passages(["after"])).shape == (1, embedder.dimensions)


async def test_a_query_does_not_wait_for_the_passages_before_it(onnx: OnnxEmbedder) -> None:
    ingest = asyncio.ensure_future(onnx.embed_passages(["the long report continues " * 100] * 60))
    await asyncio.sleep(0)
    await onnx.embed_query("asked while sixty long passages are being embedded")
    assert not ingest.done()
    ingest.cancel()
    await asyncio.gather(ingest, return_exceptions=True)


async def test_the_event_loop_stays_free_while_passages_are_embedded(onnx: OnnxEmbedder) -> None:
    ingest = asyncio.ensure_future(onnx.embed_passages(passages(60)))
    turns = 0
    while not ingest.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100


async def test_a_question_has_the_same_vector_alone_and_among_others() -> None:
    asked = passages(12)
    made = OnnxEmbedder(BGE_SMALL_EN, default_model_dir(), threads=2, query_cache_entries=0)
    try:
        among_others = [await made.embed_query(asked[0]), *await asyncio.gather(*map(made.embed_query, asked[1:]))]
        assert made._loading_alone is not None
        await made._loading_alone
        assert made._alone is not None
        made._crowded_until = 0.0
        assert made._free_model() is made._alone
        alone = [await made.embed_query(text) for text in asked]
    finally:
        made.close()
    for one, other in zip(alone, among_others, strict=True):
        assert np.array_equal(one, other)


async def test_a_repeated_query_is_answered_from_the_cache(onnx: OnnxEmbedder) -> None:
    hits = onnx.cache_hits
    first = await onnx.embed_query("asked twice")
    assert await onnx.embed_query("asked twice") is first
    assert onnx.cache_hits == hits + 1


async def test_the_query_cache_forgets_the_oldest() -> None:
    if missing_files(default_model_dir(), BGE_SMALL_EN):
        pytest.skip("bge-small-en-v1.5 is not fetched: python -m ragecho.engines.models.fetch")
    embedder = OnnxEmbedder(BGE_SMALL_EN, default_model_dir(), query_cache_entries=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        await embedder.embed_query(text)
    assert (embedder.cache_hits, embedder.cache_misses) == (2, 4)
    embedder.close()


async def test_a_text_is_cut_at_the_models_limit(onnx: OnnxEmbedder) -> None:
    longest = "pump " * (onnx.max_tokens - 2)
    vectors = await onnx.embed_passages([longest, longest + "filter " * 50])
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_the_same_embedder_serves_one_event_loop_after_another(onnx: OnnxEmbedder) -> None:
    async def embed() -> np.ndarray:
        return await onnx.embed_passages(["x", "y"])

    np.testing.assert_array_equal(asyncio.run(embed()), asyncio.run(embed()))
