import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from types import ModuleType

import anyio
import pytest

from ragecho.engines.generation import (
    CallRecord,
    FallbackGenerator,
    GenerationSettings,
    OpenAIGenerator,
    PriceTable,
    ProviderBusy,
    ScriptedGenerator,
    build_generators,
)
from ragecho.kernel.errors import ConfigurationError, EchoError, GenerationFailed, RateLimited
from ragecho.ports.generator import Delta, Generator, Message

pytestmark = pytest.mark.anyio
WORDS = "one two three four"
PROMPT = [Message("system", "Repeat."), Message("user", WORDS)]


def load_server_module() -> ModuleType:
    # Test folders are no packages (importlib mode), so the neighbour is loaded by its path.
    spec = importlib.util.spec_from_file_location("openai_server", Path(__file__).with_name("openai_server.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


openai_server = load_server_module()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[object]:
    with openai_server.running_server() as found:
        yield found


Make = Callable[..., OpenAIGenerator]


@pytest.fixture
async def make(server: "openai_server.ProtocolServer") -> AsyncIterator[Make]:
    made: list[OpenAIGenerator] = []

    def build(model: str, **options: object) -> OpenAIGenerator:
        settings = {"api_key": "secret-key", "base_url": server.base_url, "timeout_seconds": 10.0, "max_retries": 0}
        generator = OpenAIGenerator(model, **(settings | options))
        made.append(generator)
        return generator

    yield build
    for generator in made:
        await generator.aclose()


async def collect(generator: Generator, *, max_tokens: int = 50, prompt: list[Message] | None = None) -> list[Delta]:
    return [delta async for delta in generator.stream(prompt or PROMPT, max_tokens=max_tokens)]


# The contract: every engine, and a real server where there is one.


@pytest.fixture(params=["openai", "scripted", "fallback", "real"])
async def generator(request: pytest.FixtureRequest, make: Make) -> AsyncIterator[Generator]:
    scripted = ScriptedGenerator("fake:script", ["one ", "two ", "three ", "four "])
    if request.param == "openai":
        yield make("echo")
    elif request.param == "scripted":
        yield scripted
    elif request.param == "fallback":
        yield FallbackGenerator([make("fail-500"), make("echo")])
    else:
        url = os.environ.get("RAGECHO_TEST_OPENAI_BASE_URL")
        if not url:
            pytest.skip("RAGECHO_TEST_OPENAI_BASE_URL names no real server")
        model = os.environ.get("RAGECHO_TEST_OPENAI_MODEL", "default")
        yield make(model, base_url=url, provider="openai-compatible", timeout_seconds=120.0)


async def test_a_stream_is_text_and_ends_with_usage_and_model(generator: Generator) -> None:
    deltas = await collect(generator)
    assert "".join(d.text for d in deltas).strip()
    assert all(d.usage is None for d in deltas[:-1])
    last = deltas[-1]
    assert last.usage is not None
    assert last.usage.input_tokens > 0
    assert last.usage.output_tokens > 0
    assert last.model
    assert ":" in last.model
    assert ":" in generator.name


async def test_max_tokens_is_kept(generator: Generator) -> None:
    deltas = await collect(generator, max_tokens=2)
    assert deltas[-1].usage is not None
    assert 1 <= deltas[-1].usage.output_tokens <= 2


async def test_streams_of_one_generator_run_side_by_side(generator: Generator) -> None:
    texts: list[str] = []

    async def one() -> None:
        texts.append("".join(d.text for d in await collect(generator, max_tokens=4)))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(one)
    assert len(texts) == 4
    assert all(text.strip() for text in texts)


async def test_a_reader_may_leave_in_the_middle(generator: Generator) -> None:
    async with aclosing(generator.stream(PROMPT, max_tokens=50)) as stream:  # type: ignore[type-var]  # async generators all
        async for delta in stream:
            if delta.text:
                break
    assert await collect(generator)


# The protocol: what only a server that misbehaves on request can show.


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("fail-500", "provider_error"),
        ("quota", "quota"),
        ("bad-key", "credentials"),
        ("missing", "model_not_found"),
        ("context", "context_length"),
        ("context-words", "context_length"),
        ("empty", "empty"),
        ("filtered", "content_filter"),
        ("drop", "interrupted"),
        ("ends-early", "interrupted"),
        ("garbage", "interrupted"),
        ("error-event", "provider_error"),
    ],
)
async def test_each_failure_has_a_reason_and_repeats_nothing(make: Make, model: str, reason: str) -> None:
    with pytest.raises(GenerationFailed) as caught:
        await collect(make(model))
    assert caught.value.facts["reason"] == reason
    for private in ("secret-key", WORDS, "private failure", "Repeat."):
        assert private not in caught.value.message
        assert private not in str(caught.value.facts)


