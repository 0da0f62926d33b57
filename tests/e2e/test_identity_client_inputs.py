"""SECURITY.md, line 13: what clients say of themselves, and how they authenticate, is never a 500."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import RelyingParty, register
from tests.e2e.test_identity_inputs import check


@pytest.fixture(scope="module")
def party(server: Server) -> RelyingParty:
    return register(server)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.mark.parametrize("grant_type", ["client_credentials", "authorization_code", "refresh_token", "nonsense"])
@pytest.mark.parametrize(
    "assertion", ["", "x", "a.b.c", "e30.e30.e30", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJFUzI1NiJ9.W10.AAAA", "ü.ü.ü"]
)
def test_a_broken_client_assertion_is_a_4xx(
    assertion: str, grant_type: str, http: httpx.Client, party: RelyingParty
) -> None:
    for kind in (JWT_BEARER, "urn:something:else", ""):
        for client_id in (party.id, "nobody"):
            body = {"grant_type": grant_type, "client_id": client_id, "client_assertion": assertion}
            answer = http.post("/identity/token", data=body | {"client_assertion_type": kind})
            assert 400 <= answer.status_code < 500, answer.text


def test_a_well_signed_assertion_is_a_4xx_where_the_client_may_not_use_it_so(
    server: Server, http: httpx.Client
) -> None:
    key = ECKey.generate_key("P-256", {"kid": "one", "alg": "ES256", "use": "sig"})
    public = {"keys": [key.as_dict(private=False)]}
    party = register(server, token_endpoint_auth_method="private_key_jwt", jwks=public)
    now = int(time.time())
    for changes in (
        {},
        {"aud": "https://elsewhere.example"},
        {"exp": now - 60},
        {"jti": None},
        {"sub": "echo-web"},
        {"sub": 5},
    ):
        claims = {"iss": party.id, "sub": party.id, "aud": party.issuer, "exp": now + 60, "jti": str(uuid4())} | changes
        sent = {name: value for name, value in claims.items() if value is not None}
        body = {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": jwt.encode({"alg": "ES256", "kid": "one"}, sent, key),
        }
        for _ in range(2):
            answer = http.post("/identity/token", data=body)
            assert 400 <= answer.status_code < 500, f"{changes}: {answer.text}"


WRONG_METADATA: list[Any] = [
    None,
    [],
    "text",
    {},
    {"redirect_uris": "https://rp.example/callback"},
    {"redirect_uris": [1, None, {}]},
    {"redirect_uris": []},
    {"redirect_uris": ["javascript:alert(1)"]},
    {"redirect_uris": ["https://rp.example/*"]},
    {"redirect_uris": ["https://rp.example/#f"]},
    {"redirect_uris": ["http://rp.example/callback"]},
    {"redirect_uris": ["https://user:pass@rp.example/"]},
    {"redirect_uris": ["https://rp.example/" + "x" * 9000]},
    {"redirect_uris": ["https://rp.example/\x00"]},
    {"redirect_uris": ["https://rp.example/"] * 500},
    {"client_name": "\x00"},
    {"client_name": {"a": 1}},
    {"client_name": "x" * 100_000},
    {"grant_types": ["password"]},
    {"grant_types": ["implicit"]},
    {"response_types": ["token"]},
    {"token_endpoint_auth_method": "magic"},
    {"id_token_signed_response_alg": "none"},
    {"id_token_signed_response_alg": "HS256"},
    {"scope": 5},
    {"logo_uri": "javascript:alert(1)"},
    {"client_uri": "data:text/html,x"},
    {"jwks_uri": "file:///etc/passwd"},
    {"jwks": {"keys": "x"}},
    {"post_logout_redirect_uris": ["javascript:alert(1)"]},
    {"backchannel_logout_uri": "file:///etc/passwd"},
    {"software_statement": "a.b.c"},
    {"contacts": 1},
]


@pytest.mark.parametrize("wrong", WRONG_METADATA, ids=lambda value: str(value)[:60].replace("\x00", "NUL"))
def test_wrong_client_metadata_is_refused_with_a_registered_error(wrong: Any, http: httpx.Client) -> None:
    good = {"client_name": "Wrong", "redirect_uris": ["https://rp.example/callback"]}
    answer = http.post("/identity/register", json=good | wrong if isinstance(wrong, dict) and wrong else wrong)
    check(answer, wrong)
    if isinstance(wrong, dict) and set(wrong) & {"contacts", "jwks", "software_statement"}:
        return  # may as well be ignored: nothing reads them
    if "\\u0000" in json.dumps(wrong):
        assert answer.status_code == 422  # refused before anybody reads it
        return
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] in (
        "invalid_redirect_uri",
        "invalid_client_metadata",
        "invalid_request",
        "invalid_software_statement",
    )
