"""Connections and transactions. A session comes only from `transaction(caller)`: no query runs without a caller."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import orjson
from sqlalchemy import URL, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import (
    ARCHIVED_MESSAGE,
    ConfigurationError,
    Conflict,
    EchoError,
    LastOwner,
    Unavailable,
    WorkspaceArchived,
)
from ragecho.platform.database.callers import SET_CALLER, settings_of
from ragecho.platform.database.reading import Query, Readers, Rows

APP_ROLE = "ragecho_app"
# The identity service's own: accounts, credentials, clients, tokens. The application may not read those tables.
IDENTITY_ROLE = "ragecho_identity"
RECONNECT_SECONDS = 10.0
# Searching the vector graph: a list as long as recall needs (library/search_route.py lengthens it for large workspaces), and
# going on where a filter or a policy took results away.
GRAPH_SETTINGS = {"hnsw.ef_search": "120", "hnsw.iterative_scan": "relaxed_order"}

# What our own triggers refuse (0004_tenancy.sql), whoever wrote: the database is the last to say no.
REFUSALS: Mapping[str, Callable[[], EchoError]] = {
    "EC001": lambda: WorkspaceArchived(ARCHIVED_MESSAGE),
    "EC002": lambda: LastOwner("An organisation keeps at least one owner. Name another owner first."),
    # Two at once: each looked first, and the database let one through. Uniqueness never crosses tenants.
    "23505": lambda: Conflict("Something by that name was made at the same moment. Look again."),
    "23503": lambda: Conflict("Something that this refers to was removed at the same moment. Look again."),
}

SNAPSHOT = text("set transaction isolation level repeatable read")


def driver_url(url: str) -> URL:
    """Return the SQLAlchemy URL for psycopg 3 of a `postgresql://` URL. Raises `ConfigurationError`."""
    try:
        parsed = make_url(url)
    except Exception as error:
        raise ConfigurationError("RAGECHO_DATABASE_URL is not a URL like postgresql://user@host/database.") from error
    if not parsed.drivername.startswith("postgres"):
        raise ConfigurationError("RAGECHO_DATABASE_URL must be a postgresql:// URL.")
    return parsed.set(drivername="postgresql+psycopg")


class Database:
    """A pool of connections that run as `role` (one of ours, which owns nothing), whoever logged in.

    Of `pool_size` connections `readers` are for `read` alone, half unless said otherwise; one of each is the least.
    """

    def __init__(
        self,
        url: str,
        *,
        role: str = APP_ROLE,
        pool_size: int = 10,
        readers: int | None = None,
        application_name: str = "ragecho",
        is_preparing: bool = True,
    ) -> None:
        parsed = driver_url(url)
        if parsed.username == APP_ROLE:
            # The embedded server lets our roles log in; who logged in as one of them cannot become another.
            parsed = parsed.set(username=role)
        settings = dict(GRAPH_SETTINGS)
        if parsed.username != role:
            # As a start-up parameter the role is the session's own default: RESET ROLE leads back to it.
            settings["role"] = role
        options: dict[str, Any] = {
            "application_name": application_name,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        }
        self.url = url
        readers = max(1, pool_size // 2) if readers is None else readers
        self._readers = Readers(
            parsed, size=readers, options=options, wait_seconds=RECONNECT_SECONDS, is_preparing=is_preparing
        )
        self.engine: AsyncEngine = create_async_engine(
            parsed,
            pool_size=max(1, pool_size - readers),
            max_overflow=0,
            pool_timeout=30,
            connect_args=options,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            hide_parameters=True,  # they are content, and errors are logged
        )
        if not is_preparing:
            event.listen(self.engine.sync_engine, "connect", _never_prepare)

    @asynccontextmanager
    async def transaction(self, caller: Caller, *, is_snapshot: bool = False) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a transaction that sees what `caller` may see; commits at the end, rolls back on error.

        With `is_snapshot` all its statements see the database of one moment.
        Raises `Unavailable` when the database does not come back within `RECONNECT_SECONDS`.
        """
        async with self._begun(settings_of(caller), is_snapshot=is_snapshot) as connection:
            yield connection

    @asynccontextmanager
    async def anonymous(self) -> AsyncIterator[AsyncConnection]:
        """Yield a transaction without a caller: no tenant row is visible. For credentials, the queue."""
        async with self._begun(None) as connection:
            yield connection

    @asynccontextmanager
    async def _begun(
        self, settings: dict[str, str] | None, *, is_snapshot: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        connection = await self._connect(settings, is_snapshot=is_snapshot)
        try:
            yield connection
            await connection.commit()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise Unavailable("The database connection was lost; try again.", retry_after_seconds=1) from error
            refusal = REFUSALS.get(getattr(error.orig, "sqlstate", None) or "")
            if refusal is not None:
                raise refusal() from error
            raise
        finally:
            # Closing rolls back what was not committed, and must finish even when the request was cancelled.
            await asyncio.shield(connection.close())

    async def read(
        self, caller: Caller | None, *queries: Query, settings: Mapping[str, str] = MappingProxyType({})
    ) -> list[Rows]:
        """Return the rows of each query, run in one transaction as `caller` and sent in one round trip.

        For the two hot paths, who is calling and search: the same rules as `transaction`, at less than half of its CPU time
        (see `reading`). All queries see the database of one moment. `settings` hold for this transaction; it needs a caller.
        Raises `Unavailable`.
        """
        return await self._readers.read(caller, queries, settings)

    async def _connect(self, settings: dict[str, str] | None, *, is_snapshot: bool = False) -> AsyncConnection:
        """Return a connection whose transaction has the settings; a dead pooled connection is replaced, not shown."""
        deadline = asyncio.get_running_loop().time() + RECONNECT_SECONDS
        delay = 0.05
        while True:
            connection = None
            try:
                connection = await self.engine.connect()
                if is_snapshot:
                    await connection.execute(SNAPSHOT)
                if settings is not None:
                    await connection.execute(SET_CALLER, settings)
            except OperationalError as error:
                if connection is not None:
                    await connection.invalidate()
                    await connection.close()
                if asyncio.get_running_loop().time() + delay > deadline:
                    raise Unavailable("The database does not answer; try again.", retry_after_seconds=2) from error
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
            else:
                return connection

    async def ping(self) -> None:
        """Run the smallest query. Raises what the driver raises."""
        async with self.engine.connect() as connection:
            await connection.execute(text("select 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self._readers.close()
        await self.engine.dispose()


def _never_prepare(dbapi_connection: Any, _record: object) -> None:
    # A prepared statement lives in one server connection; a proxy that pools transactions changes it underneath.
    dbapi_connection.driver_connection.prepare_threshold = None
