"""The browser app's sign-in against the real server: sessions, CSRF, signing out, and everything that ends a session."""

import re
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from joserfc import jwt
from tests.e2e.conftest import Server, eventually
from tests.e2e.identity_driver import Browser, Person, as_owner, forms_of, make_people
from tests.e2e.token_forge import signing_key

COOKIE = "echo_session"


@pytest.fixture
def person(server: Server) -> Person:
    return make_people(server, role="admin")[0]


@pytest.fixture
def browser(server: Server) -> Iterator[Browser]:
    made = Browser(server)
    yield made
    made.close()


def sign_in(browser: Browser, person: Person, return_to: str = "/app/") -> httpx.Response:
    page = browser.answer(browser.visit(f"/auth/login?return_to={return_to}"), person)
    assert page.status_code == 200, page.text
    return page


def me(browser: Browser, **headers: str) -> httpx.Response:
    return browser.http.get("/auth/me", headers=headers)


def csrf(browser: Browser) -> str:
    return str(me(browser).json()["csrf_token"])


def new_key(browser: Browser, **headers: str) -> httpx.Response:
    """Change something, as the browser app would."""
    body = {"name": f"key {secrets.token_hex(4)}", "scopes": ["read"]}
    return browser.http.post("/api/v1/api-keys", json=body, headers=headers)


# --- Signing in


def test_a_person_signs_in_and_the_page_shows_who(browser: Browser, person: Person) -> None:
    page = sign_in(browser, person)
    assert str(page.url).endswith("/app/")
    assert person.email in page.text
    assert page.headers["cache-control"] == "no-store"
    known = me(browser).json()
    assert known["user"] == {"id": str(person.id), "email": person.email, "name": person.name}
    assert known["organization"]["role"] == "admin"
    assert [(one["slug"], one["role"]) for one in known["workspaces"]][:1] == [("default", "admin")]
    assert known["scopes"] == ["admin", "read", "write"]
    assert "access_token" not in str(known)


def test_the_root_leads_to_the_app_and_the_app_to_the_sign_in(browser: Browser) -> None:
    page = browser.visit("/")
    assert "You are signed out" in page.text
    assert "/auth/login" in page.text


def test_one_comes_back_to_where_one_wanted_to_go(browser: Browser, person: Person) -> None:
    page = sign_in(browser, person, return_to="/app/%3Fview%3Dnewest")
    assert str(page.url).endswith("/app/?view=newest")


@pytest.mark.parametrize(
    "return_to",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/%09/evil.example", "javascript:alert(1)"],
)
def test_one_is_never_sent_to_another_site(browser: Browser, person: Person, return_to: str) -> None:
    page = sign_in(browser, person, return_to=return_to)
    assert browser.left is None
    assert str(page.url).endswith("/app/")


def test_the_session_cookie_is_http_only_and_lax_and_new_at_each_sign_in(
    server: Server, browser: Browser, person: Person
) -> None:
    seen = []
    for _ in range(2):
        answer = browser.http.get("/auth/login")
        page = browser.answer(browser.visit(answer.headers["location"]), person)
        assert page.status_code == 200
        seen.append(browser.http.cookies[COOKIE])
        browser.http.cookies.delete(COOKIE)
    assert seen[0] != seen[1]
    assert len(seen[0]) >= 43
    header = _callback_cookie(browser, person)
    assert "HttpOnly" in header
    assert "SameSite=lax" in header
    assert "Path=/" in header
    assert "Domain" not in header


def _callback_cookie(browser: Browser, person: Person) -> str:
    browser.http.cookies.delete(COOKIE)
    answer = browser.http.get("/auth/login")
    while True:
        location = urljoin(str(answer.url), answer.headers["location"])
        answer = browser.http.get(location)
        if urlsplit(location).path == "/auth/callback":
            return str(answer.headers["set-cookie"])


