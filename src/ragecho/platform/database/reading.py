"""Reading in one round trip: what the hot paths, who is calling and search, ask of the database.

Connections of their own, because the way of transactions costs more than these statements do: nothing is checked out through
another library, and neither BEGIN nor COMMIT is sent. All statements between two synchronisations of the protocol are one
transaction to PostgreSQL ("implicit transaction block", protocol-flow in its manual), so what the first one sets holds for
the others and for nobody after them. Every such transaction sees the database of one moment.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, TextClause, text

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Unavailable
from ragecho.platform.database.callers import SET_CALLER, settings_of
from ragecho.platform.database.round_trip import Query, ReadingConnection, Rows

__all__ = ["Query", "Readers", "Rows"]

_SNAPSHOTS = " -c default_transaction_isolation=repeatable\\ read"
# A snapshot does not write what another transaction has written since; the next one has seen it. (When a key was last used is
# noted once a minute, by whoever reads it first.)
_ATTEMPTS = 4
# PostgreSQL's process for a connection keeps what it has seen; a new one begins small.
_OLDEST_SECONDS = 3600.0
_IDLE_SECONDS = 600.0


class Readers:
    """Connections that read, at most `size`; they are made when they are needed, and the one used last is used next.

    So few of them are at work, and PostgreSQL's processes for those find their memory where they left it.
    """

    def __init__(
        self, url: URL, *, size: int, options: Mapping[str, str], wait_seconds: float, is_preparing: bool
    ) -> None:
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._options: dict[str, Any] = dict(options) | {
            "options": options["options"] + _SNAPSHOTS,
            "autocommit": True,
        }
        if not is_preparing:
            self._options["prepare_threshold"] = None
        self._wait_seconds = wait_seconds
        self._places = asyncio.Semaphore(size)
        self._idle: list[ReadingConnection] = []
        self._is_closed = False

    async def read(
        self,
        caller: Caller | None,
        queries: Sequence[Query],
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> list[Rows]:
        """Return the rows of each query as `caller`, all in one transaction; `settings` hold for it and need a caller.

        Raises `Unavailable` where there is no connection within the time, or it was lost again and again.
        """
        wanted = list(queries) if caller is None else [_as_caller(caller, settings), *queries]
        await self._take_place()
        try:
            rows = await self._rows_of(wanted)
        finally:
            self._places.release()
        return rows if caller is None else rows[1:]

    async def close(self) -> None:
        """Close all connections; those at work when they are done."""
        self._is_closed = True
        await self._forget_idle()

    async def _take_place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise Unavailable("The database does not answer; try again.", retry_after_seconds=2) from error

    async def _rows_of(self, queries: Sequence[Query]) -> list[Rows]:
        for attempts_left in reversed(range(_ATTEMPTS)):
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                return await connection.rows_of(queries)
            except psycopg.errors.SerializationFailure:
                if not attempts_left:
                    raise
            except psycopg.OperationalError as error:
                if not connection.closed:
                    raise
                if not attempts_left:
                    raise Unavailable("The database connection was lost; try again.", retry_after_seconds=1) from error
            finally:
                await self._put_back(connection)
            if connection.closed:
                await self._forget_idle()  # they are probably lost as well
        raise AssertionError("unreachable")

    async def _connect(self) -> ReadingConnection:
        deadline = time.monotonic() + self._wait_seconds
        delay = 0.05
        while True:
            try:
                return await ReadingConnection.connect(self._url, **self._options)
            except psycopg.OperationalError as error:
                if time.monotonic() + delay > deadline:
                    raise Unavailable("The database does not answer; try again.", retry_after_seconds=2) from error
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)

    async def _put_back(self, connection: ReadingConnection) -> None:
        """Keep the connection for the next reader if it is of use to anybody. Closing one waits for nothing."""
        now = connection.used_at = time.monotonic()
        is_free = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if self._is_closed or not is_free or now - connection.made_at > _OLDEST_SECONDS:
            await connection.close()
        else:
            self._idle.append(connection)
        if self._idle and now - self._idle[0].used_at > _IDLE_SECONDS:
            await self._idle.pop(0).close()

    async def _forget_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()


def _as_caller(caller: Caller, settings: Mapping[str, str]) -> Query:
    values = {f"value{place}": value for place, value in enumerate(settings.values())}
    return _set_caller(tuple(settings)), settings_of(caller) | values


@lru_cache(maxsize=64)
def _set_caller(names: tuple[str, ...]) -> TextClause:
    """Return `SET_CALLER` with further settings of the transaction, in one statement: each costs its share of the round trip."""
    further = "".join(f", set_config('{name}', :value{place}, true)" for place, name in enumerate(names))
    return text(str(SET_CALLER) + further)
