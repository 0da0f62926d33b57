"""SQL of signing keys."""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import RowMapping, text

from ragecho.platform.database import Session

# Two processes that start at once must not both make keys; any constant will do.
_LOCK = 0x6B657973

PUBLISHED = text(
    "select kid, alg, status, public_jwk, private_vault, activated_at from identity_signing_keys"
    " where expires_at is null or expires_at > now() order by created_at desc"
)


async def lock(db: Session) -> None:
    """Let one transaction at a time change keys."""
    await db.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def find(db: Session, alg: str, status: str) -> RowMapping | None:
    """Return the one key of this kind, with its age in days since it signs."""
    found = await db.execute(
        text(
            "select kid, extract(epoch from now() - activated_at) / 86400 as age_days from identity_signing_keys"
            " where alg = :alg and status = :status"
        ),
        {"alg": alg, "status": status},
    )
    return found.mappings().first()


async def insert(
    db: Session, *, kid: str, alg: str, status: str, public: Mapping[str, Any], private_vault: str
) -> None:
    """Store a key."""
    await db.execute(
        text(
            "insert into identity_signing_keys (kid, alg, status, public_jwk, private_vault, activated_at) values"
            " (:kid, :alg, :status, cast(:public as jsonb), :private, case when :status = 'current' then now() end)"
        ),
        {
            "kid": kid,
            "alg": alg,
            "status": status,
            "public": orjson.dumps(public).decode(),
            "private": private_vault,
        },
    )


async def promote(db: Session, alg: str, *, keep_days: int) -> None:
    """Let the next key sign from now on; the one before is still published for `keep_days`."""
    await db.execute(
        text(
            "update identity_signing_keys set status = 'previous', expires_at = now() + make_interval(days => :days)"
            " where alg = :alg and status = 'current'"
        ),
        {"alg": alg, "days": keep_days},
    )
    await db.execute(
        text(
            "update identity_signing_keys set status = 'current', activated_at = now() where alg = :alg and status = 'next'"
        ),
        {"alg": alg},
    )
    await db.execute(text("delete from identity_signing_keys where expires_at < now()"))
