"""Signing keys: one that signs, the next one published ahead, and earlier ones for as long as their tokens are shown.

ES256 signs access tokens and most ID tokens; RS256 is there for clients that registered for it. A resource server that
fetched the key set at any time since the last rotation knows the next key already, so a rotation surprises nobody.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeyParameters, KeySet, RSAKey

from ragecho.identity.protocol import store_keys as store
from ragecho.identity.vault import Vault
from ragecho.kernel.errors import Unavailable
from ragecho.platform.database import Database, Session
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

ALGORITHMS = ("ES256", "RS256")
PURPOSE = "signing-key"
CACHE_SECONDS = 5.0
# ID tokens are hints of later logouts long after they expired.
KEEP_DAYS = 30

PrivateKey = ECKey | RSAKey


@dataclass(frozen=True, slots=True)
class KeyState:
    """The published keys at one moment."""

    read_at: float
    published: dict[str, Any]
    verification: KeySet
    current: dict[str, PrivateKey]


class SigningKeys:
    """The keys of one process, read again every few seconds so that a rotation anywhere counts everywhere."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._state: KeyState | None = None
        self._opened: dict[str, PrivateKey] = {}
        self._reading = asyncio.Lock()

    async def state(self, *, is_fresh: bool = False) -> KeyState:
        """Return the keys, at most `CACHE_SECONDS` old, or read now. Raises `Unavailable` before any were made."""
        state = self._state
        if state is not None and not is_fresh and time.monotonic() - state.read_at < CACHE_SECONDS:
            return state
        async with self._reading:
            if self._state is not None and self._state is not state and not is_fresh:
                return self._state
            self._state = await self._read()
            return self._state

    async def _read(self) -> KeyState:
        [rows] = await self._database.read(None, (store.PUBLISHED, {}))
        current = {row["alg"]: self._open(row) for row in rows if row["status"] == "current"}
        if set(current) != set(ALGORITHMS):
            raise Unavailable("The identity service has no signing keys yet; 'ragecho db upgrade' makes them.")
        public = [dict(row["public_jwk"]) for row in rows]
        return KeyState(time.monotonic(), {"keys": public}, KeySet.import_key_set({"keys": public}), current)

    def _open(self, row: dict[str, Any]) -> PrivateKey:
        kid = row["kid"]
        if kid not in self._opened:
            pem = self._vault.decrypt(row["private_vault"], purpose=PURPOSE)
            parameters: KeyParameters = {"kid": kid, "alg": row["alg"], "use": "sig"}
            kind = ECKey if row["alg"] == "ES256" else RSAKey
            self._opened[kid] = kind.import_key(pem, parameters)
        return self._opened[kid]


def sign(key: PrivateKey, claims: dict[str, Any], *, typ: str) -> str:
    """Return a compact JWS with `kid` and `typ`."""
    alg = str(key.alg)
    return jwt.encode({"alg": alg, "kid": key.kid, "typ": typ}, claims, key, [alg])


def read_own_token(token: str, keys: KeySet) -> dict[str, Any] | None:
    """Return the claims of a token that these keys signed, whatever it is and however old; None for anything else."""
    try:
        decoded = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError, TypeError):
        return None
    if not isinstance(decoded.claims, dict) or {"jwk", "jku", "x5u", "x5c", "crit"} & decoded.header.keys():
        return None
    return {**decoded.claims, "typ": decoded.header.get("typ")}


async def ensure_keys(db: Session, vault: Vault, *, rotation_days: int) -> None:
    """Make the keys that are missing, and rotate those that are too old. Safe to repeat, from many processes at once."""
    await store.lock(db)
    for alg in ALGORITHMS:
        current = await store.find(db, alg, "current")
        if await store.find(db, alg, "next") is None:
            await _make(db, vault, alg, "next")
        if current is None:
            await store.promote(db, alg, keep_days=KEEP_DAYS)
            await _make(db, vault, alg, "next")
        elif current["age_days"] >= rotation_days:
            await _rotate(db, vault, alg)


async def rotate_keys(db: Session, vault: Vault) -> None:
    """Let the next keys sign from now on and publish new next ones."""
    await ensure_keys(db, vault, rotation_days=36500)
    for alg in ALGORITHMS:
        await _rotate(db, vault, alg)


async def _rotate(db: Session, vault: Vault, alg: str) -> None:
    await store.promote(db, alg, keep_days=KEEP_DAYS)
    await _make(db, vault, alg, "next")
    log.info("identity.key_rotated", alg=alg)


async def _make(db: Session, vault: Vault, alg: str, status: str) -> None:
    key: PrivateKey
    if alg == "ES256":
        key = ECKey.generate_key("P-256", {"alg": alg, "use": "sig"})
    else:
        key = await asyncio.to_thread(RSAKey.generate_key, 2048, {"alg": alg, "use": "sig"})
    kid = key.thumbprint()
    public = {**key.as_dict(private=False), "kid": kid, "alg": alg, "use": "sig"}
    sealed = vault.encrypt(key.as_pem(private=True), purpose=PURPOSE)
    await store.insert(db, kid=kid, alg=alg, status=status, public=public, private_vault=sealed)
