"""Limits of steps hold over processes, in the order of asking, and a worker that is killed gives its place back."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from ragecho.kernel.ids import uuid7
from ragecho.platform.database import Database
from ragecho.platform.jobs import steps
from ragecho.platform.jobs.steps import StepLimits

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def worker(url: str, step: str, most: int, times: int, hold: str = "shortly") -> AsyncIterator[Process]:
    """A process that goes through the step."""
    command = [sys.executable, "-m", "tests.db.steps_driver", url, step, str(most), str(times), hold]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def step() -> str:
    """A step of the test's own."""
    return f"test-{uuid7()}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(steps, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(steps, "EXPIRE_SECONDS", 2.0)


async def read_line(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()


@pytest.mark.parametrize("most", [1, 2])
async def test_two_workers_together_are_in_a_step_as_often_as_it_allows(owner_url: str, step: str, most: int) -> None:
    inside, highest = 0, 0

    async def watch(process: Process) -> None:
        nonlocal inside, highest
        while line := await read_line(process):
            inside += 1 if line == "in" else -1
            highest = max(highest, inside)

    database = Database(owner_url, pool_size=1)
    counted: list[int] = []

    async def count() -> None:
        """Look how many hold a place, from outside."""
        while True:
            async with database.anonymous() as session:
                held = await session.execute(
                    text("select count(*) from step_leases where step = :step and expires_at > now()"), {"step": step}
                )
                counted.append(int(held.scalar_one()))
            await asyncio.sleep(0.02)

    counting = asyncio.create_task(count())
    async with worker(owner_url, step, most, 6) as first, worker(owner_url, step, most, 6) as second:
        await asyncio.gather(watch(first), watch(second))
        assert (await first.wait(), await second.wait()) == (0, 0)
    counting.cancel()
    await database.close()
    # Lines of two pipes may be read in another order than they were written: one place more at most, never all twelve.
    assert 1 <= highest <= most + 1
    assert max(counted) > most  # others did wait


async def test_a_killed_workers_place_goes_to_the_next(owner_url: str, step: str) -> None:
    async with worker(owner_url, step, 1, 1, "forever") as held:
        assert await read_line(held) == "in"
        async with worker(owner_url, step, 1, 1) as waiting:
            held.send_signal(signal.SIGKILL)
            assert await read_line(waiting) == "in"
            assert await read_line(waiting) == "out"


async def test_places_are_given_in_the_order_of_asking(database: Database, step: str) -> None:
    limits = StepLimits(database, {step: 1})
    order: list[int] = []
    free = asyncio.Event()

    async def go(number: int) -> None:
        async with limits.holding(step):
            order.append(number)
            if number == 0:
                await free.wait()

    tasks = []
    for number in range(4):
        tasks.append(asyncio.create_task(go(number)))
        await until_asked(database, step, number + 1)
    free.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 30)
    assert order == [0, 1, 2, 3]
    assert await tickets(database, step) == 0


async def test_a_step_without_a_limit_asks_nobody(step: str) -> None:
    async with StepLimits(None, {step: 1}).holding(step), StepLimits(None, {}).holding("other"):
        pass
    # A database that would refuse any question.
    async with StepLimits(Database("postgresql://nobody@127.0.0.1:1/none"), {step: 0}).holding(step):
        pass


async def test_who_is_cancelled_while_waiting_leaves_no_place_behind(database: Database, step: str) -> None:
    limits = StepLimits(database, {step: 1})
    async with limits.holding(step):

        async def wait() -> None:
            async with limits.holding(step):
                raise AssertionError("never let in")

        waiting = asyncio.create_task(wait())
        await until_asked(database, step, 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await tickets(database, step) == 1


async def until_asked(database: Database, step: str, count: int) -> None:
    async with asyncio.timeout(20):
        while True:
            if await tickets(database, step) >= count:
                return
            await asyncio.sleep(0.01)  # waits for a condition, within the deadline above


async def tickets(database: Database, step: str) -> int:
    async with database.anonymous() as session:
        found = await session.execute(text("select count(*) from step_leases where step = :step"), {"step": step})
        return int(found.scalar_one())
