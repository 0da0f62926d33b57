"""The identity service, as the gateway's own provider: discovery, keys, tokens, and the checks of what it signs.

Requests go through the same routes as everybody's. Where the identity service lives in this very process they are handed
to the application directly (ASGI), so that no proxy, certificate or listening port stands in between; with
RAGECHO_IDENTITY_INTERNAL_URL they go over the network. What the browser is sent to is always the public address.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet
from joserfc.jws import JWSRegistry
from starlette.types import ASGIApp

from ragecho.web.errors import ProviderAway, TokenRefused
from ragecho.web.model import Claims, LogoutToken, Tokens

ALGORITHMS = ("ES256", "EdDSA", "Ed25519", "RS256", "PS256")
BACKCHANNEL_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LEEWAY_SECONDS = 60
METADATA_SECONDS = 600.0
REFETCH_SECONDS = 10.0
TIMEOUT_SECONDS = 5.0
_IN_PROCESS = "http://identity.internal/identity"


class IdentityProvider:
    """One identity service and this client of it. `url` is where it is reached; None means in this process."""

    def __init__(self, issuer: str, *, url: str | None) -> None:
        self.issuer = issuer
        self._url = (url or _IN_PROCESS).rstrip("/")
        self._is_remote = url is not None
        self._http: httpx.AsyncClient | None = None
        self._metadata: Claims = {}
        self._keys: KeySet | None = None
        self._fetched_at = self._tried_at = float("-inf")

    def attach(self, app: ASGIApp) -> None:
        """Say which application holds the identity service, where that is this process."""
        if not self._is_remote:
            self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False))

    async def close(self) -> None:
        """Close connections."""
        if self._http is not None:
            await self._http.aclose()

    async def endpoint(self, name: str) -> str:
        """Return an endpoint's public address. Raises `ProviderAway`."""
        found = (await self._discovered()).get(name)
        if not isinstance(found, str):
            raise ProviderAway(f"The identity service has no {name}.")
        return found

    async def announces(self, name: str) -> bool:
        """Return whether discovery says that something is supported."""
        return (await self._discovered()).get(name) is True

    async def exchange(self, client: tuple[str, str], *, code: str, redirect_uri: str, verifier: str) -> Tokens:
        """Redeem a code. Raises `TokenRefused` or `ProviderAway`."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return await self._tokens(client, {**form, "code_verifier": verifier})

    async def refresh(self, client: tuple[str, str], refresh_token: str) -> Tokens:
        """Redeem a refresh token. Raises `TokenRefused` or `ProviderAway`."""
        return await self._tokens(client, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def _tokens(self, client: tuple[str, str], form: dict[str, str]) -> Tokens:
        answer = await self._send(
            "POST", await self.endpoint("token_endpoint"), data=form, auth=httpx.BasicAuth(*client)
        )
        body = _object(answer)
        if answer.status_code != HTTPStatus.OK:
            if (
                answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
                or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
            ):
                raise ProviderAway(f"The identity service answered {answer.status_code}.")
            raise TokenRefused("The identity service refused.", error=str(body.get("error", ""))[:60])
        return Tokens(
            access_token=str(body["access_token"]),
            refresh_token=body.get("refresh_token"),
            id_token=body.get("id_token"),
            expires_in_seconds=int(body.get("expires_in") or 300),
        )

    async def checked_id_token(self, tokens: Tokens, *, client_id: str, nonce: str) -> Claims:
        """Return the claims of the ID token that came with a code (OpenID Connect Core 1.0, 3.1.3.7).

        Raises `TokenRefused`.
        """
        from authlib.oidc.core import CodeIDToken

        if not tokens.id_token:
            raise TokenRefused("The identity service sent no ID token.")
        header, claims = await self._decoded(tokens.id_token)
        checked = CodeIDToken(
            claims,
            header,
            {"iss": {"essential": True, "value": self.issuer}, "aud": {"essential": True, "value": client_id}},
            {"nonce": nonce, "client_id": client_id, "access_token": tokens.access_token},
        )
        try:
            checked.validate(leeway=LEEWAY_SECONDS)
        except JoseError as error:
            raise TokenRefused("The ID token does not hold.", error=error.error) from None
        return dict(checked)

    async def grant_of(self, access_token: str) -> str | None:
        """Return the grant that an access token of ours names (`gid`). Raises `TokenRefused`."""
        _, claims = await self._decoded(access_token)
        found = claims.get("gid")
        return found if isinstance(found, str) else None

    async def checked_logout_token(self, token: str, *, client_id: str) -> LogoutToken:
        """Return what a logout token says (OpenID Connect Back-Channel Logout 1.0, 2.6). Raises `TokenRefused`."""
        header, claims = await self._decoded(token)
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": client_id},
            iat={"essential": True},
            exp={"essential": True},
            jti={"essential": True},
        )
        try:
            registry.validate(dict(claims))
        except JoseError as error:
            raise TokenRefused("The logout token does not hold.", error=error.error) from None
        events = claims.get("events")
        subject, session_id = claims.get("sub"), claims.get("sid")
        is_logout = isinstance(events, Mapping) and isinstance(events.get(BACKCHANNEL_EVENT), Mapping)
        # No other token of the provider may pass for one: they have other types, and ID tokens a nonce.
        is_typed = str(header.get("typ", "")).lower().removeprefix("application/") == "logout+jwt"
        if not (is_logout and is_typed) or "nonce" in claims:
            raise TokenRefused("This is not a logout token.")
        if not (subject or session_id) or not all(isinstance(v, str | None) for v in (subject, session_id)):
            raise TokenRefused("The logout token names neither a person nor a session.")
        return LogoutToken(claims["jti"], subject, session_id, datetime.fromtimestamp(claims["exp"], UTC))

    async def _decoded(self, token: str) -> tuple[Claims, Claims]:
        for is_second in (False, True):
            keys = await self._known_keys(is_second=is_second)
            try:
                found = jwt.decode(
                    token, _key_of(keys), registry=JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
                )
            except InvalidKeyIdError:
                continue
            except (JoseError, ValueError, TypeError, KeyError, RecursionError):
                break
            return dict(found.header), dict(found.claims)
        raise TokenRefused("The token is not signed by the identity service.")

    async def _known_keys(self, *, is_second: bool) -> KeySet:
        now = time.monotonic()
        if self._keys is not None and (
            now - self._tried_at < REFETCH_SECONDS or (not is_second and now - self._fetched_at < METADATA_SECONDS)
        ):
            return self._keys
        self._tried_at = now
        answer = await self._send("GET", await self.endpoint("jwks_uri"))
        try:
            self._keys = KeySet.import_key_set(_object(answer))  # type: ignore[arg-type]  # checked by it
        except (JoseError, ValueError, KeyError, TypeError):
            raise ProviderAway("The identity service's keys cannot be read.") from None
        self._fetched_at = now
        return self._keys

    async def _discovered(self) -> Claims:
        if not self._metadata:
            answer = await self._send("GET", f"{self.issuer}/.well-known/openid-configuration")
            found = _object(answer)
            if answer.status_code != HTTPStatus.OK or found.get("issuer") != self.issuer:
                raise ProviderAway("The identity service is not the one that was expected (RAGECHO_PUBLIC_URL).")
            self._metadata = found
        return self._metadata

    async def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send a request to where the service is reached; in a task of its own, so that contexts stay apart."""
        if self._http is None:
            self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS)
        reached = self._url + url.removeprefix(self.issuer) if url.startswith(self.issuer) else url
        headers = {"Accept": "application/json"}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await asyncio.create_task(self._http.request(method, reached, headers=headers, **options))
        except (httpx.HTTPError, TimeoutError) as error:
            raise ProviderAway(f"The identity service does not answer ({type(error).__name__}).") from None


def _key_of(keys: KeySet) -> Any:
    def key_of(signed: Any) -> Key:
        header = signed.headers()
        return keys.get_by_kid(str(header.get("kid")), {"alg": header["alg"], "use": "sig"})

    return key_of


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}
