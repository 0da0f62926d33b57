"""The SDK's guards: which tokens count, and what the refused caller is told."""

import asyncio
import base64
import hmac
import json
import time

import httpx
import pytest
from fastapi import Depends, FastAPI
from joserfc.jwk import ECKey, RSAKey
from starlette.testclient import TestClient
from tests.unit.client.issuer import AUDIENCE, ISSUER, Issuer

from ragecho.kernel.authorization import RULES
from ragecho_sdk.auth import AuthConfigurationError, AuthError, AuthSettings, EchoUser, TokenVerifier
from ragecho_sdk.client_credentials import ClientCredentials, TokenError
from ragecho_sdk.fastapi import EchoAuth
from ragecho_sdk.provider import KEYS_SECONDS, REFETCH_SECONDS, STALE_SECONDS, Provider
from ragecho_sdk.scopes import BROADER


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> TokenVerifier:
    return TokenVerifier(AuthSettings(ISSUER, AUDIENCE), provider=Provider(ISSUER, http=issuer.http, monotonic=clock))


def refusal(verifier: TokenVerifier, authorization: str | None, *scopes: str) -> AuthError:
    with pytest.raises(AuthError) as caught:
        verifier.verify(authorization, *scopes)
    with pytest.raises(AuthError) as again:
        asyncio.run(verifier.verify_async(authorization, *scopes))
    assert again.value.description == caught.value.description
    return caught.value


def test_a_valid_token_names_its_user_client_and_scopes(verifier: TokenVerifier, issuer: Issuer) -> None:
    user = verifier.verify(f"Bearer {issuer.token(scope='a b')}", "b")
    assert (user.subject, user.client_id, user.scopes) == ("user-1", "app-1", {"a", "b"})
    assert not user.is_service
    assert user.token not in repr(user)


def test_a_token_of_client_credentials_is_a_service(verifier: TokenVerifier, issuer: Issuer) -> None:
    assert verifier.verify(f"bearer {issuer.token(sub='app-1')}").is_service


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YTpi", "token"])
def test_without_a_token_the_answer_says_what_to_send_and_has_no_error_code(
    verifier: TokenVerifier, authorization: str | None
) -> None:
    error = refusal(verifier, authorization)
    assert error.status == 401
    assert error.error is None
    assert "'Authorization: Bearer <token>'" in error.description
    assert ISSUER in error.description
    assert error.headers == {"WWW-Authenticate": 'Bearer realm="echo"'}


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"aud": "https://other.example.com"}, "another audience"),
        ({"aud": ["https://other.example.com"]}, "another audience"),
        ({"iss": "http://127.0.0.1:8000/identity/"}, "another issuer"),
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"iat": int(time.time()) + 3600}, "'iat'"),
        ({"nbf": int(time.time()) + 3600}, "'nbf'"),
        ({"exp": None}, "lacks a claim"),
        ({"aud": None}, "lacks a claim"),
        ({"client_id": None}, "lacks a claim"),
        ({"sub": None}, "lacks a claim"),
        ({"scope": ["reports:read"]}, "wrong types"),
        ({"exp": "never"}, "'exp'"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused_with_the_reason(
    verifier: TokenVerifier, issuer: Issuer, claims: dict[str, object], says: str
) -> None:
    error = refusal(verifier, f"Bearer {issuer.token(**claims)}")
    assert (error.status, error.error) == (401, "invalid_token")
    assert says in error.description


def test_an_id_token_is_no_access_token(verifier: TokenVerifier, issuer: Issuer) -> None:
    assert "ID token" in refusal(verifier, f"Bearer {issuer.token(header={'typ': 'JWT'})}").description


def unsigned(issuer: Issuer) -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "at+jwt", "kid": issuer.keys[0].kid}).encode())
    return f"{header.decode().rstrip('=')}.{issuer.token().split('.')[1]}."


