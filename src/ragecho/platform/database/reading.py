"""Reading in one round trip: what the hot paths, who is calling and search, ask of the database.

Connections of their own, because the way of transactions costs more than these statements do: nothing is checked out through
another library, and neither BEGIN nor COMMIT is sent. All statements between two synchronisations of the protocol are one
transaction to PostgreSQL ("implicit transaction block", protocol-flow in its manual), so what the first one sets holds for
the others and for nobody after them. Every such transaction sees the database of one moment.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import URL, TextClause, text

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Unavailable
from ragecho.platform.background import to_its_end
from ragecho.platform.database.callers import SET_CALLER, settings_of
from ragecho.platform.database.round_trip import Query, ReadingConnection, Rows

__all__ = ["Query", "Readers", "Rows"]

_SNAPSHOTS = " -c default_transaction_isolation=repeatable\\ read"
# A snapshot does not write what another transaction has written since; the next one has seen it. (When a key was last used is
# noted once a minute, by whoever reads it first.)
_ATTEMPTS = 4


class Readers:
    """Connections that read, at most `size`; they are made when they are needed."""

    def __init__(
        self, url: URL, *, size: int, options: Mapping[str, str], wait_seconds: float, is_preparing: bool
    ) -> None:
        connecting: dict[str, Any] = dict(options) | {"options": options["options"] + _SNAPSHOTS, "autocommit": True}
        if not is_preparing:
            connecting["prepare_threshold"] = None
        self._pool = AsyncConnectionPool(
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            connection_class=ReadingConnection,
            min_size=0,
            max_size=size,
            timeout=wait_seconds,
            kwargs=connecting,
            open=False,
        )

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
        if self._pool.closed:  # until the first read
            await self._pool.open()
        for attempts_left in reversed(range(_ATTEMPTS)):
            connection = await self._connect()
            try:
                rows = await connection.rows_of(wanted)
                return rows if caller is None else rows[1:]
            except psycopg.errors.SerializationFailure:
                if not attempts_left:
                    raise
            except psycopg.OperationalError as error:
                if not connection.closed:
                    raise
                if not attempts_left:
                    raise Unavailable("The database connection was lost; try again.", retry_after_seconds=1) from error
            finally:
                await to_its_end(self._pool.putconn(connection))
            if connection.closed:
                await self._pool.check()  # the others are probably lost as well
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def _connect(self) -> ReadingConnection:
        try:
            return await self._pool.getconn()
        except PoolTimeout as error:
            raise Unavailable("The database does not answer; try again.", retry_after_seconds=2) from error


def _as_caller(caller: Caller, settings: Mapping[str, str]) -> Query:
    values = {f"value{place}": value for place, value in enumerate(settings.values())}
    return _set_caller(tuple(settings)), settings_of(caller) | values


@lru_cache(maxsize=64)
def _set_caller(names: tuple[str, ...]) -> TextClause:
    """Return `SET_CALLER` with further settings of the transaction, in one statement: each costs its share of the round trip."""
    further = "".join(f", set_config('{name}', :value{place}, true)" for place, name in enumerate(names))
    return text(str(SET_CALLER) + further)
