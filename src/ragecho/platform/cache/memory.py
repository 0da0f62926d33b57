"""A cache in this process."""

import time
from collections import OrderedDict
from collections.abc import Callable

# What an entry costs besides its value: the key, the tuple, the table.
_OVERHEAD_BYTES = 300


class MemoryCache:
    """Implements the port `Cache`: the least recently used entries go when `max_bytes` are full."""

    is_shared = False

    def __init__(self, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    async def get(self, key: str) -> bytes | None:
        """Return what was put last, None when it is not there any more."""
        found = self._entries.get(key)
        if found is None:
            return None
        until, value = found
        if self._clock() >= until:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value` for at most `ttl_seconds`; one that is larger than the whole cache is not kept."""
        self._drop(key)
        size = len(value) + _OVERHEAD_BYTES
        if size > self._max_bytes:
            return
        self._entries[key] = (self._clock() + ttl_seconds, value)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0

    def _drop(self, key: str) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self._bytes -= len(found[1]) + _OVERHEAD_BYTES
