"""Tokens from service to service: an httpx authentication that gets, keeps and renews them (RFC 6749, section 4.4).

    http = httpx.Client(auth=ClientCredentials.from_env(scope="reports:read"))
    http.get("https://reports.example.com/reports")

Works with `httpx.Client`, `httpx.AsyncClient`, and as `Echo(..., auth=...)`. Share one object: it is safe between threads
and tasks, and however many requests start at once, one token is fetched.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from ragecho_sdk.errors import EchoError

# A token is renewed so long before its end: it must still hold when the request arrives.
EARLY_SECONDS = 30.0


class TokenError(EchoError):
    """The identity service gave no token; the message says why and names the fix."""


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float


class ClientCredentials(httpx.Auth):
    """Authenticates requests as the client itself.

    `scope` defaults to all that the client may have, `audience` (whom the tokens are for) to the first of the client's.
    """

    requires_response_body = True

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str | None = None,
        audience: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer.rstrip("/")
        self._client = httpx.BasicAuth(client_id, client_secret)
        self._form = {"grant_type": "client_credentials"}
        if scope:
            self._form["scope"] = scope
        if audience:
            self._form["resource"] = audience  # RFC 8707
        self._monotonic = monotonic
        self._token_endpoint: str | None = None
        self._token: _Token | None = None
        self._lock = threading.Lock()
        self._async_lock = anyio.Lock()

    @classmethod
    def from_env(
        cls, *, scope: str | None = None, audience: str | None = None, environ: Mapping[str, str] | None = None
    ) -> ClientCredentials:
        """Read ECHO_ISSUER, ECHO_CLIENT_ID and ECHO_CLIENT_SECRET. Raises `TokenError` that names what is missing."""
        found = os.environ if environ is None else environ
        names = ("ECHO_ISSUER", "ECHO_CLIENT_ID", "ECHO_CLIENT_SECRET")
        missing = [name for name in names if not found.get(name)]
        if missing:
            raise TokenError(
                f"{' and '.join(missing)} not set. Make them with"
                " `ragecho identity client create --name my-service --service --audience URL-OF-THE-CALLED --env .env` and load that file."
            )
        return cls(*(found[name] for name in names), scope=scope, audience=audience)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with a token, and once more with a new one where the token does not count any more."""
        with self._lock:
            token = yield from self._current(None, request.extensions)
        response = yield _signed(request, token)
        if _is_refused(response) and _is_repeatable(request):
            with self._lock:
                token = yield from self._current(token, request.extensions)
            yield _signed(request, token)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Do the same in an asynchronous client."""
        refused: _Token | None = None
        while True:
            async with self._async_lock:
                steps = self._current(refused, request.extensions)
                try:
                    asked = next(steps)
                    while True:
                        response = yield asked
                        await response.aread()
                        asked = steps.send(response)
                except StopIteration as done:
                    token = done.value
            response = yield _signed(request, token)
            if refused is not None or not (_is_refused(response) and _is_repeatable(request)):
                return
            refused = token

    def _current(
        self, refused: _Token | None, extensions: dict[str, Any]
    ) -> Generator[httpx.Request, httpx.Response, _Token]:
        """Return a token other than `refused`; yields the requests that getting one takes.

        `extensions` hold the timeouts of the request that needs it.
        """
        held = self._token
        if held is not None and held is not refused and self._monotonic() < held.renew_at:
            return held
        if self._token_endpoint is None:
            response = yield httpx.Request(
                "GET", f"{self._issuer}/.well-known/openid-configuration", extensions=extensions
            )
            self._token_endpoint = str(_object(response, self._issuer).get("token_endpoint") or "")
        request = httpx.Request(
            "POST",
            self._token_endpoint,
            data=self._form,
            headers={"Accept": "application/json"},
            extensions=extensions,
        )
        response = yield next(self._client.auth_flow(request))
        answer = _object(response, self._issuer)
        seconds = float(answer.get("expires_in") or 60)
        value = str(answer["access_token"])
        self._token = _Token(value, self._monotonic() + max(seconds - EARLY_SECONDS, seconds / 2))
        return self._token


def _object(response: httpx.Response, issuer: str) -> dict[str, Any]:
    response.read()
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.is_success and isinstance(answer, dict):
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    why = {
        "invalid_client": "it does not accept ECHO_CLIENT_ID and ECHO_CLIENT_SECRET",
        "invalid_scope": "the client may not have that scope",
        "invalid_target": "the client may not call that audience",
        "unauthorized_client": "the client may not get tokens for itself",
    }.get(str(error), f"it answered {response.status_code}" + (f" {error}" if error else ""))
    raise TokenError(f"No token from {issuer}: {why}. `ragecho identity client ls` shows what clients may do.")


def _signed(request: httpx.Request, token: _Token) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token.value}"
    return request


def _is_refused(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.UNAUTHORIZED


def _is_repeatable(request: httpx.Request) -> bool:
    # A body that is read from a file or generator is gone after the first sending.
    return isinstance(request.stream, httpx.ByteStream)
