"""Client authentication with a signed assertion (`private_key_jwt`; OpenID Connect Core 9, RFC 7523)."""

import time
from datetime import UTC, datetime
from typing import Any

from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ragecho.identity.client_model import Client, digest_of
from ragecho.identity.protocol import store_grants
from ragecho.identity.protocol.provider import Work
from ragecho.platform.bridge import wait

ASSERTION_ALGORITHMS = ["ES256", "PS256", "RS256"]
MAX_SECONDS = 3600
LEEWAY_SECONDS = 10
_NO_AUTHENTICATION = "The client assertion does not count."


class ClientAssertions(JWTBearerClientAssertion):  # type: ignore[misc]  # Authlib has no annotations
    """Accepts each assertion once, for this server, with the keys that the client registered."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, work: Work) -> None:
        super().__init__(leeway=LEEWAY_SECONDS)
        self._work = work

    def resolve_client_public_key(self, client: Client) -> KeySet:
        """Return the client's registered keys."""
        jwks = client.metadata.get("jwks")
        if client.auth_method != self.CLIENT_AUTH_METHOD or not jwks:
            raise InvalidClientError("The client is not registered for private_key_jwt.", status_code=401)
        return KeySet.import_key_set(jwks)

    def extract_assertion(self, assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return header and claims, not yet verified. Whatever is no JWT of a client's is refused here."""
        try:
            headers, claims = super().extract_assertion(assertion)
        except (ValueError, TypeError) as error:
            raise InvalidClientError(_NO_AUTHENTICATION, status_code=401) from error
        if not str(claims.get("sub", "")).isprintable():
            raise InvalidClientError(_NO_AUTHENTICATION, status_code=401)
        return headers, claims

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> Any:
        """Verify signature and claims; the library allows more algorithms, and quotes what it was given."""
        try:
            token = jwt.decode(assertion, resolve_key, algorithms=ASSERTION_ALGORITHMS)
            claims = token.claims
            self._check(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise InvalidClientError(_NO_AUTHENTICATION, status_code=401) from error
        used = digest_of(f"{claims['iss']} {claims['jti']}")
        if not wait(store_grants.use_assertion(self._work.db, used, datetime.fromtimestamp(claims["exp"], UTC))):
            raise InvalidClientError("The client assertion was used before.", status_code=401)
        return claims

    def _check(self, claims: dict[str, Any]) -> None:
        issuer, now = self._work.provider.issuer, time.time()
        jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True},
            sub={"essential": True, "value": str(claims.get("iss"))},
            aud={"essential": True, "values": [issuer, f"{issuer}/token", f"{issuer}/par"]},
            exp={"essential": True},
            jti={"essential": True},
        ).validate(claims)
        if not isinstance(claims["jti"], str) or not 0 < claims["exp"] - now < MAX_SECONDS + LEEWAY_SECONDS:
            raise ValueError("jti or exp")
