"""SQL of the gateway; run as the identity service's role."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from ragecho.kernel.ids import UserId, WorkspaceId
from ragecho.platform.database import Session
from ragecho.web.model import PendingLogin, WebSession

# A session counts while nothing it rests on has ended: the person, what they allowed, the provider's own session. So that
# suspension and signing out elsewhere hold from the next request on. Found by the digest's unique index.
FIND_SESSION: Final = text("""
    select s.id, s.user_id, u.email, u.name, s.grant_id, s.expires_at,
           coalesce(s.renew_at <= now(), false) as is_due,
           s.last_seen_at < now() - interval '1 minute' as is_unseen
    from web_sessions s
    join users u on u.id = s.user_id
    left join identity_grants g on g.id = s.grant_id
    left join identity_sessions p on p.id = s.provider_session_id
    where s.secret_sha256 = :digest and s.ended_at is null and s.expires_at > now()
      and s.last_seen_at > now() - make_interval(secs => s.idle_seconds)
      and not u.is_disabled and u.deleted_at is null
      and (s.grant_id is null or (g.id is not null and g.revoked_at is null))
      and p.ended_at is null
""")


def session_of(row: dict[str, Any]) -> WebSession:
    """Return the value of a row of `FIND_SESSION`."""
    return WebSession(**{**row, "user_id": UserId(row["user_id"])})


async def insert_login(
    db: Session, state_sha256: bytes, *, browser_sha256: bytes, return_to: str, minutes: int
) -> None:
    """Store a sign-in that begins; forgets old ones."""
    await db.execute(text("delete from web_logins where expires_at < now() - interval '1 day'"))
    await db.execute(
        text(
            "insert into web_logins (state_sha256, browser_sha256, return_to, expires_at)"
            " values (:state, :browser, :return_to, now() + make_interval(mins => :minutes))"
        ),
        {"state": state_sha256, "browser": browser_sha256, "return_to": return_to, "minutes": minutes},
    )


async def take_login(db: Session, state_sha256: bytes, browser_sha256: bytes) -> PendingLogin | None:
    """Use a sign-in of this browser, once; of parallel ones only the first finds it open."""
    values = {"state": state_sha256, "browser": browser_sha256}
    taken = await db.execute(
        text(
            "update web_logins set used_at = now() where state_sha256 = :state and browser_sha256 = :browser"
            " and used_at is null and expires_at > now() returning return_to"
        ),
        values,
    )
    return_to = taken.scalar_one_or_none()
    if return_to is not None:
        return PendingLogin(return_to, is_open=True)
    found = await db.execute(
        text("select return_to from web_logins where state_sha256 = :state and browser_sha256 = :browser"), values
    )
    return_to = found.scalar_one_or_none()
    return None if return_to is None else PendingLogin(return_to, is_open=False)


async def insert_session(db: Session, values: dict[str, Any]) -> None:
    """Store a session; forgets those that ended long ago."""
    await db.execute(text("delete from web_sessions where expires_at < now() - interval '7 days'"))
    await db.execute(
        text(
            "insert into web_sessions (id, secret_sha256, user_id, provider_session_id, grant_id, id_token_sealed,"
            " refresh_sealed, renew_at, idle_seconds, expires_at) values (:id, :digest, :user_id, :provider_session_id,"
            " :grant_id, :id_token_sealed, :refresh_sealed, now() + make_interval(secs => :renew_seconds), :idle_seconds,"
            " now() + make_interval(mins => :max_minutes))"
        ),
        values,
    )


async def touch(db: Session, session_id: UUID) -> None:
    """Note that the session is used."""
    await db.execute(text("update web_sessions set last_seen_at = now() where id = :id"), {"id": session_id})


async def claim_renewal(db: Session, session_id: UUID, *, seconds: float) -> str | None:
    """Return the sealed refresh token to the one request that is to renew; None to all others meanwhile."""
    found = await db.execute(
        text(
            "update web_sessions set renewing_until = now() + make_interval(secs => :seconds) where id = :id"
            " and ended_at is null and renew_at <= now() and (renewing_until is null or renewing_until < now())"
            " returning refresh_sealed"
        ),
        {"id": session_id, "seconds": seconds},
    )
    return found.scalar_one_or_none()


async def save_renewal(
    db: Session, session_id: UUID, *, refresh_sealed: str | None, id_token_sealed: str | None, renew_seconds: float
) -> None:
    """Store what the renewal gave; what it did not give stays."""
    await db.execute(
        text(
            "update web_sessions set refresh_sealed = coalesce(:refresh, refresh_sealed),"
            " id_token_sealed = coalesce(:id_token, id_token_sealed), renewing_until = null,"
            " renew_at = now() + make_interval(secs => :seconds) where id = :id"
        ),
        {"id": session_id, "refresh": refresh_sealed, "id_token": id_token_sealed, "seconds": renew_seconds},
    )


async def end_session(db: Session, digest: bytes, *, reason: str) -> tuple[UserId, UUID | None, str] | None:
    """End the session of a cookie; return its person, grant and sealed ID token, or None where it had ended."""
    found = await db.execute(
        text(
            "update web_sessions set ended_at = now(), end_reason = :reason, refresh_sealed = null"
            " where secret_sha256 = :digest and ended_at is null returning user_id, grant_id, id_token_sealed"
        ),
        {"digest": digest, "reason": reason},
    )
    row = found.first()
    return None if row is None else (UserId(row[0]), row[1], row[2])


async def end_by_id(db: Session, session_id: UUID, *, reason: str) -> None:
    """End one session."""
    await db.execute(
        text(
            "update web_sessions set ended_at = now(), end_reason = :reason, refresh_sealed = null"
            " where id = :id and ended_at is null"
        ),
        {"id": session_id, "reason": reason},
    )


async def end_matching(db: Session, *, user_id: UserId | None, provider_session_id: UUID | None, reason: str) -> int:
    """End the sessions that came from this session of the provider, or without one all of the person's."""
    done = await db.execute(
        text(
            "update web_sessions set ended_at = now(), end_reason = :reason, refresh_sealed = null"
            " where ended_at is null and (cast(:user as uuid) is null or user_id = :user)"
            " and (cast(:sid as uuid) is null or provider_session_id = :sid)"
            " and (cast(:user as uuid) is not null or cast(:sid as uuid) is not null)"
        ),
        {"user": user_id, "sid": provider_session_id, "reason": reason},
    )
    return int(done.rowcount)


