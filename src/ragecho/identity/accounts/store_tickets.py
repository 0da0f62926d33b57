"""SQL of sign-ins that wait for a second factor."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.ids import UserId


async def insert_ticket(
    session: AsyncConnection,
    user_id: UserId,
    *,
    digest: bytes,
    amr: Sequence[str],
    minutes: int,
) -> datetime:
    """Store a ticket by its digest; return when it ends."""
    made = await session.execute(
        text(
            "insert into identity_login_tickets (secret_sha256, user_id, amr, expires_at)"
            " values (:digest, :user_id, :amr, now() + make_interval(mins => :minutes)) returning expires_at"
        ),
        {"digest": digest, "user_id": user_id, "amr": list(amr), "minutes": minutes},
    )
    expires_at: datetime = made.scalar_one()
    return expires_at


async def try_ticket(session: AsyncConnection, digest: bytes, *, max_attempts: int) -> RowMapping | None:
    """Count a try and return the ticket; None when it is unknown, used, expired, or was tried too often."""
    done = await session.execute(
        text(
            "update identity_login_tickets set attempts = attempts + 1 where secret_sha256 = :digest and used_at is null"
            " and expires_at > now() and attempts < :max_attempts returning user_id, amr"
        ),
        {"digest": digest, "max_attempts": max_attempts},
    )
    return done.mappings().first()


async def find_ticket(session: AsyncConnection, digest: bytes, *, max_attempts: int) -> RowMapping | None:
    """Return the ticket if it can still be used."""
    found = await session.execute(
        text(
            "select user_id, amr, expires_at from identity_login_tickets where secret_sha256 = :digest"
            " and used_at is null and expires_at > now() and attempts < :max_attempts"
        ),
        {"digest": digest, "max_attempts": max_attempts},
    )
    return found.mappings().first()


async def use_ticket(session: AsyncConnection, digest: bytes) -> bool:
    """Use the ticket; False when another request has."""
    done = await session.execute(
        text(
            "update identity_login_tickets set used_at = now()"
            " where secret_sha256 = :digest and used_at is null and expires_at > now()"
        ),
        {"digest": digest},
    )
    return bool(done.rowcount)


async def delete_expired(session: AsyncConnection) -> None:
    """Forget tickets and challenges that nobody can use any more."""
    await session.execute(text("delete from identity_login_tickets where expires_at < now() - interval '1 day'"))
    await session.execute(text("delete from identity_passkey_challenges where expires_at < now() - interval '1 day'"))