def test_the_request_to_the_provider_has_pkce_state_and_nonce(browser: Browser) -> None:
    query = parse_qs(urlsplit(browser.http.get("/auth/login").headers["location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert all(len(query[name][0]) >= 43 for name in ("code_challenge", "state", "nonce"))
    assert query["response_type"] == ["code"]


def test_who_opens_localhost_is_signed_in_at_the_public_address(server: Server) -> None:
    port = urlsplit(server.url).port
    answer = httpx.get(f"http://localhost:{port}/auth/login?return_to=/app/x")
    assert answer.headers["location"] == f"{server.url}/auth/login?return_to=/app/x"


# --- Sign-ins that do not work


def callback_of(browser: Browser, person: Person) -> str:
    """Sign in and return the address that the provider sent the browser back to, without following it."""
    page = browser.visit("/auth/login")
    form = next(form for form in forms_of(page) if form.with_password())
    data = {**form.values, "email": person.email, "password": person.password}
    answer = browser.http.post(
        urljoin(str(page.url), form.action), data=data, headers={"Origin": str(browser.http.base_url).rstrip("/")}
    )
    while True:
        location = urljoin(str(answer.url), answer.headers["location"])
        if urlsplit(location).path == "/auth/callback":
            return location
        answer = browser.http.get(location)


def refused(answer: httpx.Response, says: str) -> None:
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/html")
    assert says in answer.text
    assert "Sign in again" in answer.text
    assert COOKIE not in answer.headers.get("set-cookie", "")


def test_an_answer_that_is_used_again_leads_the_signed_in_on_and_others_to_a_clean_page(
    server: Server, browser: Browser, person: Person
) -> None:
    address = callback_of(browser, person)
    assert browser.http.get(address).headers["location"] == "/app/"
    again = browser.http.get(address)
    assert (again.status_code, again.headers["location"]) == (303, "/app/")
    browser.http.cookies.delete(COOKIE)
    refused(browser.http.get(address), "used already")


def test_an_answer_counts_in_the_browser_that_asked_alone(server: Server, browser: Browser, person: Person) -> None:
    address = callback_of(browser, person)
    refused(httpx.get(address), "another browser")


def test_a_sign_in_that_took_too_long_ends_on_a_clean_page(server: Server, browser: Browser, person: Person) -> None:
    address = callback_of(browser, person)
    with as_owner(server) as db:
        db.execute("update web_logins set expires_at = now() - interval '1 second'")
    refused(browser.http.get(address), "expired")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"iss": "https://evil.example"}, "did not come from"),
        ({"iss": None}, "did not come from"),
        ({"code": "x" * 43}, "not completed"),
        ({"state": "x"}, "another browser"),
        ({"state": None}, "another browser"),
        ({"code": None, "error": "access_denied"}, "refused"),
        ({"code": None, "error": "<script>"}, "did not work"),
    ],
)
def test_a_changed_answer_is_refused(
    browser: Browser, person: Person, change: dict[str, str | None], says: str
) -> None:
    address = httpx.URL(callback_of(browser, person))
    query = {name: value for name, value in {**dict(address.params), **change}.items() if value is not None}
    answer = browser.http.get(address.copy_with(params=query))
    refused(answer, says)
    assert "<script" not in answer.text


def test_a_parameter_that_comes_twice_is_refused(browser: Browser, person: Person) -> None:
    address = callback_of(browser, person)
    refused(browser.http.get(f"{address}&code=another"), "another browser")


def test_eight_answers_at_once_make_one_session(server: Server, browser: Browser, person: Person) -> None:
    address = callback_of(browser, person)
    cookies = dict(browser.http.cookies)

    def go(_: int) -> int:
        with httpx.Client(cookies=cookies) as http:
            return len([1 for _ in [http.get(address)] if COOKIE in http.cookies])

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(go, range(8))) == 1


# --- The session at the API