async def remember_logout_token(db: Session, jti_sha256: bytes, expires_at: datetime) -> bool:
    """Return False where the token was used before."""
    await db.execute(text("delete from web_logout_tokens where expires_at < now() - interval '1 hour'"))
    made = await db.execute(
        text(
            "insert into web_logout_tokens (jti_sha256, expires_at) values (:jti, :expires_at) on conflict do nothing"
        ),
        {"jti": jti_sha256, "expires_at": expires_at},
    )
    return bool(made.rowcount)


async def places_of(db: Session, user_id: UserId) -> list[dict[str, Any]]:
    """Return the organisations and workspaces of a person, with roles; the ones joined first come first."""
    found = await db.execute(text("select * from ragecho_places_of(:person)"), {"person": user_id})
    return [dict(row) for row in found.mappings()]


async def person(db: Session, user_id: UserId) -> tuple[str, str | None]:
    """Return a person's e-mail address and name."""
    found = await db.execute(text("select email, name from users where id = :id"), {"id": user_id})
    row = found.one()
    return row[0], row[1]


async def workspace_names(session: Session, workspace_id: WorkspaceId) -> tuple[str, str]:
    """Return slug and name of the caller's workspace; run as the application."""
    found = await session.execute(text("select slug, name from workspaces where id = :id"), {"id": workspace_id})
    row = found.one()
    return row[0], row[1]
