"""SECURITY.md, line 12: which access tokens are refused, at the provider and at Echo's API, and what a rotation does.

Tokens are made with the server's own signing key, so that each differs in one thing from one that is accepted.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey
from tests.e2e.conftest import Server, eventually
from tests.e2e.identity_driver import Browser, Person, RelyingParty, as_owner, make_people, register
from tests.e2e.token_forge import forge, in_seconds, parts, random_id, signing_key, unsigned


@pytest.fixture(scope="module")
def person(server: Server) -> Person:
    return make_people(server, role="admin")[0]


@pytest.fixture(scope="module")
def party(server: Server) -> RelyingParty:
    return register(server)


@pytest.fixture(scope="module")
def browser(server: Server) -> Iterator[Browser]:
    made = Browser(server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokens(party: RelyingParty, browser: Browser, person: Person) -> dict[str, str]:
    return party.sign_in(browser, person, scope="openid read")


def statuses(party: RelyingParty, token: str) -> tuple[int, int]:
    """Return what the provider's userinfo and Echo's API say to a token."""
    return party.userinfo(token).status_code, party.api(token).status_code


def test_an_access_token_says_what_rfc_9068_asks(
    server: Server, party: RelyingParty, person: Person, tokens: dict[str, str]
) -> None:
    header, claims = parts(tokens["access_token"])
    assert header["typ"] == "at+jwt"
    assert header["alg"] == "ES256"
    assert header["kid"]
    assert claims["iss"] == party.issuer
    assert claims["aud"] == [f"{server.url}/api", f"{party.issuer}/userinfo"]
    assert claims["sub"] == str(person.id)
    assert claims["client_id"] == party.id
    assert {"exp", "iat", "jti", "scope"} <= set(claims)
    assert statuses(party, tokens["access_token"]) == (200, 200)


def test_a_token_made_like_an_issued_one_is_accepted_or_the_refusals_below_prove_nothing(
    server: Server, party: RelyingParty, tokens: dict[str, str]
) -> None:
    assert statuses(party, forge(signing_key(server), tokens["access_token"])) == (200, 200)


WRONG: dict[str, dict[str, Any]] = {
    "expired": {"claims": {"exp": in_seconds(-600), "iat": in_seconds(-1200)}},
    "without an end": {"claims": {"exp": None}},
    "with an end that is no number": {"claims": {"exp": "soon"}},
    "from the future": {"claims": {"iat": in_seconds(3600), "exp": in_seconds(7200)}},
    "not valid yet": {"claims": {"nbf": in_seconds(3600)}},
    "for another audience": {"claims": {"aud": "https://elsewhere.example/api"}},
    "for no audience": {"claims": {"aud": None}},
    "from another issuer": {"claims": {"iss": "https://elsewhere.example/identity"}},
    "from no issuer": {"claims": {"iss": None}},
    "about nobody": {"claims": {"sub": None}},
    "about somebody else": {"claims": {"sub": random_id()}},
    "with a subject that is no id": {"claims": {"sub": "x'; drop table users; --"}},
    "with a NUL in it": {"claims": {"sub": "a\x00b"}},
    "of a grant that does not exist": {"claims": {"gid": random_id()}},
    "of a grant that is no id": {"claims": {"gid": {"a": 1}}},
    "typed as an ID token": {"header": {"typ": "JWT"}},
    "without a type": {"header": {"typ": None}},
    "without a key's name": {"header": {"kid": None}},
    "with another key's name": {"header": {"kid": "nope"}},
    "with a NUL in the key's name": {"header": {"kid": "a\x00b"}},
    "with a critical extension": {"header": {"crit": ["x"], "x": True}},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_well_signed_token_is_refused_that_is(
    wrong: str, server: Server, party: RelyingParty, tokens: dict[str, str]
) -> None:
    token = forge(signing_key(server), tokens["access_token"], **WRONG[wrong])
    assert statuses(party, token) == (401, 401)


def test_a_token_without_a_signature_is_refused(party: RelyingParty, tokens: dict[str, str]) -> None:
    for alg in ("none", "None", "NONE", "ES256"):
        assert statuses(party, unsigned(tokens["access_token"], alg)) == (401, 401)


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(
    server: Server, party: RelyingParty, tokens: dict[str, str]
) -> None:
    for alg in ("ES256", "RS256"):
        key = signing_key(server, alg=alg)
        for secret in (key.as_pem(private=False), key.as_der(private=False), str(key.as_dict(private=False)).encode()):
            for kid in (key.kid, None):
                token = forge(secret, tokens["access_token"], header={"alg": "HS256", "kid": kid})
                assert statuses(party, token) == (401, 401)


def test_a_token_that_brings_its_own_key_is_refused(
    server: Server, party: RelyingParty, tokens: dict[str, str]
) -> None:
    own = ECKey.generate_key("P-256", {"kid": "mine"})
    public = own.as_dict(private=False)
    brought: list[dict[str, Any]] = [
        {"jwk": public},
        {"jwk": public, "kid": None},
        {"jku": "https://rp.example/keys", "kid": "mine"},
        {"x5u": "https://rp.example/chain", "kid": "mine"},
        {"x5c": ["AAAA"], "kid": "mine"},
        {"kid": "../../../../dev/null"},
        {},
    ]
    for header in brought:
        assert statuses(party, forge(own, tokens["access_token"], header=header)) == (401, 401)


def test_a_token_changed_after_it_was_signed_is_refused(party: RelyingParty, tokens: dict[str, str]) -> None:
    header, claims, signature = tokens["access_token"].split(".")
    other = unsigned(tokens["access_token"]).split(".")[1]
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    for token in (
        f"{header}.{claims}.{flipped}",
        f"{header}.{other}.{signature}",
        f"{header}.{claims}.",
        f"{header}.{claims}",
    ):
        assert statuses(party, token) == (401, 401)


def test_an_id_token_or_a_code_is_no_access_token(
    server: Server, party: RelyingParty, tokens: dict[str, str], browser: Browser, person: Person
) -> None:
    assert statuses(party, tokens["id_token"]) == (401, 401)
    rs256 = register(server, id_token_signed_response_alg="RS256").sign_in(browser, person)
    assert statuses(party, rs256["id_token"]) == (401, 401)
    code, _ = party.code(browser, person)
    assert statuses(party, code) == (401, 401)
    refresh = party.sign_in(browser, person, scope="openid offline_access", prompt="consent")["refresh_token"]
    assert statuses(party, refresh) == (401, 401)


def test_a_token_without_openid_is_not_for_userinfo_and_one_without_api_scopes_not_for_the_api(
    party: RelyingParty, browser: Browser, person: Person
) -> None:
    identity_only = party.sign_in(browser, person, scope="openid email")["access_token"]
    assert party.userinfo(identity_only).status_code == 200
    assert party.api(identity_only).status_code in (401, 403)


def test_a_refusal_says_how_to_authenticate_and_does_not_repeat_the_token(party: RelyingParty) -> None:
    for answer in (party.userinfo("no.such.token"), party.api("no.such.token")):
        assert answer.status_code == 401
        assert "no.such.token" not in answer.text
    challenge = party.userinfo("no.such.token").headers["www-authenticate"]
    assert challenge.startswith("Bearer")
    assert 'error="invalid_token"' in challenge


def test_keys_rotate_with_the_next_one_published_ahead_and_old_tokens_stay_valid(
    server: Server, party: RelyingParty, browser: Browser, person: Person
) -> None:
    def published() -> dict[str, Any]:
        keys = httpx.get(f"{party.issuer}/jwks.json", timeout=60).json()["keys"]
        return {key["kid"]: key for key in keys}

    def signs() -> str:
        return str(parts(party.sign_in(browser, person, scope="openid read")["access_token"])[0]["kid"])

    before = party.sign_in(browser, person, scope="openid read")
    old, known = str(parts(before["access_token"])[0]["kid"]), published()
    following = str(signing_key(server, status="next").kid)
    assert {old, following} <= set(known)
    # The key that is only published does not sign yet, and what it signs early is good all the same.
    server.ragecho("identity", "keys", "rotate")
    assert eventually(lambda: signs() == following, seconds=30, what="the next key signs")
    assert {old, following} <= set(published())
    assert set(published()) - set(known), "and another next one is published"
    assert statuses(party, before["access_token"]) == (200, 200)
    assert not any(set(key) & {"d", "p", "q", "k"} for key in published().values())


def test_private_keys_are_sealed_in_the_database(server: Server) -> None:
    with as_owner(server) as db:
        rows = db.execute("select private_vault, public_jwk::text from identity_signing_keys").fetchall()
    assert rows
    for sealed, public in rows:
        assert str(sealed).count(".") == 4, "a compact JWE"
        assert '"d"' not in str(public)


def test_the_signing_keys_are_not_the_same_in_two_installations(server: Server) -> None:
    key = signing_key(server)
    assert isinstance(key, ECKey | RSAKey)
    assert (server.data_dir / "identity.key").stat().st_mode & 0o077 == 0