def test_the_api_is_open_to_the_session(browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    assert browser.http.get("/api/v1/documents").status_code == 200


def test_a_change_needs_the_csrf_token_of_this_session_and_our_own_pages(
    server: Server, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    token = csrf(browser)
    other = Browser(server)
    sign_in(other, person)
    for headers in (
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "x" * 43},
        {"X-CSRF-Token": csrf(other)},
        {"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": token, "Sec-Fetch-Site": "same-site"},
        {"X-CSRF-Token": token, "Origin": "https://evil.example"},
        {"X-CSRF-Token": token, "Origin": "null"},
    ):
        answer = new_key(browser, **headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf"), headers
    other.close()
    assert new_key(browser, **{"X-CSRF-Token": token}).status_code == 201
    assert new_key(browser, **{"X-CSRF-Token": token, "Sec-Fetch-Site": "same-origin"}).status_code == 201
    assert new_key(browser, **{"X-CSRF-Token": token, "Origin": server.url}).status_code == 201


def test_keys_and_tokens_need_no_csrf_token_and_outrank_the_cookie(
    server: Server, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    key = server.key(scopes="read")
    answer = me(browser, Authorization=f"Bearer {key}").json()
    assert answer["api_key_id"]
    assert answer["csrf_token"] is None
    assert me(browser, Authorization="Bearer nonsense").status_code == 401


def test_without_a_session_me_is_a_problem_that_names_the_way_in(browser: Browser) -> None:
    answer = me(browser)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    browser.http.cookies.set(COOKIE, "x" * 43, domain="127.0.0.1")
    answer = me(browser)
    assert (answer.status_code, answer.json()["login_url"]) == (401, "/auth/login")
    assert browser.http.get("/api/v1/documents").status_code == 401


def test_another_tenant_s_workspace_does_not_exist(browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    assert me(browser, **{"X-Workspace-ID": "nowhere"}).status_code == 404


# --- Ending it


def test_signing_out_ends_the_session_here_and_at_the_provider(
    server: Server, browser: Browser, person: Person
) -> None:
    page = sign_in(browser, person)
    cookie = browser.http.cookies[COOKIE]
    page = browser.submit(page, forms_of(page)[0])
    assert str(page.url).startswith(f"{server.url}/app/")
    assert "You are signed out" in page.text
    assert person.email not in page.text
    assert COOKIE not in browser.http.cookies
    assert httpx.get(f"{server.url}/auth/me", cookies={COOKIE: cookie}).status_code == 401
    # The provider asks again: its own session is over, too.
    assert any(form.with_password() for form in forms_of(browser.visit("/auth/login")))


def test_signing_out_needs_the_csrf_token(server: Server, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    assert browser.http.post("/auth/logout").json()["code"] == "csrf"
    token = csrf(browser)
    forged = browser.http.post("/auth/logout", data={"csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"})
    assert forged.json()["code"] == "csrf"
    assert me(browser).status_code == 200
    answer = browser.http.post("/auth/logout", headers={"X-CSRF-Token": token, "Accept": "application/json"})
    assert answer.json()["redirect_to"].startswith(f"{server.url}/identity/logout?")
    assert me(browser).status_code == 401


def test_signing_out_without_a_session_just_leads_to_the_app(browser: Browser) -> None:
    answer = browser.http.post("/auth/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/app/")
    assert "set-cookie" not in answer.headers


def test_signing_out_everywhere_ends_every_browser(server: Server, browser: Browser, person: Person) -> None:
    other = Browser(server)
    sign_in(other, person)
    sign_in(browser, person)
    browser.http.post("/auth/logout", data={"csrf_token": csrf(browser), "everywhere": "true"})
    assert me(browser).status_code == 401
    assert me(other).status_code == 401
    assert any(form.with_password() for form in forms_of(other.visit("/auth/login")))
    other.close()


@pytest.mark.parametrize(
    "what",
    [
        "update users set is_disabled = true where id = %(user)s",
        "update identity_grants set revoked_at = now() where user_id = %(user)s",
        "update identity_sessions set ended_at = now() where user_id = %(user)s",
        "update web_sessions set last_seen_at = now() - interval '2 days' where user_id = %(user)s",
        "update web_sessions set expires_at = now() where user_id = %(user)s",
    ],
    ids=["disabled", "grant revoked", "signed out at the provider", "idle", "too old"],
)
def test_a_session_ends_at_once_when(what: str, server: Server, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    assert me(browser).status_code == 200
    with as_owner(server) as db:
        db.execute(what, {"user": person.id})  # type: ignore[call-overload]  # a constant of this list
    assert me(browser).status_code == 401
    assert browser.http.get("/api/v1/documents").status_code == 401
    assert "You are signed out" in browser.visit("/app/").text


# --- Back-channel logout


EVENT = "http://schemas.openid.net/event/backchannel-logout"


def logout_token(server: Server, person: Person, header: dict[str, object] | None = None, **claims: object) -> str:
    """Return a logout token of the provider about this person's newest session, with some claims changed."""
    with as_owner(server) as db:
        found = db.execute(
            "select provider_session_id from web_sessions where user_id = %s order by created_at desc", (person.id,)
        ).fetchone()
    content = {
        "iss": f"{server.url}/identity",
        "aud": "echo-web",
        "iat": int(time.time()),
        "exp": int(time.time()) + 120,
        "jti": secrets.token_urlsafe(16),
        "events": {EVENT: {}},
        "sub": str(person.id),
        "sid": str(found[0]) if found else None,
        **claims,
    }
    key = signing_key(server)
    content = {name: value for name, value in content.items() if value is not None}
    return jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "logout+jwt", **(header or {})}, content, key, ["ES256"])


def tell(server: Server, token: str) -> httpx.Response:
    return httpx.post(f"{server.url}/auth/backchannel-logout", data={"logout_token": token})


@pytest.mark.parametrize("kept", ["sid", "sub"])
def test_the_provider_s_word_ends_the_session(server: Server, browser: Browser, person: Person, kept: str) -> None:
    sign_in(browser, person)
    token = logout_token(server, person, **{"sub" if kept == "sid" else "sid": None})
    answer = tell(server, token)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert me(browser).status_code == 401
    assert tell(server, token).status_code == 400  # once


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"typ": "at+jwt"}, {}),
        ({}, {"aud": "another"}),
        ({}, {"iss": "https://evil.example"}),
        ({}, {"events": {}}),
        ({}, {"events": {EVENT: "yes"}}),
        ({}, {"nonce": "n"}),
        ({}, {"exp": 1}),
        ({}, {"iat": None}),
        ({}, {"jti": None}),
        ({}, {"sub": None, "sid": None}),
        ({}, {"sub": 1}),
        ({}, {"sid": "no uuid"}),
    ],
)
def test_a_wrong_logout_token_ends_nothing(
    server: Server, browser: Browser, person: Person, header: dict[str, object], claims: dict[str, object]
) -> None:
    sign_in(browser, person)
    answer = tell(server, logout_token(server, person, header, **claims))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert me(browser).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30."])
