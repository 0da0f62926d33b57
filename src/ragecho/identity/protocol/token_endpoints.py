"""Introspection (RFC 7662) and revocation (RFC 7009) of access and refresh tokens."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from ragecho.identity.client_model import Client, ClientKind, digest_of
from ragecho.identity.protocol import store_grants
from ragecho.identity.protocol.grants import AUTH_METHODS
from ragecho.identity.protocol.provider import Work
from ragecho.identity.protocol.requests import ProtocolRequest
from ragecho.identity.protocol.server import ProtocolServer, Reply
from ragecho.identity.verify import InvalidToken, access_token_claims
from ragecho.platform.bridge import run, wait


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token of ours. `claims` is set for access tokens."""

    kind: str
    client_id: str
    grant_id: UUID | None
    is_live: bool
    expires_at: float
    scope: str
    claims: Mapping[str, Any] | None = None

    def check_client(self, client: Client) -> bool:
        """Return whether it was issued to this client."""
        return client.id == self.client_id

    def is_expired(self) -> bool:
        """Return whether its time is over."""
        return self.expires_at <= time.time()

    def is_revoked(self) -> bool:
        """Return whether it, its grant, its client or its person ended."""
        return not self.is_live


def find_token(work: Work, token: str) -> FoundToken | None:
    """Return what a string is, whatever the client's hint says."""
    row = wait(store_grants.find_refresh_token(work.db, digest_of(token)))
    if row is not None:
        is_live = bool(row["is_live"]) and row["used_at"] is None
        expires_at = row["expires_at"].timestamp()
        return FoundToken(
            "refresh_token", row["client_id"], row["grant_id"], is_live, expires_at, " ".join(row["scopes"])
        )
    provider = work.provider
    try:
        claims = access_token_claims(token, work.keys.verification, issuer=provider.issuer, audience=None)
    except InvalidToken:
        return None
    grant_id = _uuid(claims.get("gid"))
    if grant_id is not None:
        grant = wait(store_grants.find_grant(work.db, grant_id))
        is_live = grant is not None and str(grant["user_id"]) == claims["sub"]
    else:
        is_live = not wait(store_grants.is_token_revoked(work.db, claims["jti"]))
        is_live = is_live and wait(work.provider.clients.find(claims["client_id"])) is not None
    return FoundToken(
        "access_token", claims["client_id"], grant_id, is_live, claims["exp"], str(claims.get("scope") or ""), claims
    )


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]  # Authlib has no annotations
    """Tells a client about its own tokens, and a resource server (a service of ours) about any."""

    CLIENT_AUTH_METHODS = [name for name in AUTH_METHODS if name != "none"]  # noqa: RUF012 - Authlib's way

    def check_params(self, request: ProtocolRequest, client: Client) -> None:
        """Insist on a token; a hint that we do not know is no mistake (RFC 7662, 2.1)."""
        if "token" not in request.form:
            raise InvalidRequestError("Missing 'token' in request.")

    def query_token(self, token_string: str, token_type_hint: str | None) -> FoundToken | None:
        """Return the token."""
        return find_token(self.server.work, token_string)

    def check_permission(self, token: FoundToken, client: Client, request: ProtocolRequest) -> bool:
        """Return whether this client may know."""
        return token.check_client(client) or client.kind is not ClientKind.DYNAMIC

    def introspect_token(self, token: FoundToken) -> dict[str, Any]:
        """Return what is told about a live token."""
        told = {"active": True, "client_id": token.client_id, "token_type": "Bearer", "scope": token.scope}
        if token.claims is None:
            return {
                **told,
                "token_type": "refresh_token",
                "exp": int(token.expires_at),
                "iss": self.server.work.provider.issuer,
            }
        kept = ("iss", "sub", "aud", "exp", "iat", "jti", "gid", "auth_time", "acr", "amr", "workspace_id")
        return {**told, **{name: token.claims[name] for name in kept if name in token.claims}}


class Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib has no annotations
    """Ends a token. With any token of a grant, the whole grant ends: refresh and access tokens."""

    CLIENT_AUTH_METHODS = AUTH_METHODS

    def check_params(self, request: ProtocolRequest, client: Client) -> None:
        """Insist on a token; a hint that we do not know is no mistake."""
        if "token" not in request.form:
            raise InvalidRequestError("Missing 'token' in request.")

    def authenticate_token(self, request: ProtocolRequest, client: Client) -> FoundToken | None:
        """Return the client's own token; another's is none, and the answer is the same (RFC 7009, 2.2)."""
        self.check_params(request, client)
        found = find_token(self.server.work, request.form["token"])
        return found if found is not None and found.check_client(client) else None

    def revoke_token(self, token: FoundToken, request: ProtocolRequest) -> None:
        """End it."""
        work: Work = self.server.work
        if token.grant_id is not None:
            wait(store_grants.revoke_grant(work.db, token.grant_id, "revoked_by_client"))
        elif token.claims is not None:
            expires_at = datetime.fromtimestamp(token.expires_at, UTC)
            wait(store_grants.revoke_token(work.db, token.claims["jti"], expires_at))


async def introspect(work: Work, request: ProtocolRequest) -> Reply:
    """Return the introspection endpoint's answer."""
    return await _answer(work, request, Introspection)


async def revoke(work: Work, request: ProtocolRequest) -> Reply:
    """Return the revocation endpoint's answer."""
    return await _answer(work, request, Revocation)


async def _answer(work: Work, request: ProtocolRequest, endpoint: type[Introspection | Revocation]) -> Reply:
    server = ProtocolServer(work)
    server.register_endpoint(endpoint)
    return await run(server.create_endpoint_response, endpoint.ENDPOINT_NAME, request)