async def test_a_rate_limit_says_when_to_come_back(make: Make) -> None:
    with pytest.raises(RateLimited) as caught:
        await collect(make("fail-429"))
    assert isinstance(caught.value, GenerationFailed)  # so that whoever has another way takes it
    assert caught.value.facts["retry_after_seconds"] == 7.0


@pytest.mark.parametrize("model", ["hang", "stall"])
async def test_silence_is_a_timeout(make: Make, model: str) -> None:
    with pytest.raises(GenerationFailed) as caught:
        await collect(make(model, timeout_seconds=0.2))
    assert caught.value.facts["reason"] == "timeout"


async def test_an_endless_answer_meets_the_total_limit(make: Make) -> None:
    with pytest.raises(GenerationFailed) as caught:
        await collect(make("endless", total_seconds=0.5))
    assert caught.value.facts["reason"] == "timeout"


async def test_a_server_that_is_not_there_is_unreachable(make: Make) -> None:
    with pytest.raises(GenerationFailed) as caught:
        await collect(make("echo", base_url="http://127.0.0.1:9/v1"))
    assert caught.value.facts["reason"] == "unreachable"


async def test_leaving_closes_the_providers_connection(make: Make, server: "openai_server.ProtocolServer") -> None:
    server.closed_early.clear()
    async with aclosing(make("endless").stream(PROMPT, max_tokens=50)) as stream:  # type: ignore[type-var]  # async generator
        async for delta in stream:
            if delta.text == "more ":
                break
    assert await anyio.to_thread.run_sync(server.closed_early.wait, 10)


async def test_a_call_that_failed_before_it_began_is_retried(
    make: Make, server: "openai_server.ProtocolServer"
) -> None:
    server.calls.pop("flaky", None)
    deltas = await collect(make("flaky", max_retries=1))
    assert "".join(d.text for d in deltas).strip() == WORDS
    assert server.calls["flaky"] == 2


@pytest.mark.parametrize(
    ("model", "provider"),
    [("fixed-temperature", "openai"), ("new-limit", "openai-compatible"), ("old-server", "openai")],
)
async def test_an_option_the_provider_refuses_is_left_out_from_then_on(
    make: Make, server: "openai_server.ProtocolServer", model: str, provider: str
) -> None:
    generator = make(model, provider=provider)
    assert "".join(d.text for d in await collect(generator)).strip() == WORDS
    before = server.calls[model]
    await collect(generator)
    assert server.calls[model] == before + 1


async def test_cost_follows_the_snapshot_that_answered_and_cached_tokens(make: Make) -> None:
    last = (await collect(make("snapshot")))[-1]
    assert last.model == "openai:gpt-4o-mini-2024-07-18"
    assert last.usage is not None
    assert last.usage.cost_usd == pytest.approx((600 * 0.15 + 400 * 0.075 + 4 * 0.6) / 1e6)


async def test_an_unknown_model_costs_nothing_known(make: Make) -> None:
    last = (await collect(make("echo")))[-1]
    assert last.usage is not None
    assert last.usage.cost_usd == 0


async def test_a_file_path_is_not_shown_as_the_model(make: Make) -> None:
    assert (await collect(make("file-path", provider="openai-compatible")))[-1].model == "openai-compatible:file-path"


async def test_missing_usage_is_zero_and_not_an_error(make: Make) -> None:
    last = (await collect(make("no-usage")))[-1]
    assert last.usage is not None
    assert last.usage.output_tokens == 0


async def test_fallback_over_http_answers_when_the_first_is_down(make: Make) -> None:
    calls: list[CallRecord] = []
    fallback = FallbackGenerator(
        [make("bad-key"), make("hang", timeout_seconds=0.2), make("echo")], on_call=calls.append
    )
    deltas = await collect(fallback)
    assert deltas[-1].model == "openai:echo"
    assert [call.outcome for call in calls] == ["credentials", "timeout", "ok"]


async def test_nothing_is_repeated_by_another_after_the_first_word(make: Make) -> None:
    second = ScriptedGenerator("fake:b", ["never"])
    fallback = FallbackGenerator([make("drop"), second])
    texts: list[str] = []
    with pytest.raises(GenerationFailed):
        async for delta in fallback.stream(PROMPT, max_tokens=50):
            texts.append(delta.text)
    assert texts == ["one "]
    assert second.prompts == []


