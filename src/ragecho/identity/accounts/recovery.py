"""Recovery codes: ten, shown once, each works once. 80 random bits each, so a plain SHA-256 of them can be stored."""

import re
import secrets

from ragecho.identity.accounts import store_factors as store
from ragecho.identity.accounts.digests import digest_of
from ragecho.kernel.ids import UserId
from ragecho.platform.database import Session

CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz023456789"  # 32 characters; no i, l, o, 1, which look like others
_LENGTH = 16
_GROUP = 4


def new_codes() -> tuple[str, ...]:
    """Return ten codes like `abcd-efgh-jkmn-pqrs`."""
    return tuple(_grouped("".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))) for _ in range(CODES))


def canonical(code: str) -> str | None:
    """Return the characters of a code as typed, or None when it has not the form of one."""
    text = re.sub(r"[\s-]", "", code).lower().replace("o", "0")
    return text if len(text) == _LENGTH and set(text) <= set(_ALPHABET) else None


async def replace_codes(db: Session, user_id: UserId) -> tuple[str, ...]:
    """Return new codes; the old ones stop working."""
    codes = new_codes()
    await store.replace_recovery_codes(db, user_id, [_digest(user_id, code.replace("-", "")) for code in codes])
    return codes


async def check(db: Session, user_id: UserId, code: str) -> bool:
    """Return whether the code is right, and use it up."""
    text = canonical(code)
    return text is not None and await store.use_recovery_code(db, user_id, _digest(user_id, text))


def _digest(user_id: UserId, text: str) -> bytes:
    return digest_of(f"recovery:{user_id}:{text}")


def _grouped(text: str) -> str:
    return "-".join(text[place : place + _GROUP] for place in range(0, len(text), _GROUP))
