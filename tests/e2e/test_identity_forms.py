"""SECURITY.md, line 13, behind the form guard: what a signed-in person's own browser sends is not trusted either."""

from collections.abc import Iterator
from urllib.parse import urlencode, urljoin

import httpx
import pytest
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import Browser, Form, Person, RelyingParty, forgive, forms_of, make_people, register
from tests.e2e.test_identity_inputs import BAD, NAUGHTY, check

PAGES = [
    "login",
    "forgot-password",
    "sign-up",
    "device",
    "account",
    "account/profile",
    "account/security",
    "account/devices",
    "account/apps",
    "account/delete",
]


@pytest.fixture(autouse=True)
def _nobody_is_slowed_down_for_it(server: Server) -> Iterator[None]:
    yield
    forgive(server)


@pytest.fixture(scope="module")
def person(server: Server) -> Person:
    return make_people(server)[0]


@pytest.fixture(scope="module")
def party(server: Server) -> RelyingParty:
    return register(server)


@pytest.fixture
def browser(server: Server, party: RelyingParty, person: Person) -> Iterator[Browser]:
    made = Browser(server)
    party.sign_in(made, person)
    yield made
    made.close()


def fields_of(form: Form) -> list[str]:
    """Return the fields that a form sends besides its token; none for forms that only press a button."""
    return [name for name in form.values if name != "csrf"]


def send(browser: Browser, page: httpx.Response, form: Form, name: str, raw: bytes) -> httpx.Response:
    rest = urlencode({key: value for key, value in form.values.items() if key != name}).encode()
    return browser.http.post(
        urljoin(str(page.url), form.action),
        content=rest + b"&" + name.encode() + b"=" + raw,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"},
    )


def test_no_field_of_any_form_makes_a_500(server: Server, person: Person, browser: Browser) -> None:
    tried = set()
    visitor = Browser(server)
    for who in (browser, visitor):
        for path in PAGES:
            page = who.visit(f"/identity/{path}")
            for form in forms_of(page):
                forgive(server)
                for name in fields_of(form):
                    for bad, raw in BAD.items():
                        check(send(who, page, form, name, raw), f"{form.action} with {bad} in {name}")
                    tried.add((form.action, name))
    visitor.close()
    assert len(tried) >= 12, tried
    assert ("/identity/login", "password") in tried
    assert any(action == "/identity/account/password" for action, _ in tried)


def test_naughty_strings_in_forms_are_shown_escaped_or_refused(server: Server, browser: Browser) -> None:
    for path, name in (("login", "email"), ("device", "user_code"), ("forgot-password", "email")):
        visitor = browser if path == "device" else Browser(server)  # which asks to sign in first
        page = visitor.visit(f"/identity/{path}")
        (form,) = [one for one in forms_of(page) if name in one.values]
        for number, text in enumerate(NAUGHTY):
            if number % 4 == 0:
                forgive(server)
            answer = send(visitor, page, form, name, urlencode({"": text}).encode()[1:])
            check(answer, f"{path} {text!r}")
            if "<" in text:
                assert text not in answer.text, text
        if visitor is not browser:
            visitor.close()


def test_a_form_of_one_session_is_refused_in_another(server: Server, person: Person, browser: Browser) -> None:
    page = browser.visit("/identity/account/security")
    form = next(one for one in forms_of(page) if one.action.endswith("/account/password"))
    (other,) = make_people(server)
    stranger = Browser(server)
    register(server).sign_in(stranger, other)
    taken = form.values | {"current_password": other.password, "new_password": "Quiet-otters-row-9-boats"}
    refused = stranger.http.post(urljoin(str(page.url), form.action), data=taken, headers={"Accept": "text/html"})
    assert refused.status_code in (400, 403)
    again = Browser(server)
    again.answer(again.visit("/identity/login"), other)
    assert again.visit("/identity/account").status_code == 200, "the password is still the old one"
    stranger.close()
    again.close()
