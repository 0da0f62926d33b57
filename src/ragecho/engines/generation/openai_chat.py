"""OpenAI's chat completions, as OpenAI itself, vLLM, llama.cpp, Ollama and many others speak them."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

import httpx2
import openai
import structlog
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk
from openai.types.completion_usage import CompletionUsage

from ragecho.engines.generation.errors import ProviderBusy
from ragecho.engines.generation.prices import PriceTable
from ragecho.kernel.errors import EchoError, GenerationFailed
from ragecho.kernel.passages import Usage
from ragecho.ports.generator import Delta, Message

log = structlog.get_logger(logger_name=__name__)

OPENAI_BASE_URL = "https://api.openai.com/v1"
DEFAULT_RETRY_AFTER_SECONDS = 5.0
# Options that some servers or models refuse; the call is repeated without the one that a 400 names.
_OPTIONAL = ("temperature", "stream_options", "max_completion_tokens", "max_tokens")
_WORD = re.compile(r"[a-z0-9_.-]{1,60}")


class OpenAIGenerator:
    """A `Generator` over the official SDK. Safe for concurrent use from one event loop; `aclose` it at the end.

    `timeout_seconds` bounds each silence of the provider, `total_seconds` the whole answer. `api_key` None is for servers
    without keys. Raises `ProviderBusy` for 429, `GenerationFailed` with a stable `reason` for everything else; messages
    never repeat the provider's text, which may quote the prompt or the key.
    """

    def __init__(
        self,
        model: str,
        *,
        provider: str = "openai",
        api_key: str | None = None,
        base_url: str | None = None,
        timeout_seconds: float = 60.0,
        total_seconds: float = 300.0,
        max_retries: int = 2,
        prices: PriceTable | None = None,
    ) -> None:
        self._model = model
        self._provider = provider
        self._timeout_seconds = timeout_seconds
        self._total_seconds = total_seconds
        self._prices = prices or PriceTable.load()
        self._refused: set[str] = set()
        # The address is always given: the SDK would otherwise read its own environment variable.
        self._client = AsyncOpenAI(
            api_key=api_key or "none",
            base_url=base_url or OPENAI_BASE_URL,
            timeout=openai.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)),
            max_retries=max_retries,
        )

    @property
    def name(self) -> str:
        """provider:model."""
        return f"{self._provider}:{self._model}"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncIterator[Delta]:
        """Yield the answer as it is made; the last piece has no text and carries usage and model."""
        deadline = asyncio.get_running_loop().time() + self._total_seconds
        answer = _Answer()
        try:
            async with asyncio.timeout_at(deadline):
                chunks = await self._open(messages, max_tokens=max_tokens, temperature=temperature)
            async with aclosing(_until(chunks, deadline)) as arriving:
                async for chunk in arriving:
                    text = answer.take(chunk)
                    if text:
                        yield Delta(text)
        except EchoError:
            raise
        except (openai.OpenAIError, httpx2.HTTPError, TimeoutError, OSError, ValueError) as error:
            raise self._mapped(error, has_begun=answer.has_text) from error
        if not answer.finish_reason:
            raise self._failure("interrupted", "ended its answer in the middle")
        if not answer.has_text:
            reason = "content_filter" if answer.finish_reason == "content_filter" else "empty"
            raise self._failure(reason, "gave no text")
        yield Delta("", usage=self._usage(answer), model=self._real_name(answer.model))

    async def _open(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncStream[ChatCompletionChunk]:
        """Begin the call; options that the provider turns out not to know are left out from then on."""
        while True:
            options = self._options(max_tokens, temperature)
            try:
                stream = await self._client.chat.completions.create(
                    model=self._model,
                    messages=cast(Any, [{"role": m.role, "content": m.content} for m in messages]),
                    stream=True,
                    **options,
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refused = _refused_option(error, options)
                if refused is None:
                    raise
                log.info("generation.option_refused", model=self.name, option=refused)
                self._refused.add(refused)
            else:
                return cast(AsyncStream[ChatCompletionChunk], stream)

    def _options(self, max_tokens: int, temperature: float) -> dict[str, Any]:
        # OpenAI's newer models refuse `max_tokens`; older compatible servers know nothing else.
        limits = ["max_completion_tokens", "max_tokens"]
        if self._provider != "openai":
            limits.reverse()
        options: dict[str, Any] = {"temperature": temperature, "stream_options": {"include_usage": True}}
        for limit in limits:
            if limit not in self._refused:
                options[limit] = max_tokens
                break
        return {name: value for name, value in options.items() if name not in self._refused}

    def _usage(self, answer: "_Answer") -> Usage:
        usage = answer.usage
        if usage is None:
            log.warning("generation.usage_missing", model=self.name)
            return Usage()
        price = self._prices.find(answer.model or self._model) or self._prices.find(self._model)
        if price is None or self._provider != "openai":
            # Own servers bill nobody by the token; another provider's price is not known by the model's name.
            if self._provider == "openai":
                log.warning("generation.price_unknown", model=self.name)
            return Usage(usage.prompt_tokens, usage.completion_tokens)
        details = usage.prompt_tokens_details
        cached = (details.cached_tokens or 0) if details else 0
        cost = price.cost(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, cached_tokens=cached)
        return Usage(usage.prompt_tokens, usage.completion_tokens, cost)

    def _real_name(self, model: str | None) -> str:
        # llama.cpp reports the path of its file, which is nobody's business.
        if not model or model.startswith(("/", ".", "\\")) or model.endswith(".gguf") or model[1:2] == ":":
            return self.name
        return f"{self._provider}:{model}"

    def _failure(self, reason: str, words: str) -> GenerationFailed:
        return GenerationFailed(f"The model {self.name} {words}.", reason=reason, model=self.name)

    def _mapped(self, error: Exception, *, has_begun: bool) -> EchoError:
        """Return what `error` means to us."""
        if isinstance(error, openai.RateLimitError) and error.code != "insufficient_quota":
            seconds = _retry_after(error.response.headers)
            message = f"The provider of {self.name} asks to slow down."
            return ProviderBusy(message, retry_after_seconds=seconds, model=self.name)
        if isinstance(error, (openai.APITimeoutError, TimeoutError, httpx2.TimeoutException)):
            return self._failure("timeout", "did not answer in time")
        if isinstance(error, openai.APIStatusError):
            return self._failure(*_status_reason(error))
        if isinstance(error, openai.APIConnectionError) and not has_begun:
            return self._failure("unreachable", "cannot be reached")
        if isinstance(error, openai.APIError) and not isinstance(error, openai.APIConnectionError):
            return self._failure("provider_error", "reported an error")
        return self._failure("interrupted", "broke off")


class _Answer:
    """What the chunks of one answer add up to."""

    __slots__ = ("finish_reason", "has_text", "model", "usage")

    def __init__(self) -> None:
        self.has_text = False
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.usage: CompletionUsage | None = None

    def take(self, chunk: ChatCompletionChunk) -> str:
        """Add `chunk` and return its text."""
        self.model = chunk.model or self.model
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        text = (choice.delta.content or "") if choice.delta else ""
        self.has_text = self.has_text or bool(text)
        return text


async def _until(
    chunks: AsyncStream[ChatCompletionChunk], deadline: float
) -> AsyncGenerator[ChatCompletionChunk, None]:
    """Yield `chunks` until the deadline, and close the connection however this ends.

    The timeout is entered anew for each chunk: one that spanned a `yield` would cancel the reader's own work.
    """
    arriving = aiter(chunks)
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                try:
                    chunk = await anext(arriving)
                except StopAsyncIteration:
                    return
            yield chunk
    finally:
        await chunks.close()


def _refused_option(error: openai.APIStatusError, options: Mapping[str, object]) -> str | None:
    """Return the option that the provider's refusal names, if we sent it and can do without."""
    named = error.param or ""
    if named in options and named in _OPTIONAL:
        return named
    text = str(error.body)[:2000]
    return next((name for name in _OPTIONAL if name in options and re.search(rf"\b{name}\b", text)), None)


def _status_reason(error: openai.APIStatusError) -> tuple[str, str]:
    code = error.code if isinstance(error.code, str) and _WORD.fullmatch(error.code) else ""
    if code == "insufficient_quota":
        return "quota", "is out of quota"
    if code in {"context_length_exceeded", "exceed_context_size_error"} or _is_context_error(error):
        return "context_length", "cannot read a prompt this long"
    by_status = {
        401: ("credentials", "refused our key"),
        403: ("credentials", "refused our key"),
        404: ("model_not_found", "does not exist at its provider"),
        400: ("refused", "refused the request"),
        422: ("refused", "refused the request"),
    }
    return by_status.get(error.status_code, ("provider_error", f"failed with status {error.status_code}"))


def _is_context_error(error: openai.APIStatusError) -> bool:
    # vLLM and llama.cpp say it in words only.
    return error.status_code == 400 and "context" in str(error.body)[:2000].lower()  # noqa: PLR2004 - bad request


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return DEFAULT_RETRY_AFTER_SECONDS
    return min(max(seconds, 0.0), 3600.0) if seconds == seconds else DEFAULT_RETRY_AFTER_SECONDS  # noqa: PLR0124 - NaN