def test_what_is_no_token_is_refused(server: Server, token: str) -> None:
    assert tell(server, token).status_code in (400, 422)


def test_signing_out_at_the_provider_is_told_over_the_back_channel(
    server: Server, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    with as_owner(server) as db:
        db.execute(
            "update identity_sessions set ended_at = now(), end_reason = 'signed_out_remotely' where user_id = %s",
            (person.id,),
        )

    def reason() -> object:
        with as_owner(server) as db:
            return (
                db.execute("select end_reason from web_sessions where user_id = %s", (person.id,)).fetchone() or [0]
            )[0]

    assert eventually(reason, seconds=30, what="the provider's word") == "backchannel"


# --- Renewal


def make_due(server: Server, person: Person) -> None:
    with as_owner(server) as db:
        db.execute("update web_sessions set renew_at = now() where user_id = %s", (person.id,))


def generations(server: Server, person: Person) -> int:
    with as_owner(server) as db:
        found = db.execute(
            "select count(*) from identity_refresh_tokens t join identity_grants g on g.id = t.grant_id"
            " where g.user_id = %s",
            (person.id,),
        ).fetchone()
    assert found is not None
    return int(str(found[0]))


def test_eight_requests_at_once_renew_the_tokens_once(server: Server, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    cookies = {COOKIE: browser.http.cookies[COOKIE]}
    for round_number in range(1, 4):
        make_due(server, person)
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(lambda _: httpx.get(f"{server.url}/auth/me", cookies=cookies).status_code, range(8))
            )
        assert answers == [200] * 8
        assert generations(server, person) == 1 + round_number


def test_a_session_whose_renewal_is_refused_ends(server: Server, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    make_due(server, person)
    with as_owner(server) as db:
        db.execute(
            "delete from identity_refresh_tokens where grant_id in (select id from identity_grants where user_id = %s)",
            (person.id,),
        )
    assert me(browser).status_code == 401


def test_nothing_in_the_database_signs_anybody_in(server: Server, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    with as_owner(server) as db:
        rows = db.execute("select row_to_json(s)::text from web_sessions s where user_id = %s", (person.id,)).fetchall()
        logins = db.execute("select row_to_json(s)::text from web_logins s").fetchall()
    stored = str(rows) + str(logins)
    assert browser.http.cookies[COOKIE] not in stored
    assert person.email not in stored
    assert (
        re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]+(?![\w.-])", stored) is None
    )  # no JWT in the clear (a JWE has five parts)
    log = "".join(server.log)
    assert browser.http.cookies[COOKIE] not in log
    assert csrf(browser) not in log
