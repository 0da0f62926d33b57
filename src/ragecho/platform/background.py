"""Work that a process does besides: begun with a block and cancelled at its end, or begun at once."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


@asynccontextmanager
async def in_background(work: Coroutine[object, object, None], *, name: str) -> AsyncIterator[None]:
    """Run `work` for as long as the block lasts. What it raised by itself is raised at the end of the block."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def begun[T](work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that has run as far as its first wait; it is done where there was nothing to wait for."""
    return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
