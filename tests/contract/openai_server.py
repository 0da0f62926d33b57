"""A local protocol server: it speaks OpenAI's chat completions over real HTTP on loopback, and fails on request.

It is no model. Its answers are the last message's words, and the model's name chooses how it misbehaves. What it does
was written after the observed behaviour of OpenAI and llama.cpp; the same tests run against a real server when
RAGECHO_TEST_OPENAI_BASE_URL names one.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

DEADLINE_SECONDS = 15.0


@dataclass
class ProtocolServer:
    """A running server, and what it was asked."""

    base_url: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    closed_early: threading.Event = field(default_factory=threading.Event)
    replies: Callable[[str], str] = str  # the last message's content to what is answered
    answering: dict[str, Any] = field(default_factory=dict)  # what `replies` is asked for
    hangs: Callable[[str], bool] = lambda _: False  # and to whether it is never answered


def refusal(status: int, code: str | None, message: str, param: str | None = None, **headers: str) -> Response:
    body = {"error": {"message": message, "type": "error", "code": code, "param": param}}
    return JSONResponse(body, status_code=status, headers=headers)


def refusal_of(model: str, body: dict[str, Any], number: int) -> Response | None:
    prompt = str(body["messages"])
    refusals = {
        "fail-500": refusal(500, None, f"boom {prompt}"),
        "fail-429": refusal(429, "rate_limit_exceeded", "slow", **{"retry-after": "7", "x-should-retry": "false"}),
        "quota": refusal(429, "insufficient_quota", "pay"),
        "bad-key": refusal(401, "invalid_api_key", "Incorrect API key provided: secret-key"),
        "missing": refusal(404, "model_not_found", "no such model"),
        "context": refusal(400, "context_length_exceeded", f"too long: {prompt}"),
        "context-words": refusal(400, None, "the request exceeds the available context size"),
    }
    if model in refusals:
        return refusals[model]
    if model == "flaky" and number == 1:
        return refusal(500, None, "once", **{"retry-after-ms": "1"})
    if model == "fixed-temperature" and "temperature" in body:
        return refusal(400, "unsupported_value", "no", param="temperature")
    if model == "new-limit" and "max_tokens" in body:
        return refusal(400, "unsupported_parameter", "Use 'max_completion_tokens' instead.", param="max_tokens")
    if model == "old-server" and ("stream_options" in body or "max_completion_tokens" in body):
        extra = "stream_options" if "stream_options" in body else "max_completion_tokens"
        return refusal(422, None, f"Extra inputs are not permitted: {extra}")
    return None


def sse(value: object) -> bytes:
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


def chunk(model: str, text: str | None, *, finish: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    return sse(body | ({"usage": usage} if usage else {}))


async def answer(server: ProtocolServer, body: dict[str, Any]) -> AsyncIterator[bytes]:
    model = body["model"]
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    server.answering = body
    words = [f"{word} " for word in server.replies(body["messages"][-1]["content"]).split()]
    shown = words[:limit]
    reported = {"snapshot": "gpt-4o-mini-2024-07-18", "file-path": "/srv/models/private.gguf"}.get(model, model)
    if model == "hang" or server.hangs(body["messages"][-1]["content"]):
        await asyncio.Event().wait()
    if model in {"empty", "filtered"}:
        yield chunk(reported, "", finish="stop" if model == "empty" else "content_filter")
        yield sse("[DONE]")
        return
    for number, word in enumerate(shown):
        if number == 1 and model == "drop":
            raise ConnectionResetError("dropped on purpose")
        if number == 1 and model == "ends-early":
            return
        if number == 1 and model == "garbage":
            yield b"data: {not json\n\n"
        if number == 1 and model == "error-event":
            yield sse({"error": {"message": "private failure", "code": None}})
            return
        if number == 1 and model in {"stall", "endless"}:
            try:
                while model == "endless":
                    await asyncio.sleep(0.01)
                    yield chunk(reported, "more ")
                await asyncio.Event().wait()
            finally:
                server.closed_early.set()
        yield chunk(reported, word)
    yield chunk(reported, "", finish="stop" if len(shown) == len(words) else "length")
    if body.get("stream_options", {}).get("include_usage") and model != "no-usage":
        usage: dict[str, Any] = {"prompt_tokens": 1000, "completion_tokens": len(shown), "total_tokens": 1000}
        if model == "snapshot":
            usage["prompt_tokens_details"] = {"cached_tokens": 400}
        yield chunk(reported, None, usage=usage)
    yield sse("[DONE]")


def make_app(server: ProtocolServer) -> Starlette:
    async def complete(request: Request) -> Response:
        body = await request.json()
        model = body["model"]
        server.calls[model] += 1
        server.bodies.append(body)
        server.keys.append(request.headers.get("authorization", ""))
        refused = refusal_of(model, body, server.calls[model])
        return refused or StreamingResponse(answer(server, body), media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])


@contextmanager
def running_server() -> Iterator[ProtocolServer]:
    """Run the server in a thread on a free port for the time of the block."""
    found = ProtocolServer()
    config = uvicorn.Config(make_app(found), host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError("the protocol server did not start")
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    found.base_url = f"http://127.0.0.1:{port}/v1"
    try:
        yield found
    finally:
        server.should_exit = server.force_exit = True
        thread.join(DEADLINE_SECONDS)
