"""Codes of an authenticator app (TOTP, RFC 6238): 30 seconds, six digits, SHA-1, which is what apps understand."""

import hmac
import re
import time
from dataclasses import dataclass, field

import pyotp

from ragecho.identity.accounts import store_factors as store
from ragecho.identity.vault import Vault
from ragecho.kernel.ids import UserId
from ragecho.platform.database import Session

PURPOSE = "totp"
STEP_SECONDS = 30
# One step back and one ahead: clocks differ, and people type slowly.
TOLERATED_STEPS = 1
_CODE = re.compile(r"[0-9]{6}")


@dataclass(frozen=True, slots=True)
class TotpSetup:
    """What an authenticator app is set up with; shown once, while the set-up is not confirmed yet."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)


def matching_step(secret: str, code: str, *, at_seconds: float) -> int | None:
    """Return the time step that a code belongs to, or None when it is wrong or too old."""
    digits = re.sub(r"[\s-]", "", code)
    if not _CODE.fullmatch(digits):
        return None
    generator = pyotp.TOTP(secret)
    now = int(at_seconds // STEP_SECONDS)
    found = None
    for step in range(max(now - TOLERATED_STEPS, 0), now + TOLERATED_STEPS + 1):
        if hmac.compare_digest(generator.generate_otp(step), digits):
            found = step
    return found


async def begin(db: Session, vault: Vault, user_id: UserId, *, email: str, issuer_name: str) -> TotpSetup | None:
    """Start setting up an authenticator, replacing one that was never confirmed; None when one is in use already."""
    secret = pyotp.random_base32()
    if not await store.insert_totp(db, user_id, vault.encrypt(secret, purpose=PURPOSE)):
        return None
    return _setup(secret, email, issuer_name)


async def pending(db: Session, vault: Vault, user_id: UserId, *, email: str, issuer_name: str) -> TotpSetup | None:
    """Return the set-up that was begun and waits for its first code; None when there is none."""
    sealed = await store.find_totp(db, user_id, is_confirmed=False)
    return _setup(vault.decrypt(sealed, purpose=PURPOSE).decode(), email, issuer_name) if sealed else None


async def confirm(db: Session, vault: Vault, user_id: UserId, code: str, *, at_seconds: float | None = None) -> bool:
    """Take the authenticator into use by its first code; False when the code is wrong or nothing waits for one."""
    sealed = await store.find_totp(db, user_id, is_confirmed=False)
    step = _step(vault, sealed, code, at_seconds)
    return step is not None and await store.confirm_totp(db, user_id, step=step)


async def check(db: Session, vault: Vault, user_id: UserId, code: str, *, at_seconds: float | None = None) -> bool:
    """Return whether the code is right, and use it up: neither it nor an earlier one works again."""
    sealed = await store.find_totp(db, user_id, is_confirmed=True)
    step = _step(vault, sealed, code, at_seconds)
    return step is not None and await store.use_totp_step(db, user_id, step=step)


def _step(vault: Vault, sealed: str | None, code: str, at_seconds: float | None) -> int | None:
    if sealed is None:
        return None
    secret = vault.decrypt(sealed, purpose=PURPOSE).decode()
    return matching_step(secret, code, at_seconds=time.time() if at_seconds is None else at_seconds)


def _setup(secret: str, email: str, issuer_name: str) -> TotpSetup:
    return TotpSetup(secret, pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer_name))
