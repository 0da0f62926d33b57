"""What both clients share around a request: how it is built, when it is tried again, what its failures mean."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from ragecho_sdk.calls import Call
from ragecho_sdk.errors import (
    ERRORS_BY_STATUS,
    EchoAPIError,
    EchoConnectionError,
    EchoError,
    EchoProtocolError,
    EchoTimeoutError,
)

T = TypeVar("T")

DEFAULT_SERVER = "http://127.0.0.1:8000"
VERSION = "0.1.0"
MAX_RETRY_AFTER_SECONDS = 30.0
SHORT_TIMEOUT_SECONDS = 5.0
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Connection:
    """Where and as whom to call."""

    server: str
    api_key: str | None
    workspace: str | None
    timeout_seconds: float
    max_retries: int
    auth: httpx.Auth | None = None

    def client_options(self) -> dict[str, Any]:
        """Return the arguments of `httpx.Client` and `httpx.AsyncClient`."""
        headers = {"User-Agent": f"ragecho-sdk/{VERSION}", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.workspace:
            headers["X-Workspace-ID"] = self.workspace
        return {
            "base_url": self.server,
            "headers": headers,
            "auth": self.auth,
            "timeout": httpx.Timeout(self.timeout_seconds, connect=min(10.0, self.timeout_seconds)),
            # A proxy of the surroundings cannot reach this machine's own loopback.
            "trust_env": not is_loopback(self.server),
            # Reading the certificate store takes 0.1 s, and a plain address (redirects are not followed) never needs it.
            "verify": self.server.startswith("https:"),
        }


def is_loopback(url: str) -> bool:
    """Return whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def plain_options(url: str) -> dict[str, Any]:
    """Return the arguments of an httpx client for one short request to `url`; redirects are not followed."""
    return {
        "timeout": SHORT_TIMEOUT_SECONDS,
        "trust_env": not is_loopback(url),
        "verify": url.startswith("https:"),
    }


def check_server(server: str) -> str:
    """Return the server's address without a trailing slash; raise `ValueError` when it is no http(s) address."""
    parts = urlsplit(server)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"'{server}' is not an address like {DEFAULT_SERVER}.")
    return server.rstrip("/")


@contextmanager
def request_arguments(call: Call[Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of `client.request` or `.stream`; files stay open meanwhile and are read as they are sent."""
    with ExitStack() as stack:
        arguments: dict[str, Any] = {"method": call.method, "url": call.path, "params": dict(call.params)}
        if call.body is not None:
            arguments["json"] = call.body
        if call.headers:
            arguments["headers"] = dict(call.headers)
        if call.content is not None:
            arguments["content"] = call.content
        if call.sources:
            arguments["data"] = call.form
            arguments["files"] = [(call.source_field, _part(source, stack)) for source in call.sources]
        yield arguments


def _part(source: Any, stack: ExitStack) -> tuple[str, Any]:
    if isinstance(source, tuple):
        return source
    path = Path(source)
    return path.name, stack.enter_context(path.open("rb"))


def read_answer(call: Call[T], response: httpx.Response) -> T:
    """Return the call's value; raise the error that the response stands for."""
    if response.is_error or response.is_redirect:
        raise api_error(response)
    if call.is_binary:
        return call.read(response.content)
    if not response.content:
        return call.read({})
    try:
        data = response.json()
    except ValueError:
        raise EchoProtocolError(
            f"{response.url.copy_with(query=None)} answered without JSON; is this the address of an Echo server?"
        ) from None
    return call.read(data)


def api_error(response: httpx.Response) -> EchoAPIError:
    """Return the error of a refused request; its body has been read."""
    problem: dict[str, Any] = {}
    try:
        body = response.json()
        problem = body if isinstance(body, dict) else {}
    except ValueError:
        pass  # a proxy's HTML page, say: the status is all there is
    detail = problem.get("detail") or problem.get("title") or response.reason_phrase or "The server refused."
    kind = ERRORS_BY_STATUS.get(response.status_code, EchoAPIError)
    return kind(
        response.status_code,
        str(problem.get("code") or f"http_{response.status_code}"),
        detail if isinstance(detail, str) else str(detail),
        response.headers.get("X-Request-ID") or problem.get("request_id"),
        problem=problem,
        retry_after_seconds=retry_after_seconds(response),
    )


def transport_error(error: httpx.HTTPError, connection: Connection) -> EchoError:
    """Return the client's own error for one of httpx, in a line that names the server."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return EchoConnectionError(f"No Echo server answers at {connection.server}.")
    if isinstance(error, httpx.TimeoutException):
        return EchoTimeoutError(f"{connection.server} did not answer within {connection.timeout_seconds:g} seconds.")
    reason = str(error) or type(error).__name__
    return EchoConnectionError(f"The connection to {connection.server} broke: {reason}")


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Return the `Retry-After` of a response (RFC 9110, 10.2.3: seconds or a date), or None."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def pause_before_retry(
    call: Call[Any], connection: Connection, *, attempt: int, outcome: httpx.Response | httpx.HTTPError
) -> float | None:
    """Return how long to wait before trying again, or None when the outcome stands. `attempt` counts from 0."""
    if not call.is_repeatable or attempt >= connection.max_retries:
        return None
    # Full jitter: clients that failed together do not come back together.
    backoff = random.uniform(0, min(8.0, 0.25 * 2**attempt))  # noqa: S311 - spreads load, guards nothing
    if isinstance(outcome, httpx.HTTPError):
        return backoff if isinstance(outcome, httpx.TransportError) and not _is_slow(outcome) else None
    # 409 with a time: the first of two equal requests is still being answered.
    is_early = outcome.status_code == httpx.codes.CONFLICT and "Retry-After" in outcome.headers
    if outcome.status_code not in _RETRIED_STATUSES and not is_early:
        return None
    asked = retry_after_seconds(outcome)
    if asked is None:
        return backoff
    return asked + backoff if asked <= MAX_RETRY_AFTER_SECONDS else None


def _is_slow(error: httpx.HTTPError) -> bool:
    # The whole time allowed is already spent; trying again would double it behind the caller's back.
    return isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout)
