"""The `token_verifier` port for access tokens of our own provider."""

import asyncio
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

from joserfc.jwk import KeySet

from ragecho.identity import store_verifier as store
from ragecho.identity.verify import InvalidToken, access_token_claims, is_jwt, key_id_of
from ragecho.kernel.authorization import RULES, Permission, Scope
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Forbidden, Unauthenticated
from ragecho.platform.database import Database
from ragecho.tenancy.callers import Callers

KEYS_SECONDS = 300.0
# An unknown key id makes us look again, but not for every forged token.
REREAD_SECONDS = 1.0


class AccessTokenVerifier:
    """Verifies by the published keys, then asks the tenancy what the subject may do at this moment."""

    def __init__(self, database: Database, *, issuer: str, audience: str) -> None:
        self._database = database
        self._issuer = issuer
        self._audience = audience
        self._callers = Callers(database)
        self._keys = KeySet([])
        self._kids: frozenset[str] = frozenset()
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def verify(self, token: str, *, workspace: str | None) -> Caller | None:
        """Return the caller of an access token; see the port."""
        if not is_jwt(token):
            return None
        keys = await self._keys_for(token)
        try:
            claims = access_token_claims(token, keys, issuer=self._issuer, audience=self._audience)
        except InvalidToken as error:
            raise Unauthenticated(f"This access token does not count. {error}") from error
        return await self._caller(claims, workspace)

    async def _caller(self, claims: Any, workspace: str | None) -> Caller:
        grant_id = _uuid(claims.get("gid"))
        is_service = claims["sub"] == claims["client_id"]
        user_id = None if is_service else _uuid(claims["sub"])
        if not is_service and (user_id is None or grant_id is None):
            raise Unauthenticated("This access token does not count. It names no grant.")
        if is_service and await store.is_revoked(self._database, claims["jti"]):
            raise Unauthenticated("This access token was revoked.")
        scopes, permissions = scopes_of(str(claims.get("scope") or ""))
        if not scopes:
            raise Forbidden(
                "This access token is for signing in only: ask for a scope such as 'read' or 'documents:read'."
            )
        caller = await self._callers.of_subject(
            user_id=user_id, client_id=claims["client_id"], grant_id=grant_id, workspace=workspace, scopes=scopes
        )
        return replace(caller, only=permissions)

    async def _keys_for(self, token: str) -> KeySet:
        kid, age = key_id_of(token), time.monotonic() - self._read_at
        if age < KEYS_SECONDS and (kid in self._kids or age < REREAD_SECONDS):
            return self._keys
        async with self._reading:
            if time.monotonic() - self._read_at >= REREAD_SECONDS:
                found = await store.public_keys(self._database)
                self._keys = KeySet.import_key_set({"keys": found})
                self._kids = frozenset(str(key["kid"]) for key in found)
                self._read_at = time.monotonic()
        return self._keys


def scopes_of(scope: str) -> tuple[frozenset[Scope], frozenset[Permission] | None]:
    """Return the scopes that a token's `scope` amounts to, and which acts it is limited to (None: no such limit).

    `read`, `write` and `admin` stand for every act that needs them; `documents:read` stands for that act alone.
    """
    names = set(scope.split())
    broad = frozenset(known for known in Scope if known in names)
    narrow = frozenset(known for known in Permission if known in names)
    covered = frozenset(known for known in Permission if RULES[known].scope in broad)
    return broad | {RULES[known].scope for known in narrow}, None if narrow <= covered else covered | narrow


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
