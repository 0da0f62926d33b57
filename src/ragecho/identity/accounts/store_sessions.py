"""SQL of browser sessions and known devices."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.identity.accounts.model import BrowserSession
from ragecho.kernel.ids import UserId

COLUMNS = "id, user_id, authenticated_at, amr, acr, created_at, last_seen_at, expires_at, user_agent, ip"  # the value's fields
LIVE = (
    "ended_at is null and expires_at > now() and last_seen_at + make_interval(secs => idle_seconds) > now()"
    " and not exists (select from users u where u.id = user_id and u.is_disabled)"
)


async def insert_session(session: AsyncConnection, values: dict[str, Any]) -> BrowserSession:
    """Store a session by the digest of its secret."""
    made = await session.execute(
        text(
            "insert into identity_sessions (id, user_id, secret_sha256, authenticated_at, amr, acr, expires_at, idle_seconds,"
            " user_agent, ip) values (:id, :user_id, :digest, coalesce(cast(:authenticated_at as timestamptz), now()), :amr,"
            " :acr, now() + make_interval(secs => :max_seconds), :idle_seconds, :user_agent, :ip)"
            f" returning {COLUMNS}"
        ),
        values,
    )
    return _session(made.mappings().one())


async def find_session(session: AsyncConnection, digest: bytes) -> BrowserSession | None:
    """Return the live session with this digest, noting that it was seen (to the minute, so that reads rarely write)."""
    found = await session.execute(
        text(f"select {COLUMNS} from identity_sessions where secret_sha256 = :digest and {LIVE}"), {"digest": digest}
    )
    row = found.mappings().first()
    if row is None:
        return None
    await session.execute(
        text(
            "update identity_sessions set last_seen_at = now()"
            " where id = :id and last_seen_at < now() - interval '1 minute' and ended_at is null"
        ),
        {"id": row["id"]},
    )
    return _session(row)


async def renew_session(
    session: AsyncConnection, session_id: UUID, *, digest: bytes, amr: Sequence[str], acr: str
) -> BrowserSession | None:
    """Give a live session a new secret and a new time of authentication; None when it has ended meanwhile."""
    done = await session.execute(
        text(
            "update identity_sessions set secret_sha256 = :digest, authenticated_at = now(), last_seen_at = now(),"
            f" amr = :amr, acr = :acr where id = :id and {LIVE} returning {COLUMNS}"
        ),
        {"id": session_id, "digest": digest, "amr": list(amr), "acr": acr},
    )
    row = done.mappings().first()
    return _session(row) if row else None


async def list_sessions(session: AsyncConnection, user_id: UserId) -> list[BrowserSession]:
    """Return a person's live sessions, last seen first."""
    found = await session.execute(
        text(
            f"select {COLUMNS} from identity_sessions where user_id = :user_id and {LIVE}"
            " order by last_seen_at desc, id desc"
        ),
        {"user_id": user_id},
    )
    return [_session(row) for row in found.mappings()]


async def end_sessions(
    session: AsyncConnection, user_id: UserId, *, reason: str, only: UUID | None = None, keep: UUID | None = None
) -> list[UUID]:
    """End a person's sessions (just `only`, or all but `keep`) and return which ended now."""
    done = await session.execute(
        text(
            "update identity_sessions set ended_at = now(), end_reason = :reason where user_id = :user_id"
            " and ended_at is null and (cast(:only as uuid) is null or id = :only)"
            " and (cast(:keep as uuid) is null or id <> :keep) returning id"
        ),
        {"user_id": user_id, "reason": reason, "only": only, "keep": keep},
    )
    return list(done.scalars())


async def delete_ended(session: AsyncConnection, *, days: int) -> int:
    """Forget sessions that ended or ran out long ago (returns how many), and browsers not used for as long."""
    done = await session.execute(
        text(
            "delete from identity_sessions where coalesce(ended_at, expires_at) < now() - make_interval(days => :days)"
        ),
        {"days": days},
    )
    await session.execute(text("delete from identity_devices where expires_at < now()"))
    return done.rowcount


async def insert_device(
    session: AsyncConnection, device_id: UUID, user_id: UserId, *, digest: bytes, days: int
) -> bool:
    """Remember a browser that signed in; True when it is the only one that the person has."""
    made = await session.execute(
        text(
            "with known as (select count(*) as n from identity_devices where user_id = :user_id and expires_at > now()),"
            " made as (insert into identity_devices (id, user_id, secret_sha256, expires_at)"
            " values (:id, :user_id, :digest, now() + make_interval(days => :days))) select n = 0 from known"
        ),
        {"id": device_id, "user_id": user_id, "digest": digest, "days": days},
    )
    return bool(made.scalar_one())


async def find_device(session: AsyncConnection, user_id: UserId, digest: bytes) -> UUID | None:
    """Return the id of the browser, if this person has signed in there before."""
    found = await session.execute(
        text(
            "select id from identity_devices where user_id = :user_id and secret_sha256 = :digest and expires_at > now()"
        ),
        {"user_id": user_id, "digest": digest},
    )
    return found.scalar_one_or_none()


async def touch_device(session: AsyncConnection, device_id: UUID, *, days: int) -> None:
    """Keep a browser known for longer."""
    await session.execute(
        text(
            "update identity_devices set last_used_at = now(), expires_at = now() + make_interval(days => :days)"
            " where id = :id"
        ),
        {"id": device_id, "days": days},
    )


async def delete_devices(session: AsyncConnection, user_id: UserId) -> None:
    """Forget every browser of a person."""
    await session.execute(text("delete from identity_devices where user_id = :user_id"), {"user_id": user_id})


def _session(row: RowMapping) -> BrowserSession:
    fields = {name: row[name] for name in COLUMNS.split(", ")}
    return BrowserSession(**{**fields, "amr": tuple(row["amr"])})
