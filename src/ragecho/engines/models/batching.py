"""Many callers, few threads: calls are cut into small slices and the threads take them in turn.

A caller with a thousand passages and a caller with two share the threads fairly: each turn takes one slice of the call
that has waited longest and puts the rest behind the others. So the threads never idle between small documents, and a
small document never waits for a large one. A slice belongs to one call: its error reaches that caller alone.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, cast

# About 50 ms of work of a small model: long enough that handing over costs nothing, short enough to be fair.
_SLICE_CHARACTERS: Final = 1_500


def usable_threads(threads: int) -> int:
    """Return `threads`, or the cores this process may use when it is 0."""
    if threads > 0:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Call[Item, Result]:
    """One caller's items: what is still to be taken, and what is done."""

    __slots__ = ("future", "items", "next_index", "open_slices", "results", "size_of")

    def __init__(self, items: Sequence[Item], size_of: Callable[[Item], int]) -> None:
        self.items = items
        self.size_of = size_of
        self.next_index = 0
        self.open_slices = 0
        self.results: list[Result | None] = [None] * len(items)
        self.future: Future[list[Result]] = Future()

    def take(self) -> range:
        """Claim the next slice: items until there are characters enough, at least one."""
        start, characters = self.next_index, 0
        while self.next_index < len(self.items) and characters < _SLICE_CHARACTERS:
            characters += self.size_of(self.items[self.next_index])
            self.next_index += 1
        self.open_slices += 1
        return range(start, self.next_index)

    @property
    def is_taken(self) -> bool:
        """Whether nothing is left to take."""
        return self.next_index >= len(self.items)


class FairPool[Item, Result]:
    """Runs `work(item)` for many callers on a fixed number of threads. Usable from any event loop."""

    def __init__(
        self, work: Callable[[Item], Result], *, size_of: Callable[[Item], int], threads: int, name: str
    ) -> None:
        self._work = work
        self._size_of = size_of
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._calls: deque[_Call[Item, Result]] = deque()
        self._active = 0

    async def map(self, items: Sequence[Item]) -> list[Result]:
        """Return `work` of every item, in order. Raises what `work` raised; a cancelled call takes no more turns."""
        if not items:
            return []
        call = _Call[Item, Result](list(items), self._size_of)
        with self._lock:
            self._calls.append(call)
            self._start_threads(len(items))
        try:
            return await asyncio.wrap_future(call.future)
        finally:
            with self._lock, suppress(ValueError):
                self._calls.remove(call)

    def close(self) -> None:
        """Stop after the slices that are running."""
        with self._lock:
            for call in self._calls:
                call.future.cancel()
            self._calls.clear()
        self._executor.shutdown(wait=False)

    def _start_threads(self, wanted: int) -> None:
        for _ in range(min(wanted, self._threads - self._active)):
            self._executor.submit(self._drain)
            self._active += 1

    def _drain(self) -> None:
        while (turn := self._next_turn()) is not None:
            call, indexes = turn
            error: BaseException | None = None
            try:
                for index in indexes:
                    if call.future.done():  # cancelled, or another slice of it failed
                        break
                    call.results[index] = self._work(call.items[index])
            except BaseException as caught:  # noqa: BLE001  whatever it was belongs to the caller, never to this thread
                error = caught
            self._finish(call, error)

    def _next_turn(self) -> tuple[_Call[Item, Result], range] | None:
        with self._lock:
            while self._calls:
                call = self._calls.popleft()
                if call.future.done():
                    continue
                indexes = call.take()
                if not call.is_taken:
                    self._calls.append(call)
                return call, indexes
            self._active -= 1
            return None

    def _finish(self, call: _Call[Item, Result], error: BaseException | None) -> None:
        with self._lock:
            call.open_slices -= 1
            is_complete = call.is_taken and call.open_slices == 0
        with suppress(InvalidStateError):
            if error is not None:
                call.future.set_exception(error)
            elif is_complete and not call.future.done():
                call.future.set_result(cast("list[Result]", call.results))
