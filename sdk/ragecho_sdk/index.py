"""The index of a workspace and its embedding model: `echo.index`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ragecho_sdk.calls import Call, get, post
from ragecho_sdk.errors import EchoTimeoutError
from ragecho_sdk.models import Model

if TYPE_CHECKING:
    from ragecho_sdk.async_client import AsyncEcho
    from ragecho_sdk.client import Echo

PATH = "/api/v1/admin/index/reindex"
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Reindex(Model):
    """How far the newest re-indexing of a workspace is.

    `status` is none, filling, switching (queries use the new model, the old one's vectors are being removed), done, failed or
    cancelled. `to_model` is None where there was never one.
    """

    status: str
    from_model: str
    to_model: str | None = None
    from_dimensions: int = 0
    to_dimensions: int | None = None
    from_chunking: str | None = None
    to_chunking: str | None = None
    documents_done: int = 0
    documents_total: int = 0
    chunks: int = 0
    error: Mapping[str, Any] | None = None
    started_at: str | None = None
    switched_at: str | None = None
    finished_at: str | None = None
    eta: str | None = None
    space: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing goes on any more."""
        return self.status not in ("filling", "switching")


def start(model: str | None, dimensions: int | None) -> Call[Reindex]:
    """Begin to fill another embedding space."""
    return post(PATH, Reindex.read, model=model, dimensions=dimensions)


def state() -> Call[Reindex]:
    """How far it is."""
    return get(PATH, Reindex.read)


def cancel() -> Call[Reindex]:
    """Give it up."""
    return Call("DELETE", PATH, Reindex.read)


class Index:
    """A workspace's index; reached as `echo.index`. Needs a key with the scope admin."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def reindex(self, *, model: str | None = None, dimensions: int | None = None) -> Reindex:
        """Embed all documents anew in the background, with `model` or the server's default; searches go on meanwhile."""
        return self._echo.send(start(model, dimensions))

    def reindex_state(self) -> Reindex:
        """Return how far the newest re-indexing is."""
        return self._echo.send(state())

    def cancel_reindex(self) -> Reindex:
        """Give up filling the new space; the workspace stays as it is."""
        return self._echo.send(cancel())

    def wait_until_reindexed(
        self, *, timeout_seconds: float = 3600.0, on_progress: Callable[[Reindex], None] | None = None
    ) -> Reindex:
        """Return the re-indexing once it is over: done, failed or cancelled. Raises `EchoTimeoutError`."""
        deadline, pause = time.monotonic() + timeout_seconds, FIRST_PAUSE_SECONDS
        while not (found := self.reindex_state()).is_over:
            if on_progress:
                on_progress(found)
            if time.monotonic() + pause > deadline:
                raise _late(timeout_seconds)
            time.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 1.5)
        return found


class AsyncIndex:
    """A workspace's index; reached as `echo.index`. Needs a key with the scope admin."""

    def __init__(self, echo: AsyncEcho) -> None:
        self._echo = echo

    async def reindex(self, *, model: str | None = None, dimensions: int | None = None) -> Reindex:
        """Embed all documents anew in the background, with `model` or the server's default; searches go on meanwhile."""
        return await self._echo.send(start(model, dimensions))

    async def reindex_state(self) -> Reindex:
        """Return how far the newest re-indexing is."""
        return await self._echo.send(state())

    async def cancel_reindex(self) -> Reindex:
        """Give up filling the new space; the workspace stays as it is."""
        return await self._echo.send(cancel())

    async def wait_until_reindexed(
        self, *, timeout_seconds: float = 3600.0, on_progress: Callable[[Reindex], None] | None = None
    ) -> Reindex:
        """Return the re-indexing once it is over: done, failed or cancelled. Raises `EchoTimeoutError`."""
        deadline, pause = time.monotonic() + timeout_seconds, FIRST_PAUSE_SECONDS
        while not (found := await self.reindex_state()).is_over:
            if on_progress:
                on_progress(found)
            if time.monotonic() + pause > deadline:
                raise _late(timeout_seconds)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 1.5)
        return found


def _late(timeout_seconds: float) -> EchoTimeoutError:
    return EchoTimeoutError(f"The re-indexing is not over after {timeout_seconds:g} seconds; it goes on.", [])
