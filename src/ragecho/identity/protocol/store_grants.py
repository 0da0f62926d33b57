"""SQL of grants, consents, codes, refresh tokens and pushed requests. What must happen once is one conditional update."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text

from ragecho.platform.database import Session

DEFAULT_GRANT_DAYS = 90
# Of a grant `g` of a person `u`. Without offline_access it ends with the browser session that it was given in.
_LIVE = (
    "g.revoked_at is null and g.expires_at > now() and not u.is_disabled and (g.session_id is null"
    " or 'offline_access' = any (g.scopes) or not exists (select from identity_sessions s"
    "                                                     where s.id = g.session_id and s.ended_at is not null))"
)


async def insert_grant(
    db: Session,
    grant_id: UUID,
    *,
    client_id: str,
    user_id: UUID,
    session_id: UUID | None,
    scopes: Sequence[str],
    resources: Sequence[str] = (),
    auth_time: datetime,
    acr: str | None,
    amr: Sequence[str],
    claims: Mapping[str, Any] | None,
    days: int = DEFAULT_GRANT_DAYS,
) -> None:
    """Store what a person allowed a client."""
    await db.execute(
        text(
            "insert into identity_grants"
            " (id, client_id, user_id, session_id, scopes, resources, auth_time, acr, amr, claims, expires_at) values"
            " (:id, :client, :user, :session, :scopes, :resources, :auth_time, :acr, :amr, cast(:claims as jsonb),"
            "  now() + make_interval(days => :days))"
        ),
        {
            "id": grant_id,
            "client": client_id,
            "user": user_id,
            "session": session_id,
            "scopes": list(scopes),
            "resources": list(resources),
            "auth_time": auth_time,
            "acr": acr,
            "amr": list(amr),
            "claims": orjson.dumps(claims).decode() if claims else None,
            "days": days,
        },
    )


async def delete_grant(db: Session, grant_id: UUID) -> None:
    """Forget a grant that gave nothing."""
    await db.execute(text("delete from identity_grants where id = :id"), {"id": grant_id})


async def find_grant(db: Session, grant_id: UUID) -> RowMapping | None:
    """Return a grant that counts: not revoked, not over, of a person who is not disabled."""
    found = await db.execute(
        text(
            "select g.id, g.client_id, g.user_id, g.session_id, g.scopes, g.resources, g.auth_time, g.acr, g.amr, g.claims, g.expires_at"
            " from identity_grants g join users u on u.id = g.user_id"
            f" where g.id = :id and {_LIVE}"
        ),
        {"id": grant_id},
    )
    return found.mappings().first()


async def revoke_grant(db: Session, grant_id: UUID, because: str) -> None:
    """End a grant with everything it gave."""
    await db.execute(
        text(
            "update identity_grants set revoked_at = now(), revoked_because = :because"
            " where id = :id and revoked_at is null"
        ),
        {"id": grant_id, "because": because},
    )


async def insert_code(
    db: Session,
    code_sha256: bytes,
    *,
    grant_id: UUID,
    client_id: str,
    redirect_uri: str,
    is_redirect_uri_given: bool,
    nonce: str | None,
    code_challenge: str | None,
    seconds: int,
) -> None:
    """Store an authorization code."""
    await db.execute(
        text(
            "insert into identity_codes (code_sha256, grant_id, client_id, redirect_uri, is_redirect_uri_given, nonce,"
            " code_challenge, expires_at) values (:code, :grant, :client, :redirect_uri, :is_given, :nonce, :challenge,"
            " now() + make_interval(secs => :seconds))"
        ),
        {
            "code": code_sha256,
            "grant": grant_id,
            "client": client_id,
            "redirect_uri": redirect_uri,
            "is_given": is_redirect_uri_given,
            "nonce": nonce,
            "challenge": code_challenge,
            "seconds": seconds,
        },
    )


async def take_code(db: Session, code_sha256: bytes, client_id: str) -> RowMapping | None:
    """Use a code of this client: the first of all parallel redemptions gets it, the others None."""
    found = await db.execute(
        text(
            "update identity_codes set used_at = now() where code_sha256 = :code and client_id = :client"
            " and used_at is null and expires_at > now()"
            " returning grant_id, redirect_uri, is_redirect_uri_given, nonce, code_challenge"
        ),
        {"code": code_sha256, "client": client_id},
    )
    return found.mappings().first()


async def grant_of_used_code(db: Session, code_sha256: bytes) -> UUID | None:
    """Return the grant of a code that was used before."""
    found = await db.execute(
        text("select grant_id from identity_codes where code_sha256 = :code and used_at is not null"),
        {"code": code_sha256},
    )
    return found.scalar_one_or_none()


async def insert_refresh_token(
    db: Session, token_sha256: bytes, *, grant_id: UUID, generation: int, idle_days: int
) -> None:
    """Store the newest token of a family; it ends with the grant at the latest."""
    await db.execute(
        text(
            "insert into identity_refresh_tokens (token_sha256, grant_id, generation, expires_at)"
            " select :token, g.id, :generation, least(g.expires_at, now() + make_interval(days => :days))"
            " from identity_grants g where g.id = :grant"
        ),
        {"token": token_sha256, "grant": grant_id, "generation": generation, "days": idle_days},
    )


async def find_refresh_token(db: Session, token_sha256: bytes) -> RowMapping | None:
    """Return a refresh token, used or not, with its grant's state."""
    found = await db.execute(
        text(
            "select t.grant_id, t.generation, t.used_at, t.expires_at, g.client_id, g.scopes, g.resources,"
            f" t.expires_at > now() and {_LIVE} as is_live"
            " from identity_refresh_tokens t join identity_grants g on g.id = t.grant_id join users u on u.id = g.user_id"
            " where t.token_sha256 = :token"
        ),
        {"token": token_sha256},
    )
    return found.mappings().first()


