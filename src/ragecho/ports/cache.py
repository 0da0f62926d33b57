"""Port: bytes that are kept for a while, and may be gone at any time."""

from typing import Protocol


class Cache(Protocol):
    """A bounded store of values that can be made again. Safe for concurrent use from one event loop.

    Nothing here raises for want of a server: what cannot be looked up is missing, what cannot be kept is not kept. Whoever
    stores something checks what it depends on when it comes back; a cache knows nothing of permissions.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other processes see what this one puts."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return what was put last, None when it is not there any more."""
        ...

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep `value` for at most `ttl_seconds`."""
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...
