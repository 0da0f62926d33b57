"""How many processes answer HTTP, and how they share connections."""

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest
import uvicorn

from ragecho.roles.api_processes import processes_for
from ragecho.roles.port import open_port
from ragecho.roles.shared_server import SharedServer
from ragecho.roles.shares import Shares, shared_numbers

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cores", "gigabytes", "expected"), [(1, 64, 1), (2, 24, 2), (2, 2, 1), (8, 7.7, 2), (16, 15.6, 4), (64, 512, 4)]
)
def test_one_for_each_core_as_far_as_memory_goes(cores: int, gigabytes: float, expected: int) -> None:
    assert processes_for(cores, int(gigabytes * GIB)) == expected


@pytest.fixture
def numbers() -> Iterator[int]:
    with shared_numbers(3) as descriptor:
        yield descriptor


def test_each_sees_the_least_of_the_others(numbers: int) -> None:
    first, second, third = (Shares(numbers, place) for place in range(3))
    first.tell(5)
    assert first.least_of_others() > 1_000_000, "nobody else serves: whatever comes is mine"
    second.tell(7)
    third.tell(2)
    assert (first.least_of_others(), second.least_of_others(), third.least_of_others()) == (2, 2, 5)
    third.leave()
    assert (first.least_of_others(), second.least_of_others()) == (7, 5)


async def _application(scope: dict[str, object], receive: object, send: object) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})  # type: ignore[operator]
    await send({"type": "http.response.body"})  # type: ignore[operator]


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection, ask once, and keep it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    return reader, writer


async def _server(listener: socket.socket, shares: Shares) -> tuple[SharedServer, asyncio.Task[None]]:
    config = uvicorn.Config(_application, fd=os.dup(listener.fileno()), lifespan="off", log_config=None)  # type: ignore[arg-type]
    server = SharedServer(config, shares)
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.01)
    return server, serving


def test_connections_are_shared_evenly_and_none_waits_for_a_server_that_is_busy(numbers: int) -> None:
    asyncio.run(_share(numbers))


async def _share(numbers: int) -> None:
    with open_port("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        servers = [await _server(listener, Shares(numbers, place)) for place in range(2)]
        held = [await _connect(port) for _ in range(10)]
        counts = sorted(len(server.server_state.connections) for server, _ in servers)
        assert counts == [5, 5]
        # A process that says it has few but takes none: who has more takes them after a moment.
        Shares(numbers, 2).tell(0)
        held += [await _connect(port) for _ in range(4)]
        assert sum(len(server.server_state.connections) for server, _ in servers) == 14
        # Who leaves is not waited for, and takes nothing more.
        servers[0][0].should_exit = True
        await servers[0][1]
        held.append(await _connect(port))
        for _, writer in held:
            writer.close()
        servers[1][0].should_exit = True
        await servers[1][1]