async def take_refresh_token(db: Session, token_sha256: bytes) -> bool:
    """Use a refresh token; the first of all parallel requests gets True."""
    done = await db.execute(
        text("update identity_refresh_tokens set used_at = now() where token_sha256 = :token and used_at is null"),
        {"token": token_sha256},
    )
    return bool(done.rowcount)


async def is_within_leeway(db: Session, token_sha256: bytes, *, seconds: int) -> bool:
    """Return whether the used token is the one right before the newest, and was used a moment ago."""
    found = await db.execute(
        text(
            "select t.used_at > clock_timestamp() - make_interval(secs => :seconds) and not exists ("
            "   select from identity_refresh_tokens newer where newer.grant_id = t.grant_id"
            "   and (newer.generation > t.generation + 1 or (newer.generation = t.generation + 1 and newer.used_at is not null)))"
            " from identity_refresh_tokens t where t.token_sha256 = :token and t.used_at is not null"
        ),
        {"token": token_sha256, "seconds": seconds},
    )
    return bool(found.scalar_one_or_none())


async def find_consent(db: Session, user_id: UUID, client_id: str) -> frozenset[str]:
    """Return the scopes that the person allowed the client before."""
    found = await db.execute(
        text("select scopes from identity_consents where user_id = :user and client_id = :client"),
        {"user": user_id, "client": client_id},
    )
    return frozenset(found.scalar_one_or_none() or ())


async def add_consent(db: Session, user_id: UUID, client_id: str, scopes: Sequence[str]) -> None:
    """Remember what the person allowed the client, besides what was allowed before."""
    await db.execute(
        text(
            "insert into identity_consents (user_id, client_id, scopes) values (:user, :client, :scopes)"
            " on conflict (user_id, client_id) do update set granted_at = now(),"
            " scopes = array(select distinct unnest(identity_consents.scopes || excluded.scopes))"
        ),
        {"user": user_id, "client": client_id, "scopes": list(scopes)},
    )


async def insert_pushed_request(
    db: Session, request_sha256: bytes, *, client_id: str, parameters: Mapping[str, str], seconds: int
) -> None:
    """Store a pushed authorization request."""
    await db.execute(
        text(
            "insert into identity_pushed_requests (request_sha256, client_id, parameters, expires_at) values"
            " (:request, :client, cast(:parameters as jsonb), now() + make_interval(secs => :seconds))"
        ),
        {
            "request": request_sha256,
            "client": client_id,
            "parameters": orjson.dumps(dict(parameters)).decode(),
            "seconds": seconds,
        },
    )


async def take_pushed_request(db: Session, request_sha256: bytes, client_id: str) -> Mapping[str, str] | None:
    """Use a pushed request of this client, once."""
    found = await db.execute(
        text(
            "update identity_pushed_requests set used_at = now() where request_sha256 = :request and client_id = :client"
            " and used_at is null and expires_at > now() returning parameters"
        ),
        {"request": request_sha256, "client": client_id},
    )
    return found.scalar_one_or_none()


async def revoke_token(db: Session, jti: str, expires_at: datetime) -> None:
    """End one access token that has no grant."""
    await db.execute(
        text("insert into identity_revoked_tokens (jti, expires_at) values (:jti, :expires_at) on conflict do nothing"),
        {"jti": jti, "expires_at": expires_at},
    )


async def is_token_revoked(db: Session, jti: str) -> bool:
    """Return whether an access token was ended one by one."""
    found = await db.execute(text("select 1 from identity_revoked_tokens where jti = :jti"), {"jti": jti})
    return found.first() is not None


async def use_assertion(db: Session, assertion_sha256: bytes, expires_at: datetime) -> bool:
    """Use up a client's assertion; False when it was used before."""
    made = await db.execute(
        text(
            "insert into identity_used_assertions (assertion_sha256, expires_at) values (:assertion, :expires_at)"
            " on conflict do nothing"
        ),
        {"assertion": assertion_sha256, "expires_at": expires_at},
    )
    return bool(made.rowcount)


async def find_person(db: Session, user_id: UUID) -> RowMapping | None:
    """Return a person who is not disabled."""
    found = await db.execute(text("select * from users where id = :id and not is_disabled"), {"id": user_id})
    return found.mappings().first()
