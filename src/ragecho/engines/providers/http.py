"""One way to ask a provider: JSON over HTTP with a pace, retries that wait longer each time, and errors that say enough.

Addresses are the operator's own choice, so private ones are allowed. Answers are bounded by what was asked for; texts
and keys are never part of an error.
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final
from weakref import WeakKeyDictionary

import httpx

from ragecho.kernel.errors import ConfigurationError, InvalidInput, Unavailable

_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 30.0
_FOR_NOW: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_CONFIGURATION: Final = frozenset({401, 403, 404, 405})
# What some providers say with 429 when waiting will not help.
_OUT_OF_MONEY: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how it is to be treated."""

    provider: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 30.0
    max_retries: int = 4
    concurrency: int = 4
    requests_per_minute: int = 0


@dataclass(slots=True)
class _Connection:
    """What belongs to one event loop."""

    client: httpx.AsyncClient
    slots: asyncio.Semaphore
    next_start: float = 0.0


class ProviderClient:
    """Asks one provider. Usable from any event loop; each has its own connections."""

    def __init__(self, endpoint: Endpoint, *, first_delay_seconds: float = _FIRST_DELAY_SECONDS) -> None:
        self._endpoint = endpoint
        self._first_delay_seconds = first_delay_seconds
        self._connections: WeakKeyDictionary[asyncio.AbstractEventLoop, _Connection] = WeakKeyDictionary()
        # Jitter against herds, no secret.
        self._random = random.Random()  # noqa: S311

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the decoded answer.

        Raises `Unavailable` when the provider does not answer usefully after all retries, `ConfigurationError` when it
        refuses key, address or model, `InvalidInput` when it refuses the request.
        """
        connection = self._connection()
        async with connection.slots:
            for attempt in range(self._endpoint.max_retries + 1):
                await self._keep_pace(connection)
                try:
                    response = await connection.client.post(path, json=body)
                except httpx.InvalidURL as error:
                    raise ConfigurationError(f"The address of {self._endpoint.provider} is not a URL.") from error
                except httpx.TransportError as error:
                    failure, wait = type(error).__name__, None
                else:
                    if response.is_success:
                        return self._decoded(response)
                    failure, wait = f"status {response.status_code}", _retry_after(response)
                    self._refuse(response)
                if attempt < self._endpoint.max_retries:
                    await asyncio.sleep(self._delay(attempt, wait))
        raise Unavailable(f"{self._endpoint.provider} does not answer ({failure}).", provider=self._endpoint.provider)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.client.aclose()

    def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        found = self._connections.get(loop)
        if found is None:
            key = self._endpoint.api_key
            client = httpx.AsyncClient(
                base_url=self._endpoint.base_url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=self._endpoint.timeout_seconds,
            )
            found = self._connections[loop] = _Connection(client, asyncio.Semaphore(self._endpoint.concurrency))
        return found

    async def _keep_pace(self, connection: _Connection) -> None:
        if not self._endpoint.requests_per_minute:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, connection.next_start)
        connection.next_start = start + 60 / self._endpoint.requests_per_minute
        await asyncio.sleep(start - now)

    def _delay(self, attempt: int, wait: float | None) -> float:
        longest = min(_LONGEST_DELAY_SECONDS, self._first_delay_seconds * 2**attempt)
        # Between half and whole, so that many clients do not come back at once; a provider's own word counts more.
        jittered: float = longest * self._random.uniform(0.5, 1.0)
        return max(min(wait or 0.0, _LONGEST_DELAY_SECONDS), jittered)

    def _decoded(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise Unavailable(f"{self._endpoint.provider} answered something that is not JSON.") from error

    def _refuse(self, response: httpx.Response) -> None:
        """Raise for an answer that will be the same the next time."""
        provider, code = self._endpoint.provider, _error_code(response)
        said = f"status {response.status_code}" + (f", {code}" if code else "")
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and code in _OUT_OF_MONEY:
            raise Unavailable(f"{provider} has no quota left for this key ({said}).", provider=provider)
        if response.status_code in _FOR_NOW:
            return
        if response.status_code in _CONFIGURATION:
            raise ConfigurationError(f"{provider} refuses the key, the address or the model ({said}).")
        raise InvalidInput(f"{provider} refuses the request ({said}).", provider=provider)


def _error_code(response: httpx.Response) -> str | None:
    with suppress(ValueError, KeyError, AttributeError, TypeError):
        error = response.json()["error"]
        code = error.get("code") or error.get("type")
        if isinstance(code, str) and len(code) <= 64 and code.isascii():  # noqa: PLR2004 - a word, not a text
            return code
    return None


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of the header Retry-After (RFC 9110, section 10.2.3), in either of its forms."""
    value = response.headers.get("Retry-After")
    if not value:
        return None
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None
