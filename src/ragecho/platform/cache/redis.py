"""A cache in Redis or Valkey, shared by all processes.

Two commands of the protocol (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/) are all that a cache
needs, so no client library is. A server that does not answer costs one short wait, then is left alone for a while.
"""

import asyncio
import ssl
import time
from urllib.parse import unquote, urlsplit

from ragecho.kernel.errors import ConfigurationError
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

PREFIX = "ragecho:"
_DEFAULT_PORT = 6379
_TIMEOUT_SECONDS = 0.25
_PAUSE_SECONDS = 5.0
_MAX_IDLE = 16
# A cached value is some passages; what claims to be larger is no answer of ours.
_MAX_VALUE_BYTES = 16 << 20

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _ServerError(Exception):
    """The server refused a command."""


class RedisCache:
    """Implements the port `Cache` over a `redis://` or `rediss://` URL. Raises `ConfigurationError` for any other."""

    is_shared = True

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port, database = parts.port or _DEFAULT_PORT, int(parts.path.strip("/") or 0)
        except ValueError as error:
            raise ConfigurationError("RAGECHO_REDIS_URL is not a URL like redis://host:6379/0.") from error
        if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
            raise ConfigurationError("RAGECHO_REDIS_URL is not a URL like redis://host:6379/0.")
        self._host, self._port, self._database = parts.hostname, port, database
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._tls = ssl.create_default_context() if parts.scheme == "rediss" else None
        self._idle: list[_Connection] = []
        self._paused_until = 0.0
        self._is_closed = False

    async def get(self, key: str) -> bytes | None:
        """Return what was put last, None when it is not there any more or the server does not answer."""
        return await self._ask(b"GET", (PREFIX + key).encode())

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value` for at most `ttl_seconds`, where the server answers."""
        await self._ask(b"SET", (PREFIX + key).encode(), value, b"PX", str(max(1, round(ttl_seconds * 1e3))).encode())

    async def close(self) -> None:
        """Let connections go."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for _, writer in idle:
            writer.close()

    async def _ask(self, *command: bytes) -> bytes | None:
        if time.monotonic() < self._paused_until:
            return None
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                connection = self._idle.pop() if self._idle else await self._connect()
                reply = await _exchange(connection, command)
        except (OSError, EOFError, TimeoutError, ValueError, _ServerError) as error:
            if connection is not None:
                connection[1].close()
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            log.warning("cache.unavailable", reason=type(error).__name__)
            return None
        except BaseException:
            # Cancelled halfway: what comes back next on this connection is the answer to this command.
            if connection is not None:
                connection[1].close()
            raise
        if self._is_closed or len(self._idle) >= _MAX_IDLE:
            connection[1].close()
        else:
            self._idle.append(connection)
        return reply

    async def _connect(self) -> _Connection:
        connection = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls, server_hostname=self._host if self._tls else None
        )
        try:
            if self._password is not None:
                user = (self._user.encode(),) if self._user else ()
                await _exchange(connection, (b"AUTH", *user, self._password.encode()))
            if self._database:
                await _exchange(connection, (b"SELECT", str(self._database).encode()))
        except BaseException:
            connection[1].close()
            raise
        return connection


async def _exchange(connection: _Connection, command: tuple[bytes, ...]) -> bytes | None:
    reader, writer = connection
    writer.write(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in command))
    await writer.drain()
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest
    if kind == b"$":
        size = int(rest)
        if size > _MAX_VALUE_BYTES:
            raise ValueError("the value is too large")
        return None if size < 0 else (await reader.readexactly(size + 2))[:-2]
    raise _ServerError(rest[:100].decode(errors="replace"))
