import asyncio
import threading
from collections.abc import Iterator

import pytest

from ragecho.engines.models.batching import FairPool, usable_threads

pytestmark = pytest.mark.anyio
DEADLINE_SECONDS = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Gate:
    """Work that waits until the test lets it go, and notes the order in which it began."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.order: list[str] = []

    def work(self, item: str) -> str:
        self.order.append(item)
        self.begun.set()
        assert self.open.wait(DEADLINE_SECONDS)
        if item.startswith("bad"):
            raise ValueError(item)
        return item.upper()

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, DEADLINE_SECONDS)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def pool(gate: Gate) -> Iterator[FairPool[str, str]]:
    # Every item is a slice of its own.
    made = FairPool(gate.work, size_of=lambda _: 10_000, threads=1, name="test")
    yield made
    gate.open.set()
    made.close()


async def test_results_come_in_the_order_of_the_items(gate: Gate, pool: FairPool[str, str]) -> None:
    gate.open.set()
    assert await pool.map([f"item {n}" for n in range(50)]) == [f"ITEM {n}" for n in range(50)]


async def test_callers_take_turns(gate: Gate, pool: FairPool[str, str]) -> None:
    large = asyncio.ensure_future(pool.map(["a1", "a2", "a3", "a4"]))
    await gate.has_begun()
    small = asyncio.ensure_future(pool.map(["b1", "b2"]))
    await asyncio.sleep(0)
    gate.open.set()
    assert await small == ["B1", "B2"]
    assert await large == ["A1", "A2", "A3", "A4"]
    assert gate.order == ["a1", "a2", "b1", "a3", "b2", "a4"]


async def test_an_error_reaches_its_caller_alone_and_ends_its_work(gate: Gate, pool: FairPool[str, str]) -> None:
    gate.open.set()
    bad, good = await asyncio.gather(pool.map(["bad", "b2", "b3"]), pool.map(["a1", "a2"]), return_exceptions=True)
    assert isinstance(bad, ValueError)
    assert good == ["A1", "A2"]
    assert "b3" not in gate.order
    assert await pool.map(["after"]) == ["AFTER"]


async def test_a_cancelled_call_takes_no_more_turns(gate: Gate, pool: FairPool[str, str]) -> None:
    call = asyncio.ensure_future(pool.map(["a1", "a2", "a3"]))
    await gate.has_begun()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.open.set()
    assert await pool.map(["b1"]) == ["B1"]
    assert gate.order == ["a1", "b1"]


async def test_threads_share_one_large_call() -> None:
    meeting = threading.Barrier(2, timeout=DEADLINE_SECONDS)

    def work(item: int) -> int:
        meeting.wait()  # passes only when two threads are at work at once
        return item

    pool = FairPool(work, size_of=lambda _: 10_000, threads=2, name="test")
    assert await pool.map(range(4)) == [0, 1, 2, 3]
    pool.close()


async def test_small_items_share_a_turn_up_to_the_slice_size(gate: Gate) -> None:
    pool = FairPool(gate.work, size_of=lambda _: 750, threads=1, name="test")
    first = asyncio.ensure_future(pool.map(["a1", "a2", "a3", "a4"]))
    await gate.has_begun()
    second = asyncio.ensure_future(pool.map(["b1", "b2"]))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, second)
    assert gate.order == ["a1", "a2", "a3", "a4", "b1", "b2"]
    pool.close()


async def test_closing_cancels_what_waits(gate: Gate, pool: FairPool[str, str]) -> None:
    running = asyncio.ensure_future(pool.map(["a1", "a2"]))
    await gate.has_begun()
    waiting = asyncio.ensure_future(pool.map(["b1"]))
    await asyncio.sleep(0)
    pool.close()
    gate.open.set()
    ended = await asyncio.gather(running, waiting, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in ended)
    assert gate.order == ["a1"]


def test_zero_threads_means_all_usable_cores() -> None:
    assert usable_threads(0) >= 1
    assert usable_threads(3) == 3