# Fallback and breaker, with a clock of our own.


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def down(name: str = "fake:down", error: EchoError | None = None) -> ScriptedGenerator:
    return ScriptedGenerator(name, [], error=error or GenerationFailed("no", reason="provider_error"))


async def test_a_failing_provider_is_left_alone_and_tried_again_later() -> None:
    clock, first, second = Clock(), down(), ScriptedGenerator("fake:b", ["ok"])
    fallback = FallbackGenerator([first, second], failures_to_open=2, open_seconds=30, clock=clock)
    for _ in range(4):
        assert (await collect(fallback))[-1].model == "fake:b"
    assert len(first.prompts) == 2
    clock.now += 31
    await collect(fallback)
    await collect(fallback)
    assert len(first.prompts) == 3
    clock.now += 31
    first.error = None
    first._pieces = ("well",)
    assert (await collect(fallback))[-1].model == "fake:down"
    assert (await collect(fallback))[-1].model == "fake:down"


async def test_a_request_that_is_too_long_does_not_count_against_the_provider() -> None:
    first = down(error=GenerationFailed("no", reason="context_length"))
    fallback = FallbackGenerator([first, ScriptedGenerator("fake:b", ["ok"])], failures_to_open=1)
    for _ in range(3):
        await collect(fallback)
    assert len(first.prompts) == 3


async def test_a_trial_that_was_given_up_leaves_room_for_the_next() -> None:
    clock, first = Clock(), down()
    fallback = FallbackGenerator([first], failures_to_open=1, open_seconds=30, clock=clock)
    with pytest.raises(GenerationFailed):
        await collect(fallback)
    clock.now += 31
    first.error = None
    first._pieces = ("a", "b")
    async with aclosing(fallback.stream(PROMPT, max_tokens=5)) as stream:  # type: ignore[type-var]  # async generator
        async for _ in stream:
            break
    assert (await collect(fallback))[-1].model == "fake:down"


async def test_when_all_fail_the_error_names_each_attempt() -> None:
    fallback = FallbackGenerator([down("a:x"), down("b:y", ProviderBusy("slow", retry_after_seconds=3))])
    with pytest.raises(GenerationFailed) as caught:
        await collect(fallback)
    assert caught.value.facts["attempts"] == [
        {"model": "a:x", "reason": "provider_error"},
        {"model": "b:y", "reason": "rate_limited"},
    ]


async def test_when_all_are_rate_limited_the_caller_is_too() -> None:
    limited = ProviderBusy("slow", retry_after_seconds=3)
    with pytest.raises(RateLimited):
        await collect(FallbackGenerator([down("a:x", limited), down("b:y", limited)]))


# Settings and prices.


def settings(**values: object) -> GenerationSettings:
    return GenerationSettings(_env_file=None, **values)  # type: ignore[arg-type]  # test shorthand


async def test_names_become_generators_in_order(server: "openai_server.ProtocolServer") -> None:
    found = settings(openai_api_key="k1", openai_compatible_base_url=server.base_url, openai_compatible_api_key="k2")
    built = build_generators(
        ["openai:gpt-5-mini", "extractive", "openai-compatible:org/echo", "ollama:llama3.2:1b"], found
    )
    assert [g.name for g in built] == ["openai:gpt-5-mini", "openai-compatible:org/echo", "ollama:llama3.2:1b"]
    await collect(built[1])
    assert server.keys[-1] == "Bearer k2"
    for generator in built:
        await generator.aclose()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("openai:gpt-5", "RAGECHO_OPENAI_API_KEY"),
        ("openai-compatible:x", "RAGECHO_OPENAI_COMPATIBLE_BASE_URL"),
        ("gpt-5", "RAGECHO_GENERATOR"),
        ("openai:", "RAGECHO_GENERATOR"),
        ("nobody:x", "RAGECHO_GENERATOR"),
    ],
)
def test_what_is_missing_is_named(name: str, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        build_generators([name], settings())


def test_prices_can_be_added_by_a_file(tmp_path: Path) -> None:
    extra = tmp_path / "prices.json"
    extra.write_text('{"models": {"mine": {"input": 1, "output": 2}}}')
    table = PriceTable.load(extra)
    price = table.find("mine")
    assert price is not None
    assert price.cost(input_tokens=1_000_000, output_tokens=500_000, cached_tokens=200_000) == pytest.approx(2.0)
    assert table.find("gpt-5") is not None
    assert table.find("gpt-5-unknown") is None
    extra.write_text("[]")
    with pytest.raises(ConfigurationError, match="RAGECHO_MODEL_PRICES"):
        PriceTable.load(extra)
