"""SECURITY.md, lines 7, 8 and 13: interactions and forms, what signing in reveals, throttling, cookies, suspension."""

import secrets
from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import psutil
import pytest
from tests.e2e.conftest import Server, serving
from tests.e2e.identity_driver import (
    Browser,
    Person,
    RelyingParty,
    answer_of,
    as_owner,
    error_of,
    forgive,
    forms_of,
    make_people,
    register,
    text_of,
)


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


# --- Interactions


def test_an_interaction_works_in_the_browser_that_began_it_only(
    server: Server, party: RelyingParty, person: Person, browser: Browser
) -> None:
    url, _, _ = party.request()
    login = browser.visit(url)
    (form,) = [form for form in forms_of(login) if form.with_password()]
    stranger = Browser(server)
    opened = stranger.visit(str(login.url))
    assert opened.status_code in (400, 403, 404, 410), "the link of another browser's sign-in opens nothing"
    assert not [one for one in forms_of(opened) if one.with_password()]
    # A stranger with an interaction of their own cannot slip ours into their form either.
    theirs = stranger.visit(party.request()[0])
    (own,) = [one for one in forms_of(theirs) if one.with_password()]
    page = stranger.submit(
        theirs, own, email=person.email, password=person.password, interaction=form.values["interaction"]
    )
    assert stranger.left is None
    assert page.status_code in (400, 403, 404, 410)
    resumed = stranger.visit(f"/identity/authorize/continue?interaction={form.values['interaction']}")
    assert stranger.left is None
    assert resumed.status_code in (400, 403, 404, 410)
    # And none of it spoiled the sign-in of the browser that began it.
    browser.answer(browser.visit(str(login.url)), person)
    assert browser.left is not None
    assert "code" in answer_of(browser.left)
    stranger.close()


def test_a_form_without_its_token_or_from_another_site_changes_nothing(
    server: Server, party: RelyingParty, person: Person, browser: Browser
) -> None:
    login = browser.visit(party.request()[0])
    (form,) = [form for form in forms_of(login) if form.with_password()]
    filled = form.values | {"email": person.email, "password": person.password}
    target = f"{server.url}{form.action}"
    for data, headers in (
        ({name: value for name, value in filled.items() if name != "csrf"}, {}),
        (filled | {"csrf": "x" * 43}, {}),
        (filled, {"Sec-Fetch-Site": "cross-site"}),
    ):
        refused = browser.http.post(target, data=data, headers={"Accept": "text/html", **headers})
        assert refused.status_code in (400, 403)
        assert "echo_identity" not in refused.headers.get("set-cookie", "")


# --- Signing in


