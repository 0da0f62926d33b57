"""Browser sessions: a row per signed-in browser, a secret in its cookie, a digest of it in the row.

A session ends when it is signed out (here, remotely, by a new password, by suspension), after `session_idle_minutes`
without use, and `session_max_minutes` after sign-in. An ended row stays for a while with `ended_at` and `end_reason`:
that is what grants and back-channel logout go by.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ragecho.identity.accounts import store_sessions as store
from ragecho.identity.accounts.digests import digest_of, new_secret
from ragecho.identity.accounts.model import BrowserSession, acr_of
from ragecho.identity.accounts.settings import AccountSettings
from ragecho.identity.accounts.text import storable
from ragecho.kernel.errors import Unauthenticated
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import Session

__all__ = [
    "BrowserSession",
    "EndReason",
    "current_session",
    "end_other_sessions",
    "end_session",
    "list_sessions",
    "start_session",
    "step_up",
]

MAX_USER_AGENT = 400
MAX_ADDRESS = 64


class EndReason(StrEnum):
    """Why a session ended (`identity_sessions.end_reason`)."""

    SIGNED_OUT = "signed_out"
    SIGNED_OUT_REMOTELY = "signed_out_remotely"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a reason, not a password
    SUSPENDED = "suspended"
    ACCOUNT_DELETED = "account_deleted"
    REPLACED = "replaced"


async def current_session(db: Session, cookie_value: str | None) -> BrowserSession | None:
    """Return the live session of this cookie; None when there is none, it has ended, or the person is suspended."""
    if not cookie_value:
        return None
    return await store.find_session(db, digest_of(cookie_value))


async def start_session(
    db: Session,
    user_id: UserId,
    *,
    amr: Sequence[str],
    user_agent: str | None,
    ip: str | None,
    settings: AccountSettings | None = None,
    authenticated_at: datetime | None = None,
) -> tuple[BrowserSession, str]:
    """Return a new session and its cookie's secret. Always a new id: what a browser had before sign-in is not taken over.

    `authenticated_at` is when the person showed who they are, now by default.
    """
    limits = settings or AccountSettings()
    secret = new_secret()
    started = await store.insert_session(
        db,
        {
            "id": uuid7(),
            "user_id": user_id,
            "digest": digest_of(secret),
            "authenticated_at": authenticated_at,
            "amr": list(amr),
            "acr": acr_of(tuple(amr)),
            "max_seconds": limits.session_max_minutes * 60,
            "idle_seconds": limits.session_idle_minutes * 60,
            "user_agent": storable(user_agent, MAX_USER_AGENT),
            "ip": storable(ip, MAX_ADDRESS),
        },
    )
    return started, secret


async def step_up(db: Session, session_id: UUID, *, amr: Sequence[str]) -> tuple[BrowserSession, str]:
    """Note that the person has just authenticated again, by `amr`; the cookie's secret changes and the old one is dead.

    Raises `Unauthenticated` when the session has ended meanwhile.
    """
    secret = new_secret()
    renewed = await store.renew_session(db, session_id, digest=digest_of(secret), amr=amr, acr=acr_of(tuple(amr)))
    if renewed is None:
        raise Unauthenticated("This session has ended. Sign in again.")
    return renewed, secret


async def end_session(
    db: Session, session_id: UUID, user_id: UserId, *, reason: EndReason = EndReason.SIGNED_OUT
) -> bool:
    """End one session of this person; False when it is not theirs or has ended already."""
    return bool(await store.end_sessions(db, user_id, reason=reason, only=session_id))


async def list_sessions(db: Session, user_id: UserId) -> list[BrowserSession]:
    """Return where a person is signed in, last seen first."""
    return await store.list_sessions(db, user_id)


async def end_other_sessions(
    db: Session,
    user_id: UserId,
    *,
    keep: UUID | None = None,
    reason: EndReason = EndReason.SIGNED_OUT_REMOTELY,
) -> list[UUID]:
    """End all sessions of a person, except `keep`; return which ended now."""
    return await store.end_sessions(db, user_id, reason=reason, keep=keep)
