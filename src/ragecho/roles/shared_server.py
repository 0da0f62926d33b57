"""An HTTP server that takes connections from a listener beside other processes."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, Final, override

import uvicorn

from ragecho.platform.telemetry import get_logger
from ragecho.roles.shares import Shares

log = get_logger(__name__)

# Who has more connections than another leaves a new one to it for this long. Most turns of an event loop are shorter, and nobody
# notices it once a connection; then it is taken anyway: the other may be busy, or gone.
_LEFT_TO_OTHERS_SECONDS: Final = 0.005
_FULL_SECONDS: Final = 1.0  # as asyncio does it
_FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Connections(set[Any]):
    """Connections of this process. The others know their number at any time."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change

    @override
    def add(self, element: Any, /) -> None:
        super().add(element)
        self._on_change()

    @override
    def discard(self, element: Any, /) -> None:
        super().discard(element)
        self._on_change()


class SharedServer(uvicorn.Server):
    """Takes one connection at a time from the listener `config.fd`, and leaves it to a process that has fewer."""

    def __init__(self, config: uvicorn.Config, shares: Shares) -> None:
        super().__init__(config)
        assert config.fd is not None
        self._listener = socket.socket(fileno=config.fd)
        self._shares = shares
        self._connections = self.server_state.connections = _Connections(self._tell)
        self._waiting: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections."""
        await super().startup(sockets=[])
        self._listener.setblocking(False)
        self._tell()
        self._listen()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave new connections to the others, and end as a server does."""
        self._shares.leave()
        if self._waiting is not None:
            self._waiting.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await super().shutdown(sockets)

    def _count(self) -> int:
        return len(self._connections) + len(self._opening)

    def _tell(self) -> None:
        if self.started and not self.should_exit:
            self._shares.tell(self._count())

    def _listen(self) -> None:
        self._waiting = None
        asyncio.get_running_loop().add_reader(self._listener, self._on_waiting_connection)

    def _on_waiting_connection(self) -> None:
        if self._count() > self._shares.least_of_others():
            self._rest(_LEFT_TO_OTHERS_SECONDS, take=True)
        else:
            self._take()

    def _rest(self, seconds: float, *, take: bool = False) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        self._waiting = loop.call_later(seconds, self._go_on, take)

    def _go_on(self, take: bool) -> None:
        self._listen()
        if take:
            self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # somebody else has it, or its client has gone
        except OSError as error:
            if error.errno not in _FULL:
                raise
            log.warning("api.cannot_take_connections", reason=error.strerror)
            self._rest(_FULL_SECONDS)
            return
        connection.setblocking(False)
        opening = asyncio.get_running_loop().create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._on_open)
        self._tell()

    async def _open(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()  # gone before it said anything

    def _on_open(self, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        self._tell()

    def _protocol(self) -> asyncio.Protocol:
        """Return what speaks HTTP on one connection, as `uvicorn.Server.startup` makes it."""
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # as in uvicorn itself
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol
