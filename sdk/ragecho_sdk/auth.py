"""Who is calling *your* service: access tokens of an Echo identity service, checked where they arrive (RFC 9068, 6750).

The frameworks' guards are made of this: `ragecho_sdk.fastapi`, `ragecho_sdk.flask`. It needs `joserfc`:
`pip install "ragecho-sdk[auth]"`. Nothing is asked of the identity service per request but, where wanted, introspection;
its keys are fetched once and again when they rotate.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError, MissingClaimError
from joserfc.jwk import Key, KeySet
from joserfc.jws import JWSRegistry

from ragecho_sdk.errors import EchoError
from ragecho_sdk.provider import Provider, ProviderError
from ragecho_sdk.scopes import BROADER

# Asymmetric ones only: whoever can check a token must not be able to make one.
ALGORITHMS = ("ES256", "EdDSA", "Ed25519", "RS256", "PS256")
ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
LONGEST_TOKEN = 8192
_MAX_REMEMBERED = 10_000
_REALM = "echo"
_MAKE_ENV = "Make them with `ragecho identity client create --name my-app --audience URL-OF-THIS-SERVICE --env .env` and load that file."


class AuthConfigurationError(EchoError):
    """The guard lacks a setting, or has one that is not safe; the message names it and how to get it."""


class AuthError(EchoError):
    """The request is refused. `status` is 401 or 403 (503 when the identity service does not answer).

    `error` is RFC 6750's code, or None when no token came; `description` is for the developer on the other side.
    """

    def __init__(
        self, status: int, error: str | None, description: str, *, scopes: Iterable[str] = (), realm: str = _REALM
    ) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description
        self.scopes = tuple(scopes)
        self._realm = realm

    @property
    def headers(self) -> dict[str, str]:
        """The headers to answer with: the challenge of RFC 6750, section 3."""
        if self.status not in (401, 403):
            return {"Retry-After": "5"}
        parts = [f'realm="{_quotable(self._realm)}"']
        if self.error:
            parts += [f'error="{self.error}"', f'error_description="{_quotable(self.description)}"']
        if self.scopes:
            parts.append(f'scope="{_quotable(" ".join(self.scopes))}"')
        return {"WWW-Authenticate": f"Bearer {', '.join(parts)}"}


@dataclass(frozen=True)
class EchoUser:
    """Who a token stands for: a person, or a service that acts for itself (`is_service`)."""

    subject: str
    client_id: str
    scopes: frozenset[str]
    claims: Mapping[str, Any] = field(repr=False)
    token: str = field(repr=False)

    @property
    def is_service(self) -> bool:
        """Whether no person stands behind the token (client credentials)."""
        return self.subject == self.client_id

    def has_scopes(self, *scopes: str) -> bool:
        """Return whether the token carries all of these, `documents:read` by itself or as part of `read`."""
        return all(scope in self.scopes or BROADER.get(scope) in self.scopes for scope in scopes)


@dataclass(frozen=True)
class AuthSettings:
    """Where tokens come from and whom they are for. `client_id` and `client_secret` are needed for introspection alone."""

    issuer: str
    audience: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> AuthSettings:
        """Read ECHO_ISSUER, ECHO_AUDIENCE, ECHO_CLIENT_ID and ECHO_CLIENT_SECRET. Raises `AuthConfigurationError`."""
        found = os.environ if environ is None else environ
        missing = [name for name in ("ECHO_ISSUER", "ECHO_AUDIENCE") if not found.get(name)]
        if missing:
            raise AuthConfigurationError(f"{' and '.join(missing)} not set. {_MAKE_ENV}")
        return cls(
            found["ECHO_ISSUER"],
            found["ECHO_AUDIENCE"],
            found.get("ECHO_CLIENT_ID") or None,
            found.get("ECHO_CLIENT_SECRET") or None,
        )


class TokenVerifier:
    """Checks access tokens for one audience. Safe to share between threads and event loops.

    `introspects` asks the identity service about every token, so that revocation counts within `introspection_seconds`
    instead of at the token's end. `clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        settings: AuthSettings | None = None,
        *,
        provider: Provider | None = None,
        algorithms: tuple[str, ...] = ALGORITHMS,
        leeway_seconds: int = 30,
        introspects: bool = False,
        introspection_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or AuthSettings.from_env()
        if introspects and not (self.settings.client_id and self.settings.client_secret):
            raise AuthConfigurationError(f"Introspection needs ECHO_CLIENT_ID and ECHO_CLIENT_SECRET. {_MAKE_ENV}")
        self.provider = provider or Provider(self.settings.issuer)
        self._registry = JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
        self._leeway = leeway_seconds
        self._introspects = introspects
        self._introspection_seconds = introspection_seconds
        self._active_until: dict[bytes, float] = {}
        self._clock = clock

    def verify(self, authorization: str | None, *scopes: str) -> EchoUser:
        """Return who sent this `Authorization` header, if the token counts here and carries `scopes`.

        Raises `AuthError`.
        """
        token = self._bearer(authorization)
        user = self._verified(token)
        if self._introspects and not self._is_active(token):
            raise AuthError(401, "invalid_token", "The token was revoked. Get a new one.")
        return _with_scopes(user, scopes)

    async def verify_async(self, authorization: str | None, *scopes: str) -> EchoUser:
        """Do the same; where keys must be fetched or the token introspected, in a thread."""
        keys = None if self._introspects else self.provider.fresh_keys()
        if keys is not None:
            with contextlib.suppress(InvalidKeyIdError):
                return _with_scopes(self._checked(self._bearer(authorization), keys), scopes)
        return await asyncio.to_thread(self.verify, authorization, *scopes)

    def _bearer(self, authorization: str | None) -> str:
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise AuthError(
                401,
                None,
                "Send an access token: 'Authorization: Bearer <token>'."
                f" It must come from {self.settings.issuer} and be for {self.settings.audience}.",
            )
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise AuthError(401, "invalid_token", "That is not an access token.")
        return token

    def _verified(self, token: str) -> EchoUser:
        try:
            keys = self.provider.keys()
        except ProviderError as error:
            raise AuthError(503, None, str(error)) from None
        try:
            return self._checked(token, keys)
        except InvalidKeyIdError:
            newer = self.provider.keys_after(keys)
        try:
            if newer is not None:
                return self._checked(token, newer)
        except InvalidKeyIdError:
            pass
        raise AuthError(401, "invalid_token", f"The token is not signed by {self.settings.issuer}.")

    def _checked(self, token: str, keys: KeySet) -> EchoUser:
        """Return the user of a valid token. Raises `InvalidKeyIdError` for a key that is not among `keys`."""
        header, claims = self._decoded(token, keys)
        if str(header.get("typ", "")).lower() not in ACCESS_TOKEN_TYPES:
            raise AuthError(401, "invalid_token", "This is not an access token; an ID token does not open an API.")
        try:
            self._rules().validate(claims)
        except ExpiredTokenError:
            raise AuthError(401, "invalid_token", "The token has expired. Get a new one.") from None
        except MissingClaimError as error:
            raise AuthError(401, "invalid_token", f"The token lacks a claim. {error.description}") from None
        except InvalidClaimError as error:
            raise AuthError(401, "invalid_token", self._why(error.claim)) from None
        scope = claims.get("scope", "")
        if not isinstance(scope, str) or not isinstance(claims["client_id"], str):
            raise AuthError(401, "invalid_token", "The token's claims have the wrong types.")
        return EchoUser(claims["sub"], claims["client_id"], frozenset(scope.split()), claims, token)

    def _decoded(self, token: str, keys: KeySet) -> tuple[dict[str, Any], dict[str, Any]]:
        def key_of(signed: Any) -> Key:
            # By its id and nothing else: never a key, or an address of one, that the token itself names.
            header = signed.headers()
            return keys.get_by_kid(str(header.get("kid")), {"alg": header["alg"], "use": "sig"})

        try:
            found = jwt.decode(token, key_of, registry=self._registry)
        except InvalidKeyIdError:
            raise
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise AuthError(401, "invalid_token", "The token is not one that this service accepts.") from None
        return dict(found.header), dict(found.claims)

    def _rules(self) -> jwt.JWTClaimsRegistry:
        text: jwt.ClaimsOption = {"essential": True}
        return jwt.JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=self._leeway,
            iss={"essential": True, "value": self.settings.issuer},
            aud={"essential": True, "value": self.settings.audience},
            exp=text,
            iat=text,
            sub=text,
            client_id=text,
        )

    def _why(self, claim: str) -> str:
        if claim == "iss":
            return f"The token comes from another issuer than {self.settings.issuer} (ECHO_ISSUER)."
        if claim == "aud":
            return f"The token is for another audience than {self.settings.audience} (ECHO_AUDIENCE)."
        return f"The token's claim '{claim}' does not hold."

    def _is_active(self, token: str) -> bool:
        digest, now = hashlib.sha256(token.encode()).digest(), self._clock()
        if self._active_until.get(digest, 0.0) > now:
            return True
        client = (self.settings.client_id or "", self.settings.client_secret or "")  # the constructor saw to them
        try:
            is_active = self.provider.introspect(token, *client)
        except ProviderError as error:
            raise AuthError(503, None, str(error)) from None
        if is_active:
            if len(self._active_until) >= _MAX_REMEMBERED:
                self._active_until.clear()
            self._active_until[digest] = now + self._introspection_seconds
        return is_active


def _with_scopes(user: EchoUser, scopes: Sequence[str]) -> EchoUser:
    missing = [scope for scope in scopes if not user.has_scopes(scope)]
    if missing:
        raise AuthError(
            403,
            "insufficient_scope",
            f"The token lacks the scope {' '.join(missing)}. Allow it to the client and ask for it with the token.",
            scopes=scopes,
        )
    return user


def _quotable(text: str) -> str:
    # RFC 6750, 3: printable ASCII without quote and backslash.
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)
