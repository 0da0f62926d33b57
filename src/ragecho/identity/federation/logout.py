"""Somebody signed out at their provider, which tells us (OpenID Connect Back-Channel Logout 1.0): their sessions end."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from ragecho.identity.accounts.sessions import EndReason, end_session
from ragecho.identity.federation import store_providers, store_sign_ins
from ragecho.identity.federation.claims import text_claim
from ragecho.identity.federation.discovery import Metadata
from ragecho.identity.federation.upstream import LEEWAY_SECONDS, Upstreams, bad_token, reason_of
from ragecho.kernel.errors import NotFound
from ragecho.platform.database import Database

EVENT = "http://schemas.openid.net/event/backchannel-logout"
# A token without an end (drafts allowed that) is good for this long after it was made.
LONGEST_SECONDS = 600
KINDS = ("logout+jwt", "JWT", "jwt")


class BackChannelLogout:
    """Receives logout tokens."""

    def __init__(self, database: Database, upstreams: Upstreams) -> None:
        self._database = database
        self._upstreams = upstreams

    async def receive(self, provider_id: UUID, token: str) -> int:
        """End the sessions that the token names and return how many. Raises `FederationFailed` or `NotFound`."""
        async with self._database.anonymous() as db:
            provider = await store_providers.find_provider(db, provider_id)
        if provider is None or not provider.is_enabled:
            raise NotFound("There is no such identity provider.")
        metadata = await self._upstreams.discovery.metadata(provider.issuer)
        claims = await self._validated(metadata, provider.client_id, token)
        async with self._database.anonymous() as db:
            if not await store_sign_ins.use_logout_token(
                db, provider.issuer, claims["jti"], seconds=LONGEST_SECONDS + 2 * LEEWAY_SECONDS
            ):
                raise bad_token("it was used before")
            found = await store_sign_ins.sessions_from(
                db,
                provider.issuer,
                subject=text_claim(claims, "sub"),
                upstream_session=text_claim(claims, "sid"),
            )
            for session_id, user_id in found:
                await end_session(db, session_id, user_id, reason=EndReason.SIGNED_OUT_REMOTELY)
            return len(found)

    async def _validated(self, metadata: Metadata, client_id: str, token: str) -> Mapping[str, Any]:
        """Return the claims of a valid logout token (section 2.6)."""
        found = await self._upstreams.verified(metadata, token, kinds=KINDS)
        claims = found.claims
        now = int(time.time())
        registry = JWTClaimsRegistry(
            now,
            LEEWAY_SECONDS,
            iss={"essential": True, "value": metadata.issuer},
            aud={"essential": True, "value": client_id},
            iat={"essential": True},
            jti={"essential": True},
        )
        try:
            registry.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise bad_token(reason_of(error)) from error
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise bad_token("it tells of no logout")
        if "nonce" in claims:
            raise bad_token("it has a nonce, as ID tokens do")
        if now - claims["iat"] > LONGEST_SECONDS:
            raise bad_token("it is too old")
        named = [text_claim(claims, name, longest=255) for name in ("sub", "sid") if name in claims]
        if not named or None in named or text_claim(claims, "jti", longest=255) is None:
            raise bad_token("it names nobody")
        return claims
