"""Every cache keeps, forgets and fails the same way. Redis is a real server: `redis-server` or `valkey-server` from the path,
or the program that RAGECHO_TEST_REDIS_SERVER names."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ragecho.kernel.errors import ConfigurationError
from ragecho.platform.cache import CacheSettings, MemoryCache, SingleFlight, open_cache
from ragecho.platform.cache.redis import RedisCache
from ragecho.ports.cache import Cache

pytestmark = pytest.mark.anyio
PASSWORD = "a test's own"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    named = os.environ.get("RAGECHO_TEST_REDIS_SERVER")
    program = named or shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("there is no redis-server or valkey-server here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder: Path = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([*command, "--requirepass", PASSWORD], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, "the server did not start"
                assert time.monotonic() < deadline, "the server did not answer"
        yield f"redis://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/1"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Cache]:
    made: Cache = (
        MemoryCache(max_bytes=1 << 20)
        if request.param == "memory"
        else RedisCache(request.getfixturevalue("redis_url"))
    )
    yield made
    await made.close()


async def test_what_was_put_last_comes_back(cache: Cache) -> None:
    assert await cache.get("nothing") is None
    for value in (b"first", b"second\r\n$-1\r\n", b"", bytes(range(256)) * 1000):
        await cache.put("key", value, ttl_seconds=60)
        assert await cache.get("key") == value


async def test_nothing_is_kept_longer_than_it_was_put_for(cache: Cache) -> None:
    await cache.put("short", b"value", ttl_seconds=0.01)
    deadline = time.monotonic() + 10
    while await cache.get("short") is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_many_at_once_get_their_own(cache: Cache) -> None:
    async def one(number: int) -> bool:
        await cache.put(f"key {number}", str(number).encode() * 100, ttl_seconds=60)
        return await cache.get(f"key {number}") == str(number).encode() * 100

    assert all(await asyncio.gather(*(one(number) for number in range(100))))


async def test_a_cancelled_lookup_does_not_answer_the_next_one(cache: Cache) -> None:
    await cache.put("one", b"1", ttl_seconds=60)
    await cache.put("other", b"2", ttl_seconds=60)
    for _ in range(20):
        task = asyncio.ensure_future(cache.get("one"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await cache.get("other") == b"2"


async def test_memory_stays_within_its_bounds_and_keeps_what_was_used_last() -> None:
    cache = MemoryCache(max_bytes=10_000)
    for number in range(100):
        await cache.put(str(number), b"x" * 700, ttl_seconds=60)
        assert await cache.get(str(0)) is not None, "used again and again"
    kept = [number for number in range(100) if await cache.get(str(number)) is not None]
    assert kept == [0, *range(91, 100)]
    await cache.put("huge", b"x" * 20_000, ttl_seconds=60)
    assert await cache.get("huge") is None


async def test_memory_forgets_by_its_clock() -> None:
    now = 0.0
    cache = MemoryCache(max_bytes=10_000, clock=lambda: now)
    await cache.put("key", b"value", ttl_seconds=10)
    now = 9.9
    assert await cache.get("key") == b"value"
    now = 10.0
    assert await cache.get("key") is None


@pytest.mark.parametrize(
    "reply", [b"-NOAUTH Authentication required.\r\n", b"$99999999999\r\n", b"what is this\r\n", b""]
)
async def test_a_server_that_does_not_answer_as_it_should_is_a_miss_and_then_left_alone(reply: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        cache = RedisCache(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert await cache.get("key") is None
        await cache.put("key", b"value", ttl_seconds=60)
        assert await cache.get("key") is None
        await cache.close()
    assert connections == 1


async def test_no_server_at_all_is_a_miss() -> None:
    cache = RedisCache("redis://127.0.0.1:1")
    assert await cache.get("key") is None
    await cache.put("key", b"value", ttl_seconds=60)


@pytest.mark.parametrize("url", ["http://host", "redis://", "redis://host/one", "redis://host:port"])
def test_what_is_no_redis_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        RedisCache(url)


def test_settings_choose_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_cache(CacheSettings()), MemoryCache)
    monkeypatch.setenv("RAGECHO_CACHE_MB", "0")
    assert open_cache(CacheSettings()) is None
    monkeypatch.setenv("RAGECHO_REDIS_URL", "redis://localhost")
    assert isinstance(open_cache(CacheSettings()), RedisCache)


async def test_what_is_asked_at_the_same_moment_is_done_once() -> None:
    flights: SingleFlight[int] = SingleFlight()
    runs, gate = 0, asyncio.Event()

    async def work() -> int:
        nonlocal runs
        runs += 1
        await gate.wait()
        return runs

    waiting = [asyncio.ensure_future(flights.run("same", work)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    found = await asyncio.gather(*waiting)
    assert found == [(1, False), *[(1, True)] * 4]
    assert await flights.run("same", work) == (2, False), "what comes later is done anew"


async def test_one_who_goes_away_takes_nothing_from_the_others() -> None:
    flights: SingleFlight[str] = SingleFlight()
    gate, was_cancelled = asyncio.Event(), False

    async def work() -> str:
        nonlocal was_cancelled
        try:
            await gate.wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise
        return "done"

    first, second = (asyncio.ensure_future(flights.run("key", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await second == ("done", True)
    gate.clear()
    alone = asyncio.ensure_future(flights.run("key", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    await asyncio.sleep(0)
    assert was_cancelled, "nobody waits any more"


async def test_an_error_reaches_all_who_wait() -> None:
    flights: SingleFlight[str] = SingleFlight()

    async def work() -> str:
        await asyncio.sleep(0)
        raise RuntimeError("no")

    found = await asyncio.gather(*(flights.run("key", work) for _ in range(3)), return_exceptions=True)
    assert [str(one) for one in found] == ["no"] * 3


async def test_what_is_at_hand_is_returned_and_leaves_nothing_to_join() -> None:
    flights: SingleFlight[int] = SingleFlight()
    found: list[int] = []

    async def work() -> int:
        found.append(len(found))
        if len(found) > 2:
            raise RuntimeError("no more")
        return found[-1]

    assert await flights.run("key", work) == (0, False)
    assert await asyncio.gather(*(flights.run("key", work) for _ in range(1))) == [(1, False)]
    with pytest.raises(RuntimeError, match="no more"):
        await flights.run("key", work)
    with pytest.raises(RuntimeError, match="no more"):
        await flights.run("key", work)
    assert len(found) == 4, "what failed is tried again"
