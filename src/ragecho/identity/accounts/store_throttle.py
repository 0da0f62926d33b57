"""SQL of the throttle's counters."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.identity.accounts.model import Count


async def lock_counts(session: AsyncConnection, keys: Sequence[bytes], *, at: datetime) -> dict[bytes, Count]:
    """Return the counts, making those that are missing, and hold them until the transaction ends.

    In the order of their keys, so that two requests with the same counters cannot wait for each other.
    """
    found = await session.execute(
        text(
            "insert into identity_throttle as t (key, failures, last_at, blocked_until)"
            " select key, 0, :at, 'epoch' from unnest(cast(:keys as bytea[])) as key order by key"
            " on conflict (key) do update set key = t.key returning key, failures, last_at, blocked_until"
        ),
        {"keys": list(keys), "at": at},
    )
    return {bytes(row.key): Count(row.failures, row.last_at, row.blocked_until) for row in found}


async def save_counts(session: AsyncConnection, counts: Mapping[bytes, Count]) -> None:
    """Store counts that `lock_counts` gave."""
    await session.execute(
        text(
            "update identity_throttle t set failures = c.failures, last_at = c.last_at, blocked_until = c.blocked_until"
            " from unnest(cast(:keys as bytea[]), cast(:failures as float8[]), cast(:last_at as timestamptz[]),"
            " cast(:blocked_until as timestamptz[])) as c (key, failures, last_at, blocked_until) where t.key = c.key"
        ),
        {
            "keys": list(counts),
            "failures": [count.failures for count in counts.values()],
            "last_at": [count.last_at for count in counts.values()],
            "blocked_until": [count.blocked_until for count in counts.values()],
        },
    )


async def take_back(session: AsyncConnection, *, shared: Sequence[bytes], own: Sequence[bytes]) -> None:
    """Take one attempt back from shared counters, and clear the others."""
    # Locked in the order that `lock_counts` uses.
    await session.execute(
        text("select from identity_throttle where key = any (cast(:keys as bytea[])) order by key for update"),
        {"keys": [*shared, *own]},
    )
    await session.execute(
        text("delete from identity_throttle where key = any (cast(:own as bytea[]))"), {"own": list(own)}
    )
    await session.execute(
        text(
            "update identity_throttle set failures = greatest(failures - 1, 0) where key = any (cast(:shared as bytea[]))"
        ),
        {"shared": list(shared)},
    )


async def delete_before(session: AsyncConnection, moment: datetime) -> int:
    """Delete counters that were last used before `moment`."""
    done = await session.execute(text("delete from identity_throttle where last_at < :moment"), {"moment": moment})
    return done.rowcount
