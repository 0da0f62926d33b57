"""What several ask for at the same moment is done once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from ragecho.platform.background import begun


class SingleFlight[T]:
    """Lets callers with the same key share one run of the work, while it runs.

    Who joins a run that had begun before gets what was true when it began: whether that is recent enough is for the
    one who joins to check. The run is cancelled only when all who wait for it are.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}
        self._waiting: dict[Hashable, int] = {}

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Return the work's result and whether somebody else had begun it. Raises what the work raises."""
        task = self._running.get(key)
        is_joined = task is not None
        if task is None:
            task = begun(work())
            if task.done():
                return task.result(), False
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            return await asyncio.shield(task), is_joined
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                if not task.done():
                    # Nobody waits any more; a new caller must not join what is being cancelled.
                    self._running.pop(key, None)
                    task.cancel()
