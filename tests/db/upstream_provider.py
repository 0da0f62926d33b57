"""A real OpenID provider on a loopback port that signs everybody in at once, honestly or as a test wants it."""

import base64
import hashlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import uvicorn
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID = "echo"
CLIENT_SECRET = "a secret with + and : and % in it"


@dataclass
class Upstream:
    """One provider. `claims` are the next person's; the other fields are ways to misbehave."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    key: ECKey | RSAKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"use": "sig"}))
    alg: str = "ES256"
    metadata: dict[str, Any] = field(default_factory=dict)
    id_token_claims: dict[str, Any] = field(default_factory=dict)
    id_token_header: dict[str, Any] = field(default_factory=dict)
    sign: str = "honestly"
    response: dict[str, str | None] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None
    has_key_id: bool = True
    other_keys: list[dict[str, Any]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    redirect_uris: set[str] = field(default_factory=set)
    requests: list[dict[str, str]] = field(default_factory=list)
    jwks_fetched: int = 0

    def person(self, subject: str = "ada", email: str | None = "ada@corp.example", **claims: Any) -> None:
        """Choose who signs in next."""
        self.claims = {"sub": subject, "email": email, "email_verified": True, "name": "Ada", **claims}
        self.claims = {name: value for name, value in self.claims.items() if value is not None}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/jwks", self._jwks),
                Route("/userinfo", self._userinfo),
            ]
        )

    async def _discovery(self, _request: Request) -> Response:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return JSONResponse({name: value for name, value in document.items() if value is not None})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.requests.append(asked)
        if asked.get("client_id") != CLIENT_ID or (
            self.redirect_uris and asked.get("redirect_uri") not in self.redirect_uris
        ):
            return Response("unknown client or redirect URI", 400)
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer: dict[str, str | None] = {"code": code, "state": asked["state"], "iss": self.issuer}
        if asked.get("prompt") == "none":
            answer = {"error": "login_required", "state": asked["state"], "iss": self.issuer}
        answer |= self.response
        kept = {name: value for name, value in answer.items() if value is not None}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(kept)}", 302)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if not _is_client(request.headers.get("authorization", ""), form):
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or asked["code_challenge"] != challenge.rstrip(b"=").decode()
            or asked["redirect_uri"] != form.get("redirect_uri")
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        access_token = secrets.token_urlsafe(16)
        return JSONResponse(
            {
                "access_token": access_token,
                "token_type": "Bearer",
                "id_token": self._id_token(asked["nonce"], access_token),
            }
        )

    def _id_token(self, nonce: str, access_token: str) -> str:
        self.key.ensure_kid()
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
            **self.claims,
            **self.id_token_claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.userinfo is not None:
            claims.pop("email", None)
        header = {"alg": self.alg, **({"kid": self.key.kid} if self.has_key_id else {}), **self.id_token_header}
        return _SIGNERS[self.sign](self, header, claims)

    def logout_token(self, **claims: Any) -> str:
        """Return a token that says that somebody signed out."""
        self.key.ensure_kid()
        now = int(time.time())
        said = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(8),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        return _SIGNERS[self.sign](self, {"alg": self.alg, "kid": self.key.kid, "typ": "logout+jwt"}, said)

    async def _jwks(self, _request: Request) -> Response:
        self.jwks_fetched += 1
        own = KeySet([self.key]).as_dict(private=False)["keys"]
        if not self.has_key_id:
            for one in own:
                one.pop("kid", None)  # type: ignore[attr-defined]  # a plain dictionary, whatever its declared type
        return JSONResponse({"keys": [*self.other_keys, *own]})

    async def _userinfo(self, _request: Request) -> Response:
        return JSONResponse(self.userinfo or {})


def _honestly(upstream: Upstream, header: dict[str, Any], claims: dict[str, Any]) -> str:
    return jwt.encode(header, claims, upstream.key, algorithms=[upstream.alg])


def _unsigned(_upstream: Upstream, header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [json.dumps(one).encode() for one in ({**header, "alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts), ""])


def _with_the_public_key(upstream: Upstream, header: dict[str, Any], claims: dict[str, Any]) -> str:
    pem = upstream.key.as_pem(private=False)
    key = OctKey.import_key(base64.urlsafe_b64encode(pem).rstrip(b"=").decode())
    return jws.serialize_compact({**header, "alg": "HS256"}, json.dumps(claims).encode(), key, algorithms=["HS256"])


def _with_the_client_secret(_upstream: Upstream, header: dict[str, Any], claims: dict[str, Any]) -> str:
    key = OctKey.import_key(CLIENT_SECRET)
    return jws.serialize_compact({**header, "alg": "HS256"}, json.dumps(claims).encode(), key, algorithms=["HS256"])


def _with_a_key_of_its_own(upstream: Upstream, header: dict[str, Any], claims: dict[str, Any]) -> str:
    other = ECKey.generate_key("P-256")
    return jwt.encode({**header, "jwk": other.as_dict(private=False)}, claims, other, algorithms=[upstream.alg])


_SIGNERS = {
    "honestly": _honestly,
    "not at all": _unsigned,
    "with the public key": _with_the_public_key,
    "with the client secret": _with_the_client_secret,
    "with a key of its own": _with_a_key_of_its_own,
}


def _is_client(authorization: str, form: dict[str, str]) -> bool:
    scheme, _, value = authorization.partition(" ")
    if scheme == "Basic":
        name, _, secret = base64.b64decode(value).decode().partition(":")
        pairs = dict(parse_qsl(f"id={name}&secret={secret}"))
        return pairs == {"id": CLIENT_ID, "secret": CLIENT_SECRET}
    return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)


# Accounts of one issuer are one person's: a port that the system gives out twice would be another test's provider.
_used_ports: set[int] = set()


def _socket_of_its_own(config: uvicorn.Config) -> socket.socket:
    held = []
    try:
        while True:
            bound = config.bind_socket()
            port = bound.getsockname()[1]
            if port not in _used_ports:
                _used_ports.add(port)
                return bound
            held.append(bound)
    finally:
        for one in held:
            one.close()


@contextmanager
def running(upstream: Upstream) -> Iterator[Upstream]:
    """Serve it on a port that nobody had before; its issuer is set."""
    config = uvicorn.Config(upstream.app(), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    bound = _socket_of_its_own(config)
    upstream.issuer = f"http://127.0.0.1:{bound.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.should_exit = True
        thread.join(10)
        bound.close()


def answer_of(url: str) -> dict[str, str]:
    """Return the parameters of an authorization response."""
    return dict(parse_qsl(urlsplit(url).query))
