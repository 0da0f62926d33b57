"""Middlewares that refuse what must not get further: unstorable text, too large bodies, too many requests at once."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragecho.platform.http.problems import problem_response
from ragecho.platform.telemetry import metrics

# JSON and forms are held in memory to be checked; no route may raise their limit above this.
MAX_CHECKED_BYTES = 8 * 1024**2
# A body that trickles in holds a slot: the whole of a checked one must arrive within this.
BODY_TIMEOUT_SECONDS = 30.0

_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_ALWAYS_ANSWERED = frozenset({"/health", "/health/ready", "/metrics"})
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class _Limit:
    """The largest body, and the setting by which an administrator raises it."""

    size: int
    setting: str = ""


class ConcurrencyLimitMiddleware:
    """Answers at most `limit` requests at once; further ones get 503 with Retry-After instead of a growing queue."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application or refuse; health and metrics are always answered."""
        if scope["type"] != "http" or scope["path"] in _ALWAYS_ANSWERED:
            await self._app(scope, receive, send)
            return
        if self._running >= self._limit:
            metrics.HTTP_REFUSED.labels("concurrency").inc()
            detail = "The server is answering as many requests as it can; try again in a moment."
            refusal = problem_response(
                scope, status=503, code="unavailable", detail=detail, facts={"retry_after_seconds": 1}
            )
            await refusal(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1


class InputGuardMiddleware:
    """Refuses addresses and bodies that no route can handle, before a route sees them.

    `limits` maps path prefixes of uploads to the largest body in bytes; the longest match counts, `default_bytes` elsewhere.
    """

    def __init__(self, app: ASGIApp, default_bytes: int, limits: Mapping[str, int]) -> None:
        self._app = app
        self._default = _Limit(default_bytes, "RAGECHO_HTTP_MAX_BODY_BYTES")
        uploads = sorted(limits.items(), key=lambda item: -len(item[0]))
        self._limits = [(prefix, _Limit(size, "RAGECHO_HTTP_MAX_UPLOAD_BYTES")) for prefix, size in uploads]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a checked request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not _is_clean_address(scope):
            detail = "The address has a NUL or bytes that are not UTF-8."
            await problem_response(scope, status=400, code="malformed_request", detail=detail)(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length")
        if length in {None, "0"} and "transfer-encoding" not in headers and scope["method"] in _BODILESS:
            await self._app(scope, receive, send)
            return
        kind = _checked_kind(headers.get("content-type", ""))
        limit = self._limit_of(scope["path"])
        if kind and limit.size > MAX_CHECKED_BYTES:
            limit = _Limit(MAX_CHECKED_BYTES)
        if length is not None and (not length.isascii() or not length.isdigit() or int(length[:20]) > limit.size):
            await _refuse_size(scope, receive, send, limit)
        elif kind:
            await self._run_checked(scope, receive, send, kind, limit)
        else:
            await self._run_counted(scope, receive, send, limit)

    def _limit_of(self, path: str) -> _Limit:
        return next((limit for prefix, limit in self._limits if path.startswith(prefix)), self._default)

    async def _run_checked(self, scope: Scope, receive: Receive, send: Send, kind: str, limit: _Limit) -> None:
        """Read the whole body, check it, and hand it to the application in one piece."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                body = await _read_body(receive, limit.size)
        except TimeoutError:
            detail = "The body did not arrive in time."
            await problem_response(scope, status=408, code="request_timeout", detail=detail)(scope, receive, send)
            return
        if body is None:
            return  # the client left
        if len(body) > limit.size:
            await _refuse_size(scope, receive, send, limit)
            return
        fault = _json_fault(body) if kind == "json" else _form_fault(body)
        if fault:
            await problem_response(scope, status=422, code="invalid_input", detail=fault)(scope, receive, send)
            return
        is_given = False

        async def replay() -> Message:
            nonlocal is_given
            if is_given:
                return await receive()
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _run_counted(self, scope: Scope, receive: Receive, send: Send, limit: _Limit) -> None:
        """Count a streamed body; over the limit, whatever the application answers becomes 413."""
        seen = 0
        has_started = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit.size:
                raise _BodyTooLargeError
            return message

        async def replaced(message: Message) -> None:
            nonlocal has_started
            if seen > limit.size and not has_started:
                return
            has_started = True
            await send(message)

        try:
            await self._app(scope, counted, replaced)
        except Exception:
            if seen <= limit.size:
                raise
        if seen > limit.size and not has_started:
            await _refuse_size(scope, receive, send, limit)


class _BodyTooLargeError(Exception):
    """Stops whoever reads the body; never leaves this module."""


async def _refuse_size(scope: Scope, receive: Receive, send: Send, limit: _Limit) -> None:
    metrics.HTTP_REFUSED.labels("body").inc()
    remedy = f"; an administrator raises this by {limit.setting}." if limit.setting else "."
    detail = f"The body is larger than {limit.size} bytes{remedy}"
    refusal = problem_response(
        scope,
        status=413,
        code="too_large",
        detail=detail,
        facts={"max_bytes": limit.size} | ({"setting": limit.setting} if limit.setting else {}),
        headers={"Connection": "close"},
    )
    await refusal(scope, receive, send)


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """Return the body, or its beginning once it is over `limit`; None when the client left."""
    parts: list[bytes] = []
    size = 0
    while size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        parts.append(part)
        if not message.get("more_body", False):
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _checked_kind(content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return "json"
    return "form" if media_type == "application/x-www-form-urlencoded" else ""


def _is_storable(raw: bytes) -> bool:
    """Say whether `raw` is UTF-8 without NUL, as PostgreSQL's text must be."""
    if b"\x00" in raw:
        return False
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_clean_address(scope: Scope) -> bool:
    for raw in (scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass"), scope["query_string"]):
        if not _is_storable(unquote_to_bytes(raw) if b"%" in raw else raw):
            return False
    return True


def _form_fault(body: bytes) -> str | None:
    if _is_storable(unquote_to_bytes(body) if b"%" in body else body):
        return None
    return "The form has a NUL or bytes that are not UTF-8."


def _json_fault(body: bytes) -> str | None:
    """Return what makes a JSON body unstorable. Whether it is JSON at all is the parser's question."""
    if not _is_storable(body):
        return "The JSON text has a NUL or bytes that are not UTF-8."
    if b"\\u0000" in body and _NUL_ESCAPE.search(body):
        return "The JSON text has a NUL character in a string."
    if not _SURROGATE_ESCAPE.search(body):
        return None
    try:
        orjson.loads(body)  # unlike the standard library's, this parser refuses half a surrogate pair
    except orjson.JSONDecodeError:
        return "The JSON text is malformed or has half a surrogate pair."
    return None
