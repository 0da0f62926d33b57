"""An identity service in a few lines, for the SDK's guards: real keys and signatures, no network."""

import time
from typing import Any
from urllib.parse import parse_qs

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

ISSUER = "http://127.0.0.1:8000/identity"
AUDIENCE = "https://reports.example.com"


class Issuer:
    """Signs tokens, answers discovery, keys, token and introspection requests, and counts them by path."""

    def __init__(self) -> None:
        self.keys = [ECKey.generate_key("P-256", auto_kid=True)]
        self.requests: list[str] = []
        self.names = {"jwks_uri": "jwks.json", "introspection_endpoint": "introspect", "token_endpoint": "token"}
        self.is_down = False
        self.revoked: set[str] = set()
        self.tokens: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self.expires_in = 300
        self.refusal: tuple[int, dict[str, Any]] | None = None

    def token(self, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        signer = key or self.keys[-1]
        algorithm = {ECKey: "ES256", RSAKey: "RS256", OctKey: "HS256"}[type(signer)]
        now = int(time.time())
        content = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "user-1",
            "client_id": "app-1",
            "scope": "reports:read",
            "iat": now,
            "exp": now + 300,
            **claims,
        }
        content = {name: value for name, value in content.items() if value is not None}
        full = {"alg": algorithm, "typ": "at+jwt", "kid": signer.kid, **(header or {})}
        return jwt.encode(full, content, signer, algorithms=[algorithm])

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/identity")
        self.requests.append(path)
        if self.is_down:
            raise httpx.ConnectError("refused")
        if path == "/.well-known/openid-configuration":
            return httpx.Response(200, json={"issuer": ISSUER} | {k: f"{ISSUER}/{v}" for k, v in self.names.items()})
        if path == "/jwks.json":
            return httpx.Response(200, json={"keys": [key.as_dict(private=False, use="sig") for key in self.keys]})
        form = parse_qs(request.content.decode())
        self.forms.append(form)
        if path == "/introspect":
            return httpx.Response(200, json={"active": form["token"][0] not in self.revoked})
        if path == "/token":
            if self.refusal:
                return httpx.Response(self.refusal[0], json=self.refusal[1])
            self.tokens.append(f"token-{len(self.tokens) + 1}")
            return httpx.Response(
                200, json={"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": self.expires_in}
            )
        raise AssertionError(path)

    def http(self, _url: str) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.answer))
