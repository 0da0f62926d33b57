"""People sign in to a small FastAPI application: login page, callback, sign-out, and who is there.

    login = EchoLogin()
    app.include_router(login.router)

    @app.get("/")
    async def home(person: Annotated[EchoPerson, Depends(login.person)]) -> ...

Code flow with PKCE, state and nonce (OpenID Connect Core 1.0, 3.1). What is remembered stands in one encrypted cookie, so the
application needs no store; it is kept until `session_seconds` are over, whatever happens at the identity service meanwhile. An
application that must notice a sign-out elsewhere at once keeps sessions of its own and listens to the back channel.
"""

import asyncio
import base64
import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from joserfc import jwe, jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import Key, OctKey
from joserfc.jws import JWSRegistry

from ragecho_sdk.auth import ALGORITHMS, AuthConfigurationError
from ragecho_sdk.provider import Provider, ProviderError

__all__ = ["EchoLogin", "EchoPerson", "LoginSettings"]

LOGIN_SECONDS = 1800
_NAMES = ("ECHO_ISSUER", "ECHO_CLIENT_ID", "ECHO_CLIENT_SECRET", "ECHO_REDIRECT_URI")
_HEADER = {"alg": "dir", "enc": "A256GCM"}
_FAILED = "<!doctype html><title>Not signed in</title><p>The sign-in did not work. <a href='{path}'>Sign in again</a>"