def attempt(server: Server, email: str, password: str, *, address: str = "127.0.0.1") -> httpx.Response:
    """Try to sign in from a fresh browser at an address, without following the answer."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=server.url, transport=transport, timeout=60) as http:
        login = http.get("/identity/login", headers={"Accept": "text/html"})
        (form,) = [form for form in forms_of(login) if form.with_password()]
        data = form.values | {"email": email, "password": password}
        return http.post(form.action, data=data, headers={"Accept": "text/html"})


def test_signing_in_does_not_tell_who_exists(server: Server, person: Person) -> None:
    suspended = make_people(server)[0]
    with as_owner(server) as db:
        db.execute("update users set is_disabled = true where id = %s", (suspended.id,))
    known = attempt(server, person.email, "wrong-password-of-somebody")
    for email, password in ((f"nobody-{secrets.token_hex(4)}@people.example", "x" * 20), (suspended.email, "x" * 20)):
        answer = attempt(server, email, password)
        assert answer.status_code == known.status_code
        assert text_of(answer).replace(email, "E") == text_of(known).replace(person.email, "E")
        assert sorted(answer.headers) == sorted(known.headers)


@pytest.mark.parametrize("page", ["forgot-password", "register"])
def test_asking_for_a_mail_does_not_tell_who_exists(page: str, server: Server, person: Person) -> None:
    said = []
    for email in (person.email, f"nobody-{secrets.token_hex(4)}@people.example"):
        with httpx.Client(base_url=server.url, timeout=60, follow_redirects=True) as http:
            shown = http.get(f"/identity/{page}", headers={"Accept": "text/html"})
            forms = [form for form in forms_of(shown) if "email" in form.values]
            if not forms:  # registration is by invitation here: then nobody gets a form
                said.append((shown.status_code, text_of(shown)))
                continue
            data = forms[0].values | {"email": email, "name": "Somebody", "password": "a-Long-passphrase-77"}
            answer = http.post(forms[0].action, data=data, headers={"Accept": "text/html"})
            said.append((answer.status_code, text_of(answer).replace(email, "E")))
    assert said[0] == said[1]


def test_guessing_is_slowed_down_and_the_victim_still_signs_in(
    server: Server, party: RelyingParty, browser: Browser
) -> None:
    victim = make_people(server)[0]
    forgive(server)
    party.sign_in(browser, victim)
    codes = [attempt(server, victim.email, f"guess-{number}", address="127.0.0.66").status_code for number in range(12)]
    assert 429 in codes
    with as_owner(server) as db:  # the wait, made long enough for a slow machine
        db.execute("update identity_throttle set blocked_until = now() + interval '1 hour' where blocked_until > now()")
    refused = attempt(server, victim.email, "guess", address="127.0.0.66")
    assert int(refused.headers["retry-after"]) >= 1
    # Even the right password does not help whoever guesses from there.
    assert attempt(server, victim.email, victim.password, address="127.0.0.66").status_code == 429
    # The victim signs in where they have been before, and elsewhere.
    url, _, _ = party.request(prompt="login")
    browser.answer(browser.visit(url), victim)
    assert browser.left is not None
    assert attempt(server, victim.email, victim.password, address="127.0.0.7").is_redirect
    forgive(server)


# --- Cookies


def cookies_of(answer: httpx.Response) -> SimpleCookie:
    jar: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        jar.load(line)
    return jar


def test_the_session_cookie_is_new_at_sign_in_and_closed_to_scripts_and_other_sites(
    server: Server, person: Person
) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        http.cookies.set("echo_identity", "planted-by-somebody-else", domain="127.0.0.1")
        login = http.get("/identity/login", headers={"Accept": "text/html"})
        (form,) = [form for form in forms_of(login) if form.with_password()]
        done = http.post(form.action, data=form.values | {"email": person.email, "password": person.password})
    jar = cookies_of(done)
    assert jar["echo_identity"].value != "planted-by-somebody-else"
    assert len(jar["echo_identity"].value) >= 43
    for name, cookie in (cookies_of(login) | jar).items():
        assert cookie["httponly"], name
        assert cookie["samesite"].lower() in ("lax", "strict"), name
        assert cookie["path"] == "/", name
        assert not cookie["domain"], name
    with as_owner(server) as db:
        for secret in (jar["echo_identity"].value, jar["echo_identity"].value.encode()):
            column = "secret_sha256::text" if isinstance(secret, str) else "secret_sha256"
            assert not db.execute(f"select 1 from identity_sessions where {column} = %s", (secret,)).fetchone()


def test_behind_https_every_cookie_is_a_secure_host_cookie(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("https"), RAGECHO_PUBLIC_URL="https://echo.example") as behind:
        assert behind.url == "https://echo.example"
        # The request comes over loopback, as a proxy that ends TLS sends it.
        (port,) = {
            one.laddr.port
            for one in psutil.Process(behind.process.pid).net_connections("tcp")
            if one.status == "LISTEN"
        }
        behind.url = f"http://127.0.0.1:{port}"
        party = register(behind)
        with httpx.Client(base_url=behind.url, timeout=60) as http:
            login = http.get(party.request()[0], headers={"Accept": "text/html"})
            jar = cookies_of(login)
            while login.is_redirect:
                path = login.headers["location"].removeprefix("https://echo.example")
                cookie = "; ".join(f"{name}={one.value}" for name, one in jar.items())
                login = http.get(path, headers={"Accept": "text/html", "Cookie": cookie})
                jar |= cookies_of(login)
            assert login.status_code == 200
            assert jar
            person = make_people(behind)[0]
            (form,) = [form for form in forms_of(login) if form.with_password()]
            done = http.post(
                form.action.removeprefix("https://echo.example"),
                data=form.values | {"email": person.email, "password": person.password},
                headers={"Cookie": "; ".join(f"{name}={one.value}" for name, one in jar.items())},
            )
            jar |= cookies_of(done)
    assert "__Host-echo_identity" in jar
    for name, cookie in jar.items():
        assert name.startswith("__Host-"), name
        assert cookie["secure"], name
        assert cookie["httponly"], name
        assert cookie["path"] == "/", name
        assert not cookie["domain"], name


# --- Suspension


def test_a_suspended_person_loses_session_key_refresh_and_access_token_at_the_next_request(
    server: Server, party: RelyingParty, browser: Browser
) -> None:
    person = make_people(server, role="admin")[0]
    scopes = "openid offline_access read"
    tokens = party.sign_in(browser, person, scope=scopes, prompt="consent")
    key = _key_of(server, person)
    assert party.api(tokens["access_token"]).status_code == 200
    assert party.api(key).status_code == 200
    with as_owner(server) as db:
        db.execute("update users set is_disabled = true where id = %s", (person.id,))
    assert party.api(tokens["access_token"]).status_code == 401
    assert party.api(key).status_code == 401
    assert party.userinfo(tokens["access_token"]).status_code == 401
    assert error_of(party.refresh(tokens["refresh_token"])) == "invalid_grant"
    url, _, _ = party.request(prompt="none")
    browser.visit(url)
    assert browser.left is not None
    assert answer_of(browser.left)["error"] == "login_required"
    # Coming back does not revive what was given before.
    with as_owner(server) as db:
        db.execute("update users set is_disabled = false where id = %s", (person.id,))
    browser.visit(party.request(prompt="none")[0])
    assert answer_of(str(browser.left))["error"] == "login_required"


def _key_of(server: Server, person: Person) -> str:
    """Make an API key and give it to this person, as if they had made it."""
    key = server.key()
    with as_owner(server) as db:
        db.execute(
            "update api_keys set user_id = %s where id = (select id from api_keys order by created_at desc limit 1)",
            (person.id,),
        )
    return key
