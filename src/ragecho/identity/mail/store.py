"""SQL of the outbox."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

# Longer than the links in mails work, apart from invitations, which can be sent again.
UNSENT_HOURS = 48
KEPT_DAYS = 7


async def insert_mail(session: AsyncConnection, values: dict[str, Any]) -> None:
    """Put a sealed mail into the outbox."""
    await session.execute(
        text(
            "insert into identity_outbox (id, recipient, template, subject, body_sealed)"
            " values (:id, :recipient, :template, :subject, :sealed)"
        ),
        values,
    )


async def lease_due(session: AsyncConnection, *, limit: int, lease_seconds: float) -> Sequence[RowMapping]:
    """Return mails that are due, for this process alone until the lease ends."""
    found = await session.execute(
        text(
            "update identity_outbox o set attempts = o.attempts + 1,"
            " next_attempt_at = now() + make_interval(secs => :lease_seconds)"
            " from (select id from identity_outbox where sent_at is null and failed_at is null and body_sealed is not null"
            " and next_attempt_at <= now() order by next_attempt_at limit :limit for update skip locked) as due"
            " where o.id = due.id returning o.id, o.recipient, o.template, o.body_sealed, o.attempts, o.created_at"
        ),
        {"limit": limit, "lease_seconds": lease_seconds},
    )
    return found.mappings().all()


async def mark_sent(session: AsyncConnection, mail_id: UUID) -> None:
    """Note that it was handed in, and forget what it said."""
    await session.execute(
        text("update identity_outbox set sent_at = now(), body_sealed = null, last_error = null where id = :id"),
        {"id": mail_id},
    )


async def mark_failed(session: AsyncConnection, mail_id: UUID, *, error: str) -> None:
    """Note that it will never be sent, and forget what it said."""
    await session.execute(
        text("update identity_outbox set failed_at = now(), body_sealed = null, last_error = :error where id = :id"),
        {"id": mail_id, "error": error},
    )


async def mark_retry(session: AsyncConnection, mail_id: UUID, *, error: str, seconds: float) -> None:
    """Note that it could not be sent now."""
    await session.execute(
        text(
            "update identity_outbox set last_error = :error, next_attempt_at = now() + make_interval(secs => :seconds)"
            " where id = :id"
        ),
        {"id": mail_id, "error": error, "seconds": seconds},
    )


async def seconds_until_due(session: AsyncConnection) -> float | None:
    """Return how long until a mail is due; None when none waits."""
    found = await session.execute(
        text(
            "select extract(epoch from min(next_attempt_at) - now()) from identity_outbox"
            " where sent_at is null and failed_at is null and body_sealed is not null"
        )
    )
    seconds = found.scalar_one()
    return None if seconds is None else float(seconds)


async def list_mails(session: AsyncConnection, *, limit: int) -> Sequence[RowMapping]:
    """Return the newest mails."""
    found = await session.execute(
        text(
            "select id, recipient, subject, body_sealed, created_at"
            " from identity_outbox order by created_at desc, id desc limit :limit"
        ),
        {"limit": limit},
    )
    return found.mappings().all()


async def forget_old(session: AsyncConnection) -> None:
    """Forget what unsent mails said after some hours (their links have ended) and the mails themselves after some days."""
    await session.execute(
        text(
            "update identity_outbox set body_sealed = null, failed_at = coalesce(failed_at, now()),"
            " last_error = coalesce(last_error, 'expired')"
            " where body_sealed is not null and created_at < now() - make_interval(hours => :hours)"
        ),
        {"hours": UNSENT_HOURS},
    )
    await session.execute(
        text("delete from identity_outbox where created_at < now() - make_interval(days => :days)"), {"days": KEPT_DAYS}
    )


async def claim_invitation_mail(session: AsyncConnection, digest: bytes) -> RowMapping | None:
    """Take a mail about an invitation that waits to be sent; the digest's secret opens the invitation from then on."""
    found = await session.execute(text("select * from ragecho_claim_invitation_mail(:digest)"), {"digest": digest})
    return found.mappings().first()


async def finish_invitation_mail(session: AsyncConnection, mail_id: UUID, *, is_sent: bool) -> None:
    """Say what became of it."""
    await session.execute(
        text("select ragecho_finish_invitation_mail(:mail_id, :is_sent)"), {"mail_id": mail_id, "is_sent": is_sent}
    )
