"""The middleware around everything: request id, trace, access log, metrics, and the last catch for what nobody expected.

Written against ASGI itself: Starlette's BaseHTTPMiddleware and the stock instrumentation cost more than a whole search
may take (they spawn a task per request and copy every message).
"""

import re
import time
from contextlib import ExitStack

import structlog
from opentelemetry.trace import Span, SpanKind
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragecho.kernel.errors import EchoError
from ragecho.kernel.ids import uuid7
from ragecho.platform.audit_log import client_address
from ragecho.platform.http.problems import echo_problem, internal_problem, status_of
from ragecho.platform.telemetry import get_logger, metrics, span
from ragecho.platform.telemetry.logs import forget_caller
from ragecho.platform.telemetry.tracing import extract

log = get_logger("ragecho.http")

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked for every few seconds by machines; logged only when something is wrong.
_QUIET_ROUTES = frozenset({"/health", "/health/ready", "/metrics"})
CLIENT_CLOSED = 499


class ObservabilityMiddleware:
    """Gives every request an id and a trace, and accounts for it when the last byte is out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; an exception that reaches this point becomes a problem without details."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, carrier = _read_headers(scope)
        exchange = _Exchange(scope, send, request_id)
        forget_caller()
        client = scope.get("client")
        client_address.set(client[0] if client else None)
        with ExitStack() as stack:
            stack.enter_context(structlog.contextvars.bound_contextvars(request_id=request_id))
            current = stack.enter_context(
                span(f"HTTP {exchange.method}", kind=SpanKind.SERVER, parent=extract(carrier) if carrier else None)
            )
            metrics.HTTP_IN_PROGRESS.inc()
            try:
                await self._app(scope, receive, exchange.send)
            except ClientDisconnect:
                exchange.status = exchange.status or CLIENT_CLOSED
            except Exception as error:  # noqa: BLE001 - the last catch; `fail` logs it
                await exchange.fail(error, receive)
            finally:
                metrics.HTTP_IN_PROGRESS.dec()
                exchange.account(current)
                forget_caller()


class _Exchange:
    """One request and what has been sent for it so far."""

    __slots__ = ("_request_id", "_scope", "_send", "_started", "is_complete", "method", "sent_bytes", "status")

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id.encode("ascii")
        self._started = time.perf_counter()
        self.method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self.status = 0
        self.sent_bytes = 0
        self.is_complete = False

    async def send(self, message: Message) -> None:
        """Pass `message` on, with the request id on its start."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self._request_id)]
        elif message["type"] == "http.response.body":
            self.sent_bytes += len(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)
        await self._send(message)

    async def fail(self, error: Exception, receive: Receive) -> None:
        """Log `error` and answer with a problem, unless the answer has begun: then the server cuts the connection."""
        if isinstance(error, EchoError) and status_of(error) != 500:  # noqa: PLR2004 - the one status that hides its cause
            response = echo_problem(self._scope, error)
        else:
            log.error("http.failed", method=self.method, route=route_template(self._scope), exc_info=error)
            response = internal_problem(self._scope)
        if not self.status:
            await response(self._scope, receive, self.send)

    def account(self, current: Span) -> None:
        """Write the access log line, the metrics and the span's facts."""
        seconds = time.perf_counter() - self._started
        route = route_template(self._scope)
        # No status: cancelled before an answer began. Not complete: the reader left, or the answer broke off.
        status = self.status or CLIENT_CLOSED
        metrics.observe_request(self.method, route, status, seconds)
        if current.is_recording():
            current.update_name(f"{self.method} {route}")
            current.set_attributes(
                {"http.request.method": self.method, "http.route": route, "http.response.status_code": status}
            )
        write = log.info if status < 500 else log.warning  # noqa: PLR2004 - server errors
        if route in _QUIET_ROUTES:
            write = log.debug
        write(
            "http.request",
            method=self.method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 2),
            bytes=self.sent_bytes,
            **({} if self.is_complete else {"is_complete": False}),
        )


def _read_headers(scope: Scope) -> tuple[str, dict[str, str]]:
    """Return the request id (taken over when sane, else new) and the trace headers."""
    request_id = ""
    carrier: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            request_id = value.decode("ascii")
        elif name in {b"traceparent", b"tracestate"}:
            carrier[name.decode("ascii")] = value.decode("latin-1")
    return request_id or str(uuid7()), carrier


def route_template(scope: Scope) -> str:
    """Return the route's template (never the path: it has ids, and its values are unbounded)."""
    route = scope.get("route")
    if route is not None:
        # An included router's routes know only their own part; FastAPI leaves the whole in the effective context.
        effective = scope.get("fastapi", {}).get("effective_route_context")
        found = getattr(effective or route, "path_format", None) or getattr(route, "path", None)
        return f"{_mount(scope)}{found}" if found else "unnamed"
    mount = _mount(scope)
    return f"{mount}/*" if mount else "unmatched"


def _mount(scope: Scope) -> str:
    """Return where the sub-application that answered is mounted; the server's own root path does not count."""
    root = str(scope.get("root_path", ""))
    outer = str(scope.get("app_root_path", ""))
    return root.removeprefix(outer)
