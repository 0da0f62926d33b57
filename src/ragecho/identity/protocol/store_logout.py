"""SQL of ending sessions: the grants that hang on them, and the clients that want to know."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping, text

from ragecho.kernel.ids import uuid7
from ragecho.platform.database import Session


async def end_grants(db: Session, session_id: UUID) -> None:
    """End what was granted for as long as the person is signed in; `offline_access` lasts."""
    await db.execute(
        text(
            "update identity_grants set revoked_at = now(), revoked_because = 'session_ended'"
            " where session_id = :session and revoked_at is null and not 'offline_access' = any (scopes)"
        ),
        {"session": session_id},
    )


async def enqueue(db: Session, session_id: UUID) -> int:
    """Note which clients are to be told of the session's end, each once; return how many."""
    found = await db.execute(
        text(
            "select distinct g.client_id, g.user_id from identity_grants g join identity_clients c on c.id = g.client_id"
            " where g.session_id = :session and c.backchannel_logout_uri is not null and c.disabled_at is null"
            " and not exists (select from identity_logout_deliveries d"
            "                 where d.client_id = g.client_id and d.session_id = g.session_id)"
        ),
        {"session": session_id},
    )
    rows = found.mappings().all()
    for row in rows:
        await db.execute(
            text(
                "insert into identity_logout_deliveries (id, client_id, subject, session_id)"
                " values (:id, :client, :subject, :session)"
            ),
            {"id": uuid7(), "client": row["client_id"], "subject": str(row["user_id"]), "session": session_id},
        )
    return len(rows)


async def unnoticed_ends(db: Session) -> Sequence[UUID]:
    """Return sessions that ended in other ways (remotely, by a new password) and still have grants to end."""
    found = await db.execute(
        text(
            "select distinct s.id from identity_sessions s join identity_grants g on g.session_id = s.id"
            " where s.ended_at > now() - interval '7 days' and g.revoked_at is null and g.expires_at > now()"
            " and (not 'offline_access' = any (g.scopes) or exists (select from identity_clients c"
            "   where c.id = g.client_id and c.backchannel_logout_uri is not null and not exists ("
            "     select from identity_logout_deliveries d where d.client_id = c.id and d.session_id = s.id)))"
            " limit 100"
        )
    )
    return list(found.scalars())


async def take_due(db: Session, *, lease_seconds: int) -> Sequence[RowMapping]:
    """Return deliveries that are due; nobody else takes them for the time of the lease."""
    found = await db.execute(
        text(
            "update identity_logout_deliveries d set attempts = d.attempts + 1,"
            " next_attempt_at = now() + make_interval(secs => :lease)"
            " from identity_clients c where c.id = d.client_id and d.id in ("
            "   select id from identity_logout_deliveries where delivered_at is null and given_up_at is null"
            "   and next_attempt_at <= now() order by next_attempt_at limit 20 for update skip locked)"
            " returning d.id, d.client_id, d.subject, d.session_id, d.attempts, c.backchannel_logout_uri"
        ),
        {"lease": lease_seconds},
    )
    return found.mappings().all()


async def note_delivery(db: Session, delivery_id: UUID) -> None:
    """Note that the client was told."""
    await db.execute(
        text("update identity_logout_deliveries set delivered_at = now(), last_error = null where id = :id"),
        {"id": delivery_id},
    )


async def note_failure(db: Session, delivery_id: UUID, *, error: str, retry_seconds: int | None) -> None:
    """Note that the client was not reached, and when to try again; never where no time is given."""
    await db.execute(
        text(
            "update identity_logout_deliveries set last_error = :error,"
            " next_attempt_at = now() + make_interval(secs => coalesce(:retry, 0)),"
            " given_up_at = case when cast(:retry as integer) is null then now() end where id = :id"
        ),
        {"id": delivery_id, "error": error[:200], "retry": retry_seconds},
    )


async def delete_old(db: Session) -> None:
    """Forget what has long been over; codes and refresh tokens of grants go with them."""
    for statement in (
        "delete from identity_codes where expires_at < now() - interval '1 day'",
        "delete from identity_interactions where expires_at < now() - interval '1 day'",
        "delete from identity_device_codes where expires_at < now() - interval '1 day'",
        "delete from identity_pushed_requests where expires_at < now() - interval '1 day'",
        "delete from identity_revoked_tokens where expires_at < now() - interval '1 hour'",
        "delete from identity_used_assertions where expires_at < now() - interval '1 hour'",
        "delete from identity_grants where coalesce(revoked_at, expires_at) < now() - interval '30 days'",
        "delete from identity_logout_deliveries where created_at < now() - interval '30 days'",
    ):
        await db.execute(text(statement))