@dataclass(frozen=True)
class EchoPerson:
    """Who is signed in; `subject` is what to remember people by."""

    subject: str
    email: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class LoginSettings:
    """How the identity service knows an application: what `ragecho identity client create --redirect-uri …` writes."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "LoginSettings":
        """Read ECHO_ISSUER, ECHO_CLIENT_ID, ECHO_CLIENT_SECRET and ECHO_REDIRECT_URI. Raises `AuthConfigurationError`."""
        found = os.environ if environ is None else environ
        missing = [name for name in _NAMES if not found.get(name)]
        if missing:
            raise AuthConfigurationError(
                f"{' and '.join(missing)} not set. Make them with `ragecho identity client create --name my-app"
                " --redirect-uri http://127.0.0.1:8001/callback --env .env` and load that file."
            )
        return cls(*(found[name] for name in _NAMES))


class EchoLogin:
    """Signing in for one application. Its callback is at the path of the redirect URI. Raises `AuthConfigurationError`."""

    def __init__(
        self,
        settings: LoginSettings | None = None,
        *,
        provider: Provider | None = None,
        session_seconds: int = 8 * 3600,
        login_path: str = "/login",
        logout_path: str = "/logout",
    ) -> None:
        self.settings = settings or LoginSettings.from_env()
        self.provider = provider or Provider(self.settings.issuer)
        self._client = (self.settings.client_id, self.settings.client_secret)
        self._session_seconds = session_seconds
        self._login_path = login_path
        self._is_https = self.settings.redirect_uri.startswith("https:")
        # Cookies are shared by all ports of a host: each application names its own.
        tag = hashlib.sha256(self.settings.client_id.encode()).hexdigest()[:8]
        self._prefix = f"{'__Host-' if self._is_https else ''}echo_app_{tag}_"
        self._key = OctKey.import_key(
            HKDF(SHA256(), 32, salt=b"ragecho_sdk.fastapi_login", info=self.settings.client_id.encode()).derive(
                self.settings.client_secret.encode()
            )
        )
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route(login_path, self._login, methods=["GET"])
        self.router.add_api_route(urlsplit(self.settings.redirect_uri).path, self._callback, methods=["GET"])
        self.router.add_api_route(logout_path, self._logout, methods=["POST"])

    async def person(self, request: Request) -> EchoPerson:
        """Return who is signed in; the dependency of pages. Browsers without a session are sent to the login page."""
        found = self._opened(request, "session")
        if found is not None:
            return EchoPerson(found["sub"], found.get("email"), found.get("name"))
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            raise HTTPException(303, headers={"Location": f"{self._login_path}?{urlencode({'return_to': wanted})}"})
        raise HTTPException(401, f"Sign in first: {self._login_path}")

    async def _login(self, return_to: str = "/") -> Response:
        try:
            endpoint = await asyncio.to_thread(self.provider.endpoint, "authorization_endpoint")
        except ProviderError as error:
            raise HTTPException(503, str(error)) from None
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.settings.redirect_uri,
            "scope": "openid profile email",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        answer = RedirectResponse(f"{endpoint}?{urlencode(query)}", 303)
        pending = {"state": state, "nonce": nonce, "verifier": verifier, "return_to": _local(return_to)}
        self._set(answer, "login", pending, LOGIN_SECONDS)
        return answer

    async def _callback(self, request: Request) -> Response:
        pending = self._opened(request, "login")
        query = request.query_params
        is_ours = pending is not None and secrets.compare_digest(
            query.get("state", "").encode(), pending["state"].encode()
        )
        if pending is None or not is_ours or query.get("iss") != self.settings.issuer:
            return self._failed()
        try:
            found = await asyncio.to_thread(self._redeemed, query.get("code", ""), pending)
        except (ProviderError, JoseError, ValueError, KeyError):
            return self._failed()
        answer = RedirectResponse(pending["return_to"], 303)
        self._set(answer, "session", found, self._session_seconds)
        self._forget(answer, "login")
        return answer

    def _redeemed(self, code: str, pending: Mapping[str, str]) -> dict[str, Any]:
        """Return what is remembered of the person. Raises what goes wrong."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.settings.redirect_uri}
        tokens = self.provider.tokens(self._client, form | {"code_verifier": pending["verifier"]})
        claims = self._checked(tokens["id_token"], pending["nonce"])
        about = self.provider.userinfo(tokens["access_token"])
        if about.get("sub") != claims["sub"]:
            raise ValueError("userinfo is about somebody else")
        known = {name: about[name] for name in ("email", "name") if isinstance(about.get(name), str)}
        return {"sub": claims["sub"], **known, "id_token": tokens["id_token"]}

    def _checked(self, id_token: str, nonce: str) -> dict[str, Any]:
        keys = self.provider.keys()
        try:
            found = self._decoded(id_token, keys)
        except InvalidKeyIdError:
            found = self._decoded(id_token, self.provider.keys_after(keys) or keys)
        rules = jwt.JWTClaimsRegistry(
            leeway=60,
            iss={"essential": True, "value": self.settings.issuer},
            aud={"essential": True, "value": self.settings.client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        rules.validate(found.claims)
        if found.claims.get("azp", self.settings.client_id) != self.settings.client_id:
            raise ValueError("the ID token was issued to another client")
        return found.claims

    def _decoded(self, token: str, keys: Any) -> jwt.Token:
        def key_of(signed: Any) -> Key:
            header = signed.headers()
            found: Key = keys.get_by_kid(str(header.get("kid")), {"alg": header["alg"], "use": "sig"})
            return found

        return jwt.decode(token, key_of, registry=JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False))

    async def _logout(self, request: Request) -> Response:
        """End the session here and at the identity service."""
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise HTTPException(403, "Signing out was asked for by another site.")
        found = self._opened(request, "session")
        if found is None:
            return RedirectResponse("/", 303)
        try:
            endpoint = await asyncio.to_thread(self.provider.endpoint, "end_session_endpoint")
            answer = RedirectResponse(f"{endpoint}?{urlencode({'id_token_hint': found['id_token']})}", 303)
        except ProviderError:
            answer = RedirectResponse("/", 303)
        self._forget(answer, "session")
        return answer

    def _failed(self) -> Response:
        return HTMLResponse(_FAILED.format(path=self._login_path), 400, {"Cache-Control": "no-store"})

    def _opened(self, request: Request, purpose: str) -> dict[str, Any] | None:
        sealed = request.cookies.get(self._prefix + purpose)
        if not sealed:
            return None
        try:
            opened = jwe.decrypt_compact(sealed, self._key, list(_HEADER.values())).plaintext
            found = json.loads(opened or b"")
        except (JoseError, ValueError):
            return None
        is_alive = isinstance(found, dict) and found.get("for") == purpose and found.get("until", 0) > time.time()
        return found if is_alive else None

    def _set(self, answer: Response, purpose: str, content: dict[str, Any], seconds: int) -> None:
        sealed = json.dumps({**content, "for": purpose, "until": time.time() + seconds}).encode()
        answer.set_cookie(
            self._prefix + purpose,
            jwe.encrypt_compact(dict(_HEADER), sealed, self._key, list(_HEADER.values())),
            max_age=seconds,
            path="/",
            secure=self._is_https,
            httponly=True,
            samesite="lax",
        )
        answer.headers["Cache-Control"] = "no-store"

    def _forget(self, answer: Response, purpose: str) -> None:
        answer.delete_cookie(self._prefix + purpose, path="/", secure=self._is_https, httponly=True, samesite="lax")


def _local(path: str) -> str:
    """Return a path of this application, else its root: browsers read a backslash as a slash."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_local and all("!" <= character <= "~" for character in path) else "/"
