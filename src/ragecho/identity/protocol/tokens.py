"""Access tokens (RFC 9068), ID tokens and refresh tokens, made by Authlib's generators with our keys and claims."""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core.grants.code import OpenIDToken
from joserfc.jwk import KeySet

from ragecho.identity.client_model import Client
from ragecho.identity.protocol.provider import Person, Work
from ragecho.identity.protocol.resources import audience_of_token

REFRESH_PURPOSE = "refresh-token"
SCOPE_CLAIMS: Mapping[str, tuple[str, ...]] = {
    "profile": ("name", "preferred_username", "locale", "zoneinfo", "updated_at"),
    "email": ("email", "email_verified"),
}
PERSON_CLAIMS = tuple(name for names in SCOPE_CLAIMS.values() for name in names)


class AccessTokens(JWTBearerTokenGenerator):  # type: ignore[misc]  # Authlib has no annotations
    """Access tokens that name their grant, so that ending it ends them."""

    def __init__(self, work: Work) -> None:
        seconds = work.provider.settings.access_token_seconds
        super().__init__(
            work.provider.issuer,
            alg="ES256",
            refresh_token_generator=self._refresh_token,
            expires_generator=lambda _client, _grant_type: seconds,
        )
        self._work = work
        self.presented_refresh_token: str | None = None

    def get_jwks(self) -> KeySet:
        """Return the signing key alone, in a set: so its `kid` is written, and no other is chosen."""
        return KeySet([self._work.keys.current["ES256"]])

    def get_audiences(self, client: Client, user: object, scope: object) -> str | list[str]:
        """Return whom the token is for."""
        return audience_of_token(self._work, client, str(scope or ""))

    def get_jti(self, client: Client, grant_type: str, user: object, scope: object) -> str:
        """Return 128 random bits; the library's own generator draws character by character."""
        return secrets.token_urlsafe(16)

    def get_auth_time(self, user: Person | None) -> int | None:
        """Return when the person authenticated, however often tokens were refreshed since."""
        return int(self._work.grant["auth_time"].timestamp()) if user else None

    def get_acr(self, user: Person | None) -> str | None:
        """Return the class of that authentication."""
        return self._work.grant["acr"] if user else None

    def get_amr(self, user: Person | None) -> list[str] | None:
        """Return its methods."""
        return list(self._work.grant["amr"]) if user else None

    def get_extra_claims(
        self,
        client: Client,
        grant_type: str,
        user: Person | None,
        scope: object,
    ) -> dict[str, Any]:
        """Return the grant, or for a service client where it acts."""
        if user:
            return {"gid": str(self._work.grant["id"])}
        return {"workspace_id": str(client.workspace_id)} if client.workspace_id else {}

    def _refresh_token(self, **_: object) -> str:
        """Return a new family's first token, or the successor of the one presented.

        The successor is derived from its predecessor with a key of ours: requests that come twice or in parallel get the
        same one, so a family stays one chain.
        """
        if self.presented_refresh_token is None:
            return secrets.token_urlsafe(32)
        return self._work.provider.vault.derive(REFRESH_PURPOSE, self.presented_refresh_token)


class IdTokens(OpenIDToken):  # type: ignore[misc]  # Authlib has no annotations
    """Adds an ID token to the answers of grants with the scope `openid`."""

    def get_client_algorithm(self, client: Client) -> str:
        """Return what the client registered for."""
        return client.id_token_alg

    def get_encode_header(self, client: Client) -> dict[str, str]:
        """Return the header, with the key's id."""
        work = self._work
        return {"alg": client.id_token_alg, "kid": str(work.keys.current[client.id_token_alg].kid), "typ": "JWT"}

    def __init__(self, work: Work) -> None:
        self._work = work

    def resolve_client_private_key(self, client: Client) -> Any:
        """Return the key that signs for this client."""
        return self._work.keys.current[client.id_token_alg]

    def get_compatible_claims(self, request: Any) -> dict[str, Any]:
        """Return the token's own claims; what is known of the authentication comes from the grant, not from now."""
        now, grant = int(time.time()), self._work.grant
        claims: dict[str, Any] = {
            "iss": self._work.provider.issuer,
            "aud": request.client.id,
            "iat": now,
            "exp": now + self._work.provider.settings.id_token_seconds,
            "auth_time": int(grant["auth_time"].timestamp()),
        }
        if grant["acr"]:
            claims["acr"] = grant["acr"]
        if grant["amr"]:
            claims["amr"] = list(grant["amr"])
        if grant["session_id"]:
            claims["sid"] = str(grant["session_id"])
        return claims

    def get_authorization_code_claims(self, authorization_code: Any) -> dict[str, Any]:
        """Return what only the first ID token of a grant has: the nonce of the request."""
        return {"nonce": authorization_code.nonce} if authorization_code.nonce else {}

    def generate_user_info(self, user: Person, scope: str) -> dict[str, Any]:
        """Return the subject and the claims that the request asked into the ID token; the rest is userinfo's."""
        return {"sub": user.get_user_id(), **requested_claims(self._work.grant["claims"], "id_token", user)}


def requested_claims(claims: Mapping[str, Any] | None, place: str, person: Person) -> dict[str, Any]:
    """Return what the `claims` parameter asked into `id_token` or `userinfo`, as far as it is known (Core 5.5)."""
    wanted = (claims or {}).get(place) or {}
    return {name: person.claims[name] for name in wanted if name in PERSON_CLAIMS and name in person.claims}


def user_info(person: Person, scopes: tuple[str, ...] | list[str], claims: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what userinfo says with these scopes."""
    names = [name for scope in scopes for name in SCOPE_CLAIMS.get(scope, ())]
    found = {name: person.claims[name] for name in names if name in person.claims}
    return {"sub": person.get_user_id(), **found, **requested_claims(claims, "userinfo", person)}
