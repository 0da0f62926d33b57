"""Work that a process does besides: begun with a block, cancelled at its end."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress


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
