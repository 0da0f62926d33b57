"""Work that is begun at once."""

import asyncio
from contextvars import ContextVar

import pytest

from ragecho.platform.background import begun

pytestmark = pytest.mark.anyio
WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_what_waits_for_nothing_is_done_at_once() -> None:
    async def work() -> str:
        WHO.set("the work")
        return "done"

    task = begun(work())
    assert task.done()
    assert task.result() == "done"
    assert WHO.get() == "nobody", "its context is its own"


async def test_what_waits_has_run_until_there_and_may_be_cancelled() -> None:
    steps: list[str] = []
    gate = asyncio.Event()

    async def work() -> None:
        steps.append("begun")
        await gate.wait()
        steps.append("ended")

    first, second = begun(work()), begun(work())
    assert steps == ["begun", "begun"]
    second.cancel()
    gate.set()
    await asyncio.wait([first, second])
    assert second.cancelled()
    assert steps == ["begun", "begun", "ended"]


async def test_what_fails_at_once_is_raised_where_it_is_awaited() -> None:
    async def work() -> None:
        raise ValueError("no")

    task = begun(work())
    with pytest.raises(ValueError, match="no"):
        await task
