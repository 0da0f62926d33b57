"""SECURITY.md, lines 9 to 12, against the real provider: codes, refresh tokens and authorization requests."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import (
    REDIRECT_URI,
    Browser,
    Person,
    RelyingParty,
    answer_of,
    as_owner,
    error_of,
    forms_of,
    make_people,
    register,
)

PARALLEL = 8


@pytest.fixture(scope="module")
def person(server: Server) -> Person:
    return make_people(server)[0]


@pytest.fixture(scope="module")
def party(server: Server) -> RelyingParty:
    return register(server)


@pytest.fixture
def browser(server: Server) -> Iterator[Browser]:
    made = Browser(server)
    yield made
    made.close()


# --- Codes


def test_of_eight_parallel_redemptions_of_one_code_one_gets_tokens_and_the_reuse_revokes_them(
    server: Server, party: RelyingParty, person: Person, browser: Browser
) -> None:
    code, verifier = party.code(browser, person, scope="openid offline_access", prompt="consent")
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(lambda _: party.redeem(code, verifier), range(PARALLEL)))
    given = [answer for answer in answers if answer.status_code == 200]
    assert len(given) == 1
    assert {error_of(answer) for answer in answers if answer not in given} == {"invalid_grant"}
    tokens = given[0].json()
    assert party.userinfo(tokens["access_token"]).status_code == 401
    assert error_of(party.refresh(tokens["refresh_token"])) == "invalid_grant"


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": REDIRECT_URI + "/"},
        {"redirect_uri": ""},
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"code_verifier": "short"},
        {"code": "x" * 43},
    ],
    ids=["another redirect URI", "no redirect URI", "another verifier", "no verifier", "a short verifier", "a guess"],
)
def test_a_code_is_refused_with(changes: dict[str, str], party: RelyingParty, person: Person, browser: Browser) -> None:
    code, verifier = party.code(browser, person)
    assert error_of(party.redeem(code, verifier, **changes)) in ("invalid_grant", "invalid_request")


def test_a_code_is_for_its_own_client_alone(
    server: Server, party: RelyingParty, person: Person, browser: Browser
) -> None:
    code, verifier = party.code(browser, person)
    assert error_of(register(server).redeem(code, verifier)) == "invalid_grant"
    public = register(server, token_endpoint_auth_method="none")
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI, "code_verifier": verifier}
    stolen = public.post("token", body | {"client_id": public.id}, authenticated=False)
    assert error_of(stolen) == "invalid_grant"
    unauthenticated = party.post("token", body | {"client_id": party.id}, authenticated=False)
    assert unauthenticated.status_code == 401
    assert unauthenticated.json()["error"] == "invalid_client"


def test_a_code_ends_after_a_minute(server: Server, party: RelyingParty, person: Person, browser: Browser) -> None:
    code, verifier = party.code(browser, person)
    with as_owner(server) as db:
        (seconds,) = db.execute(
            "select extract(epoch from max(expires_at) - max(created_at))::int from identity_codes"
        ).fetchone() or (None,)
        db.execute("update identity_codes set expires_at = now() - interval '1 second' where used_at is null")
    assert int(str(seconds)) <= 60
    assert error_of(party.redeem(code, verifier)) == "invalid_grant"


# --- Refresh tokens


def family(party: RelyingParty, browser: Browser, person: Person) -> dict[str, str]:
    return party.sign_in(browser, person, scope="openid offline_access", prompt="consent")


def used_long_ago(server: Server) -> None:
    """Move every use of a refresh token to before the leeway, instead of waiting for it."""
    with as_owner(server) as db:
        db.execute("update identity_refresh_tokens set used_at = used_at - interval '2 minutes'")


def test_a_used_refresh_token_ends_its_whole_family(
    server: Server, party: RelyingParty, person: Person, browser: Browser
) -> None:
    first = family(party, browser, person)
    second = party.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    used_long_ago(server)
    assert error_of(party.refresh(first["refresh_token"])) == "invalid_grant"
    assert error_of(party.refresh(second["refresh_token"])) == "invalid_grant"
    for tokens in (first, second):
        assert party.userinfo(tokens["access_token"]).status_code == 401


def test_the_leeway_is_for_the_immediately_preceding_token_only(
    party: RelyingParty, person: Person, browser: Browser
) -> None:
    first = family(party, browser, person)
    second = party.refresh(first["refresh_token"]).json()
    again = party.refresh(first["refresh_token"])
    assert again.status_code == 200, "an answer that was lost on the way may be asked for again"
    newest = party.refresh(again.json()["refresh_token"])
    assert newest.status_code == 200
    assert error_of(party.refresh(first["refresh_token"])) == "invalid_grant"
    assert error_of(party.refresh(newest.json()["refresh_token"])) == "invalid_grant"
    assert party.userinfo(second["access_token"]).status_code == 401


def test_parallel_refreshes_within_the_leeway_sign_nobody_out(
    party: RelyingParty, person: Person, browser: Browser
) -> None:
    first = family(party, browser, person)
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(lambda _: party.refresh(first["refresh_token"]), range(PARALLEL)))
    given = [answer.json() for answer in answers if answer.status_code == 200]
    assert given
    assert {answer.status_code for answer in answers} <= {200, 400}
    assert party.userinfo(given[-1]["access_token"]).status_code == 200
    assert party.refresh(given[-1]["refresh_token"]).status_code == 200


def test_a_refresh_token_has_an_absolute_end(
    server: Server, party: RelyingParty, person: Person, browser: Browser
) -> None:
    tokens = party.refresh(family(party, browser, person)["refresh_token"]).json()
    with as_owner(server) as db:
        db.execute("update identity_grants set expires_at = now() - interval '1 second'")
    assert error_of(party.refresh(tokens["refresh_token"])) == "invalid_grant"
    assert party.userinfo(tokens["access_token"]).status_code == 401


def test_a_refresh_token_is_for_its_own_client_and_no_more_scopes(
    server: Server, party: RelyingParty, person: Person, browser: Browser
) -> None:
    tokens = family(party, browser, person)
    assert error_of(register(server).refresh(tokens["refresh_token"])) == "invalid_grant"
    more = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "scope": "openid email admin"}
    assert error_of(party.post("token", more)) == "invalid_scope"


# --- What else works once


def test_a_pushed_request_works_once_for_its_own_client(server: Server, party: RelyingParty) -> None:
    pushed = party.post("par", dict(httpx.URL(party.request()[0]).params))
    assert pushed.status_code == 201
    reference = {"client_id": party.id, "request_uri": pushed.json()["request_uri"]}
    other = httpx.get(f"{party.issuer}/authorize", params=reference | {"client_id": register(server).id}, timeout=60)
    assert other.status_code == 400

    def bring(_: int) -> httpx.Response:
        return httpx.get(f"{party.issuer}/authorize", params=reference, timeout=60)

    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(bring, range(PARALLEL)))
    assert sorted(answer.status_code for answer in answers) == [303] + [400] * (PARALLEL - 1)


def test_an_approved_device_gets_its_tokens_once(server: Server, person: Person, browser: Browser) -> None:
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    party = register(server, grant_types=["authorization_code", grant])
    started = party.post("device_authorization", {"scope": "openid"}).json()
    poll = {"grant_type": grant, "device_code": started["device_code"]}
    assert error_of(party.post("token", poll)) == "authorization_pending"
    assert error_of(party.post("token", poll)) == "slow_down"
    another = register(server, grant_types=["authorization_code", grant])
    assert error_of(another.post("token", poll)) in ("invalid_grant", "unauthorized_client")
    browser.answer(browser.visit("/identity/login"), person)
    page = browser.visit(started["verification_uri_complete"])
    for _ in range(3):
        asked = [form for form in forms_of(page) if "user_code" in form.values]
        if asked:
            page = browser.submit(page, asked[0], button="allow", user_code=started["user_code"])
    with as_owner(server) as db:
        db.execute("update identity_device_codes set last_polled_at = null, interval_seconds = 0")
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(lambda _: party.post("token", poll), range(PARALLEL)))
    given = [answer for answer in answers if answer.status_code == 200]
    assert len(given) == 1, [answer.text for answer in answers]
    assert {error_of(answer) for answer in answers if answer not in given} <= {"invalid_grant", "slow_down"}


# --- Authorization requests


@pytest.mark.parametrize(
    "parameters",
    [
        {"prompt": "none"},
        {"prompt": "none login"},
        {"prompt": "dance"},
        {"response_type": "token"},
        {"response_type": "code id_token"},
        {"response_type": None},
        {"scope": "no-such-scope"},
        {"code_challenge": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "too-short"},
        {"max_age": "soon"},
        {"max_age": "-1"},
        {"claims": "{"},
        {"request": "eyJhbGciOiJub25lIn0.e30."},
        {"request_uri": "https://rp.example/request.jwt"},
        {"response_mode": "fragment"},
        {"id_token_hint": "not-a-token", "prompt": "none"},
    ],
    ids=str,
)
def test_every_error_that_goes_to_the_client_names_the_issuer(
    parameters: dict[str, str | None], party: RelyingParty, browser: Browser
) -> None:
    url, _, state = party.request(**parameters)
    page = browser.visit(url)
    assert browser.left is not None, f"{page.status_code} {page.text}"
    assert browser.left.startswith(REDIRECT_URI)
    back = answer_of(browser.left)
    assert "code" not in back
    assert back["error"]
    assert back["iss"] == party.issuer
    assert back["state"] == state


def test_the_answers_after_the_consent_page_name_the_issuer_too(
    party: RelyingParty, person: Person, browser: Browser
) -> None:
    for consents, expected in ((False, "error"), (True, "code")):
        url, _, _ = party.request(prompt="consent")
        browser.answer(browser.visit(url), person, consents=consents)
        assert browser.left is not None
        back = answer_of(browser.left)
        assert expected in back
        assert back["iss"] == party.issuer


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "",
        REDIRECT_URI + "/",
        REDIRECT_URI + "?x=1",
        REDIRECT_URI + "#fragment",
        REDIRECT_URI + "/../callback",
        REDIRECT_URI.upper(),
        REDIRECT_URI.replace("https", "http"),
        REDIRECT_URI.replace("rp.example", "rp.example:443"),
        REDIRECT_URI.replace("rp.example", "rp.example@evil.example"),
        REDIRECT_URI.replace("rp.example", "rp.example.evil.example"),
        REDIRECT_URI.replace("callback", "%63allback"),
        "https://evil.example/callback",
        "//rp.example/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "\\\\evil.example",
    ],
)
def test_a_redirect_uri_that_is_not_registered_shows_a_page_and_never_redirects(
    redirect_uri: str | None, server: Server, browser: Browser
) -> None:
    # Two registered ones, so that leaving it out does not mean the only one.
    party = register(server, redirect_uris=[REDIRECT_URI, REDIRECT_URI + "-two"])
    for parameters in ({}, {"prompt": "none"}, {"response_type": "token"}, {"scope": "nonsense"}):
        url, _, _ = party.request(redirect_uri=redirect_uri, **parameters)
        page = browser.http.get(url, headers={"Accept": "text/html"})
        assert page.status_code == 400
        assert "location" not in page.headers
        assert "refresh" not in page.headers
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        if redirect_uri:
            assert f'href="{redirect_uri}"' not in page.text


def test_an_unknown_client_shows_a_page(party: RelyingParty, browser: Browser) -> None:
    for client_id in (None, "", "nobody", "x" * 5000):
        url, _, _ = party.request(client_id=client_id)
        page = browser.http.get(url)
        assert page.status_code in (400, 414)
        assert "location" not in page.headers


@pytest.mark.parametrize("grant_type", ["password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "", "x"])
def test_grants_that_are_not_offered_are_refused(grant_type: str, party: RelyingParty, person: Person) -> None:
    body = {"grant_type": grant_type, "username": person.email, "password": person.password, "scope": "openid"}
    assert error_of(party.post("token", body)) in ("unsupported_grant_type", "invalid_request", "unauthorized_client")
