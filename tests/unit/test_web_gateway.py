"""The gateway's cookies, CSRF tokens, and its checks of what a provider signs; without a database or network."""

import time
from typing import Any, cast

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ragecho.identity.vault import Vault
from ragecho.platform.database import Database
from ragecho.platform.settings import Settings
from ragecho.web.api import _forget_cookie, _set_cookie
from ragecho.web.errors import ProviderAway, TokenRefused
from ragecho.web.model import Tokens
from ragecho.web.provider import IdentityProvider
from ragecho.web.service import Gateway
from ragecho.web.settings import GatewaySettings

ISSUER = "https://echo.example.com/identity"


def gateway(public_url: str) -> Gateway:
    async def nobody(*_: object) -> Any:
        raise AssertionError

    return Gateway(
        cast("Database", None),
        Vault(b"x" * 48),
        IdentityProvider(f"{public_url}/identity", url=None),
        Settings(public_url=public_url),
        caller_of=nobody,
        gateway=GatewaySettings(),
    )


def test_over_https_the_cookies_are_bound_to_the_host_and_to_tls() -> None:
    made = gateway("https://echo.example.com")
    answer = Response()
    _set_cookie(answer, made, made.cookie_name, "secret")
    _forget_cookie(answer, made, made.login_cookie_name)
    for header in answer.headers.getlist("set-cookie"):
        assert header.startswith("__Host-echo_")
        assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(header.split("; "))
        assert "Domain" not in header
    assert made.origin == "https://echo.example.com"


def test_over_plain_http_on_this_machine_they_are_not_secure() -> None:
    made = gateway("http://127.0.0.1:8000")
    answer = Response()
    _set_cookie(answer, made, made.cookie_name, "secret")
    assert answer.headers["set-cookie"].startswith("echo_session=")
    assert "Secure" not in answer.headers["set-cookie"]


def test_a_csrf_token_belongs_to_one_session() -> None:
    made = gateway("https://echo.example.com")
    assert made.is_csrf_token("a", made.csrf_token("a"))
    assert not made.is_csrf_token("b", made.csrf_token("a"))
    assert not made.is_csrf_token("a", "")
    assert not made.is_csrf_token("a", "\ud800")
    assert "a" * 20 not in made.csrf_token("a" * 20)


# --- What a provider signs


class Double:
    """A provider in a few lines."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", auto_kid=True)
        self.answer: tuple[int, dict[str, Any]] = (200, {})
        self.key_requests = 0
        self.issuer = ISSUER

    def app(self) -> Starlette:
        async def discovery(_: Request) -> Response:
            names = {"token_endpoint": "token", "jwks_uri": "jwks.json"}
            return JSONResponse({"issuer": self.issuer} | {k: f"{ISSUER}/{v}" for k, v in names.items()})

        async def keys(_: Request) -> Response:
            self.key_requests += 1
            return JSONResponse({"keys": [self.key.as_dict(private=False, use="sig", alg="ES256")]})

        async def token(_: Request) -> Response:
            return JSONResponse(self.answer[1], self.answer[0])

        return Starlette(
            routes=[
                Route("/identity/.well-known/openid-configuration", discovery),
                Route("/identity/jwks.json", keys),
                Route("/identity/token", token, methods=["POST"]),
            ]
        )

    def id_token(self, *, header: dict[str, Any] | None = None, key: ECKey | None = None, **claims: Any) -> str:
        now = int(time.time())
        content = {"iss": ISSUER, "aud": "echo-web", "sub": "u", "nonce": "n", "iat": now, "exp": now + 60, **claims}
        content = {name: value for name, value in content.items() if value is not None}
        signer = key or self.key
        return jwt.encode({"alg": "ES256", "kid": signer.kid, **(header or {})}, content, signer, ["ES256"])


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def provider(double: Double) -> IdentityProvider:
    made = IdentityProvider(ISSUER, url=None)
    made.attach(double.app())
    return made


def tokens(id_token: str | None, access_token: str = "access") -> Tokens:
    return Tokens(access_token, None, id_token, 300)


@pytest.mark.anyio
async def test_a_good_id_token_gives_its_claims(double: Double, provider: IdentityProvider) -> None:
    claims = await provider.checked_id_token(tokens(double.id_token()), client_id="echo-web", nonce="n")
    assert claims["sub"] == "u"
    await provider.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": ["another", "echo-web"], "azp": "another"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"exp": None},
        {"iat": int(time.time()) + 3600},
        {"sub": None},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    ],
)
async def test_an_id_token_with_a_wrong_claim_is_refused(
    double: Double, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    with pytest.raises(TokenRefused):
        await provider.checked_id_token(tokens(double.id_token(**claims)), client_id="echo-web", nonce="n")


@pytest.mark.anyio
async def test_an_id_token_of_another_key_or_none_is_refused(double: Double, provider: IdentityProvider) -> None:
    own = ECKey.generate_key("P-256", auto_kid=True)
    forged = [
        double.id_token(key=own),
        double.id_token(key=own, header={"kid": double.key.kid, "jwk": own.as_dict(private=False)}),
        double.id_token()[:-4],
        "x",
        None,
    ]
    for one in forged:
        with pytest.raises(TokenRefused):
            await provider.checked_id_token(tokens(one), client_id="echo-web", nonce="n")
    assert double.key_requests <= 2  # made-up keys do not become requests


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, {"error": "invalid_grant"}), TokenRefused),
        ((401, {"error": "invalid_client"}), TokenRefused),
        ((500, {}), ProviderAway),
        ((503, {"code": "unavailable"}), ProviderAway),
        ((429, {}), ProviderAway),
    ],
)
async def test_what_ends_a_session_is_a_refusal_and_not_an_outage(
    double: Double, provider: IdentityProvider, answer: tuple[int, dict[str, Any]], error: type[Exception]
) -> None:
    double.answer = answer
    with pytest.raises(error):
        await provider.refresh(("echo-web", "secret"), "refresh")


@pytest.mark.anyio
async def test_a_provider_that_calls_itself_otherwise_is_not_believed(
    double: Double, provider: IdentityProvider
) -> None:
    double.issuer = "https://evil.example"
    with pytest.raises(ProviderAway, match="RAGECHO_PUBLIC_URL"):
        await provider.endpoint("token_endpoint")


@pytest.mark.anyio
async def test_a_provider_elsewhere_is_reached_at_its_internal_address() -> None:
    provider = IdentityProvider(ISSUER, url="http://127.0.0.1:9/identity")
    with pytest.raises(ProviderAway, match="ConnectError"):
        await provider.endpoint("token_endpoint")
    await provider.close()
