"""Clients that register themselves, manage their registration, and authenticate with a key of their own."""

import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from tests.db.identity_protocol_driver import BASE, REDIRECT_URI, World, provider

pytestmark = pytest.mark.anyio
ISSUER = f"{BASE}/identity"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
async def http(owner_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGECHO_IDENTITY_SECRET", hashlib.sha512(b"tests").hexdigest())
        async with provider(owner_url, tmp_path) as world, world.http() as client:
            yield client


async def register(http: httpx.AsyncClient, **metadata: Any) -> httpx.Response:
    asked = {"client_name": "App", "redirect_uris": [REDIRECT_URI], **metadata}
    return await http.post(
        "/identity/register", json={name: value for name, value in asked.items() if value is not None}
    )


async def test_a_registration_is_managed_with_its_own_token_only(http: httpx.AsyncClient) -> None:
    mine, other = (await register(http)).json(), (await register(http)).json()
    url = mine["registration_client_uri"]

    def by(client: dict[str, Any]) -> dict[str, str]:
        return {"Authorization": f"Bearer {client['registration_access_token']}"}

    read = await http.get(url, headers=by(mine))
    assert read.json()["redirect_uris"] == [REDIRECT_URI]
    assert read.json()["registration_access_token"] == mine["registration_access_token"]
    assert "client_secret" not in read.json()
    for headers in ({}, by(other), {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
        for method in ("GET", "DELETE"):
            assert (await http.request(method, url, headers=headers)).status_code in (400, 401, 403)
    changed = await http.put(
        url, headers=by(mine), json={"client_id": mine["client_id"], "redirect_uris": ["https://rp.example/new"]}
    )
    assert changed.json()["redirect_uris"] == ["https://rp.example/new"]
    foreign = {"client_id": other["client_id"], "redirect_uris": [REDIRECT_URI]}
    assert (await http.put(url, headers=by(mine), json=foreign)).status_code == 400
    assert (await http.delete(url, headers=by(mine))).status_code == 204
    assert (await http.get(url, headers=by(mine))).status_code == 401


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://rp.example/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": "https://rp.example/"}, "invalid_client_metadata"),
        ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "client_secret_jwt"}, "invalid_client_metadata"),
        ({"id_token_signed_response_alg": "none"}, "invalid_client_metadata"),
        ({"jwks": {}}, "invalid_client_metadata"),
        ({"jwks": []}, "invalid_client_metadata"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "invalid_client_metadata"),
        ({"logo_uri": "javascript:alert(1)"}, "invalid_client_metadata"),
        ({"client_name": "a\u202eb"}, "invalid_client_metadata"),
        ({"backchannel_logout_uri": "http://rp.example/"}, "invalid_client_metadata"),
        ({"contacts": [1]}, "invalid_client_metadata"),
    ],
)
async def test_unsafe_metadata_is_refused(http: httpx.AsyncClient, metadata: dict[str, Any], error: str) -> None:
    answer = await register(http, **metadata)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == error


async def test_pkce_is_required_unless_a_confidential_web_client_says_otherwise(http: httpx.AsyncClient) -> None:
    for metadata, is_required in (
        ({}, True),
        ({"require_pkce": False}, False),
        ({"require_pkce": False, "token_endpoint_auth_method": "none"}, True),
        ({"require_pkce": False, "application_type": "native"}, True),
    ):
        assert (await register(http, **metadata)).json()["require_pkce"] is is_required


async def test_a_client_with_a_key_of_its_own_uses_each_assertion_once(http: httpx.AsyncClient) -> None:
    key = ECKey.generate_key("P-256", {"kid": "mine"})
    # The private half is not kept, even where a client sends it.
    made = await register(
        http, token_endpoint_auth_method="private_key_jwt", jwks={"keys": [key.as_dict(private=True)]}
    )
    client = made.json()
    assert "client_secret" not in client
    assert "d" not in client["jwks"]["keys"][0]

    def assertion(signer: Any = key, alg: str = "ES256", **changes: Any) -> str:
        now = int(time.time())
        said = {
            "iss": client["client_id"],
            "sub": client["client_id"],
            "aud": ISSUER,
            "jti": secrets.token_urlsafe(8),
            "exp": now + 60,
            **changes,
        }
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": "mine"}, kept, signer, [alg])

    async def push(given: str) -> httpx.Response:
        return await http.post(
            "/identity/par",
            data={
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": given,
                "response_type": "code",
                "redirect_uri": REDIRECT_URI,
                "scope": "openid",
                "code_challenge": "c" * 43,
                "code_challenge_method": "S256",
            },
        )

    good = assertion()
    assert (await push(good)).status_code == 201
    assert (await push(good)).status_code == 401
    for wrong in (
        assertion(aud="https://other.example"),
        assertion(exp=int(time.time()) - 60),
        assertion(exp=int(time.time()) + 100_000),
        assertion(exp=None),
        assertion(jti=None),
        assertion(jti=7),
        assertion(iss="other"),
        assertion(sub="\x00"),
        assertion(sub="nobody", iss="nobody"),
        assertion(ECKey.generate_key("P-256", {"kid": "mine"})),
        assertion(OctKey.import_key("s" * 32), "HS256"),
        good[:-4] + "AAAA",
        "a.b.c",
        "é",
    ):
        answer = await push(wrong)
        assert answer.status_code in (400, 401), wrong
        assert answer.json()["error"] == "invalid_client"


async def test_in_production_clients_do_not_register_themselves(owner_url: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGECHO_IDENTITY_SECRET", hashlib.sha512(b"tests").hexdigest())
        patch.setenv("RAGECHO_IDENTITY_DYNAMIC_REGISTRATION", "off")
        async with provider(owner_url, tmp_path) as world, world.http() as http:
            await _is_closed(world, http)


async def _is_closed(world: World, http: httpx.AsyncClient) -> None:
    answer = await register(http)
    assert answer.status_code == 403
    assert "ragecho identity client create" in answer.json()["error_description"]
    document = (await http.get("/identity/.well-known/openid-configuration")).json()
    assert "registration_endpoint" not in document
    assert document["issuer"] == world.services.provider.issuer