def signed_with_the_public_key(issuer: Issuer) -> str:
    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    header = part(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": issuer.keys[0].kid}).encode())
    signed = f"{header}.{issuer.token().split('.')[1]}"
    return f"{signed}.{part(hmac.digest(issuer.keys[0].as_pem(private=False), signed.encode(), 'sha256'))}"


def signed_by_a_key_of_its_own(issuer: Issuer) -> str:
    own = ECKey.generate_key("P-256", auto_kid=True)
    return issuer.token(key=own, header={"jwk": own.as_dict(private=False), "kid": issuer.keys[0].kid})


def with_a_key_address(issuer: Issuer) -> str:
    own = ECKey.generate_key("P-256", auto_kid=True)
    return issuer.token(key=own, header={"jku": "https://evil.example.com/keys", "kid": "evil"})


def without_a_key_id(issuer: Issuer) -> str:
    return issuer.token(header={"kid": "None"})


def with_another_payload(issuer: Issuer) -> str:
    head, _, tail = issuer.token().split(".")
    return f"{head}.{issuer.token(sub='root').split('.')[1]}.{tail}"


@pytest.mark.parametrize(
    "forge",
    [
        unsigned,
        signed_with_the_public_key,
        signed_by_a_key_of_its_own,
        with_a_key_address,
        without_a_key_id,
        with_another_payload,
        lambda _: "x",
        lambda _: "a.b.c",
        lambda _: "é.é.é",
        lambda _: "a" * 9000,
        lambda _: base64.urlsafe_b64encode(b'{"alg":["ES256"]}').decode() + ".e30.",
        lambda _: base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.",
    ],
)
def test_forged_tokens_are_refused(verifier: TokenVerifier, issuer: Issuer, forge) -> None:
    error = refusal(verifier, f"Bearer {forge(issuer)}")
    assert (error.status, error.error) == (401, "invalid_token")


def test_a_missing_scope_is_403_and_named(verifier: TokenVerifier, issuer: Issuer) -> None:
    error = refusal(verifier, f"Bearer {issuer.token()}", "reports:write")
    assert (error.status, error.error) == (403, "insufficient_scope")
    assert 'scope="reports:write"' in error.headers["WWW-Authenticate"]
    assert "reports:write" in error.description


def test_a_broad_scope_stands_for_its_acts_and_for_no_other(verifier: TokenVerifier, issuer: Issuer) -> None:
    broad = f"Bearer {issuer.token(scope='read')}"
    assert verifier.verify(broad, "documents:read", "read").has_scopes("documents:read", "jobs:read")
    for scope in ("documents:write", "reports:read", "write"):
        assert refusal(verifier, broad, scope).error == "insufficient_scope"
    narrow = f"Bearer {issuer.token(scope='documents:read')}"
    assert refusal(verifier, narrow, "read").error == "insufficient_scope", "a part is not the whole"


def test_the_scopes_are_those_of_the_authorization_table() -> None:
    assert {str(permission): str(rule.scope) for permission, rule in RULES.items()} == BROADER, (
        "run scripts/generate_authorization_reference.py"
    )


def test_keys_are_fetched_once(verifier: TokenVerifier, issuer: Issuer) -> None:
    for _ in range(5):
        verifier.verify(f"Bearer {issuer.token()}")
    assert issuer.requests == ["/.well-known/openid-configuration", "/jwks.json"]


def test_a_rotated_key_is_found_and_the_old_one_still_counts(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    old = issuer.token()
    verifier.verify(f"Bearer {old}")
    issuer.keys.append(RSAKey.generate_key(2048, auto_kid=True))
    clock.now += REFETCH_SECONDS
    assert verifier.verify(f"Bearer {issuer.token()}")
    assert verifier.verify(f"Bearer {old}")
    assert issuer.requests.count("/jwks.json") == 2


def test_tokens_with_made_up_keys_do_not_become_requests(verifier: TokenVerifier, issuer: Issuer, clock: Clock) -> None:
    verifier.verify(f"Bearer {issuer.token()}")
    clock.now += REFETCH_SECONDS
    for _ in range(20):
        refusal(verifier, f"Bearer {with_a_key_address(issuer)}")
    assert issuer.requests.count("/jwks.json") == 2


def test_known_keys_serve_while_the_identity_service_is_away_but_not_for_ever(
    verifier: TokenVerifier, issuer: Issuer, clock: Clock
) -> None:
    token = issuer.token()
    verifier.verify(f"Bearer {token}")
    issuer.is_down = True
    clock.now += KEYS_SECONDS + 1
    assert verifier.verify(f"Bearer {token}")
    clock.now += STALE_SECONDS
    error = refusal(verifier, f"Bearer {token}")
    assert error.status == 503
    assert "ECHO_ISSUER" in error.description
    assert "Retry-After" in error.headers


def test_an_issuer_that_calls_itself_otherwise_is_told_as_such(issuer: Issuer) -> None:
    wrong = "http://127.0.0.1:8000/identity/"
    verifier = TokenVerifier(AuthSettings(wrong, AUDIENCE), provider=Provider(wrong, http=issuer.http))
    assert f"calls itself '{ISSUER}'" in refusal(verifier, f"Bearer {issuer.token()}").description


def test_introspection_refuses_a_revoked_token_and_remembers_good_ones(issuer: Issuer) -> None:
    clock = Clock()
    verifier = TokenVerifier(
        AuthSettings(ISSUER, AUDIENCE, "app-1", "s3cret"),
        provider=Provider(ISSUER, http=issuer.http),
        introspects=True,
        leeway_seconds=10**9,
        clock=clock,
    )
    clock.now = time.time()
    token = issuer.token()
    verifier.verify(f"Bearer {token}")
    verifier.verify(f"Bearer {token}")
    assert issuer.requests.count("/introspect") == 1
    issuer.revoked.add(token)
    clock.now += 11
    assert "revoked" in refusal(verifier, f"Bearer {token}").description


def test_missing_settings_are_named_with_the_command_that_makes_them() -> None:
    with pytest.raises(AuthConfigurationError, match=r"ECHO_ISSUER and ECHO_AUDIENCE not set.*identity client create"):
        AuthSettings.from_env({})
    with pytest.raises(AuthConfigurationError, match="ECHO_CLIENT_SECRET"):
        TokenVerifier(AuthSettings(ISSUER, AUDIENCE), introspects=True)


@pytest.mark.parametrize("issuer", ["echo.example.com", "ftp://x/", "http://echo.example.com/identity"])
def test_an_issuer_must_be_an_https_address(issuer: str) -> None:
    with pytest.raises(ValueError, match="ECHO_ISSUER"):
        Provider(issuer)


def test_the_secret_is_not_in_the_settings_repr() -> None:
    assert "s3cret" not in repr(AuthSettings(ISSUER, AUDIENCE, "app-1", "s3cret"))


def test_a_fastapi_route_is_guarded(issuer: Issuer) -> None:
    auth = EchoAuth(AuthSettings(ISSUER, AUDIENCE), provider=Provider(ISSUER, http=issuer.http))
    app = FastAPI()

    @app.get("/reports")
    async def reports(user: EchoUser = Depends(auth.user("reports:read"))) -> dict[str, str]:  # noqa: B008 - FastAPI
        return {"user": user.subject}

    client = TestClient(app)
    refused = client.get("/reports")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="echo"'
    assert "Authorization: Bearer" in refused.json()["detail"]
    assert client.get("/reports", headers={"Authorization": f"Bearer {issuer.token()}"}).json() == {"user": "user-1"}
    poor = client.get("/reports", headers={"Authorization": f"Bearer {issuer.token(scope='')}"})
    assert poor.status_code == 403
    assert 'error="insufficient_scope"' in poor.headers["www-authenticate"]
    assert app.openapi()["paths"]["/reports"]["get"]["security"] == [{"HTTPBearer": []}]
    app.dependency_overrides[auth.user("reports:read")] = lambda: EchoUser("tester", "t", frozenset(), {}, "")
    assert client.get("/reports").json() == {"user": "tester"}


class Reports:
    """A service that takes the newest token only."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.seen: list[str] = []
        self.refuses: set[str] = set()

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "127.0.0.1":
            return self.issuer.answer(request)
        self.seen.append(request.headers["authorization"])
        return httpx.Response(401 if self.seen[-1].removeprefix("Bearer ") in self.refuses else 200)


def credentials(clock: Clock, **options: str) -> ClientCredentials:
    return ClientCredentials(ISSUER, "app-1", "s3cret", monotonic=clock, **options)


def test_a_service_gets_its_token_once_and_renews_it_before_it_ends(issuer: Issuer, clock: Clock) -> None:
    reports = Reports(issuer)
    auth = credentials(clock, scope="reports:read", audience=AUDIENCE)
    with httpx.Client(transport=httpx.MockTransport(reports.answer), auth=auth) as http:
        for _ in range(3):
            assert http.get("https://reports.example.com/").status_code == 200
        clock.now += issuer.expires_in - 20
        http.get("https://reports.example.com/")
    assert reports.seen == ["Bearer token-1"] * 3 + ["Bearer token-2"]
    assert issuer.forms[0] == {
        "grant_type": ["client_credentials"],
        "scope": ["reports:read"],
        "resource": [AUDIENCE],
    }


def test_a_refused_token_is_replaced_once(issuer: Issuer, clock: Clock) -> None:
    reports = Reports(issuer)
    reports.refuses = {"token-1"}
    with httpx.Client(transport=httpx.MockTransport(reports.answer), auth=credentials(clock)) as http:
        assert http.get("https://reports.example.com/").status_code == 200
        reports.refuses = {"token-2", "token-3"}
        assert http.get("https://reports.example.com/").status_code == 401
    assert issuer.tokens == ["token-1", "token-2", "token-3"]


def test_parallel_requests_fetch_one_token(issuer: Issuer, clock: Clock) -> None:
    reports = Reports(issuer)

    async def go() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(reports.answer), auth=credentials(clock)) as http:
            answers = await asyncio.gather(*(http.get("https://reports.example.com/") for _ in range(8)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(go()) == [200] * 8
    assert issuer.tokens == ["token-1"]


@pytest.mark.parametrize(
    ("error", "says"),
    [("invalid_client", "ECHO_CLIENT_SECRET"), ("invalid_scope", "scope"), ("server_error", "answered 400")],
)
def test_a_refused_client_is_told_why(issuer: Issuer, clock: Clock, error: str, says: str) -> None:
    issuer.refusal = (400, {"error": error})
    http = httpx.Client(transport=httpx.MockTransport(Reports(issuer).answer), auth=credentials(clock))
    with http, pytest.raises(TokenError, match=says):
        http.get("https://reports.example.com/")
