"""What the application, which may not read the identity service's tables, asks of them to verify a token."""

from typing import Any

from sqlalchemy import text

from ragecho.platform.database import Database

_KEYS = text("select kid, alg, public_jwk from ragecho_signing_keys()")
_REVOKED = text("select ragecho_token_is_revoked(:jti) as is_revoked")


async def public_keys(database: Database) -> list[dict[str, Any]]:
    """Return the published keys as JWKs."""
    [rows] = await database.read(None, (_KEYS, {}))
    return [dict(row["public_jwk"]) for row in rows]


async def is_revoked(database: Database, jti: str) -> bool:
    """Return whether a service's token was revoked."""
    [[row]] = await database.read(None, (_REVOKED, {"jti": jti}))
    return bool(row["is_revoked"])
