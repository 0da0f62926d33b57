"""Signing in and out in a real browser: the gateway, the identity service's pages, and what stays behind."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import Person, make_people
from tests.e2e.test_browser import browser

__all__ = ["browser"]

COOKIE = "echo_session"


@pytest.fixture
def person(server: Server) -> Person:
    return make_people(server, role="admin")[0]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context()
    yield made
    made.close()


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str], server: Server) -> Page:
    made = context.new_page()
    made.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    made.on(
        "request",
        lambda request: None if request.url.startswith((server.url, "data:")) else complaints.append(request.url),
    )
    return made


def sign_in(page: Page, server: Server, person: Person) -> None:
    page.goto(f"{server.url}/")
    page.get_by_role("link", name="Sign in").click()
    page.locator("input[type=email], input[name=email]").first.fill(person.email)
    password = page.locator("input[type=password]")
    password.fill(person.password)
    password.press("Enter")
    page.wait_for_url(f"{server.url}/app/**")
    page.get_by_text(person.email).wait_for()


def test_login_app_logout_and_the_back_button_shows_nothing_private(
    server: Server, page: Page, context: BrowserContext, person: Person, complaints: list[str]
) -> None:
    sign_in(page, server, person)
    cookie = next(one for one in context.cookies() if one["name"] == COOKIE)
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert page.evaluate("document.cookie").find(COOKIE) == -1
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_text("You are signed out").wait_for()
    assert COOKIE not in {one["name"] for one in context.cookies()}
    assert complaints == []
    for _ in range(4):
        page.go_back()
        assert person.email not in page.content()


def test_signing_out_here_signs_out_the_other_tab(
    server: Server, page: Page, context: BrowserContext, person: Person
) -> None:
    sign_in(page, server, person)
    other = context.new_page()
    other.goto(f"{server.url}/app/")
    other.get_by_text(person.email).wait_for()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_text("You are signed out").wait_for()
    other.reload()
    other.get_by_text("You are signed out").wait_for()


def test_the_back_button_after_signing_in_leads_on_and_not_astray(server: Server, page: Page, person: Person) -> None:
    sign_in(page, server, person)
    page.go_back()
    page.goto(f"{server.url}/auth/callback?code=x&state=y&iss={server.url}/identity")
    page.get_by_text(person.email).wait_for()


def test_a_script_of_ours_needs_the_csrf_token(server: Server, page: Page, person: Person) -> None:
    sign_in(page, server, person)
    page.goto(f"{server.url}/docs")  # a page of ours that may run scripts
    status = page.evaluate(
        """async () => (await fetch('/api/v1/api-keys', {method: 'POST', headers: {'Content-Type': 'application/json'},
           body: JSON.stringify({name: 'x', scopes: ['read']})})).status"""
    )
    assert status == 403
    made = page.evaluate(
        """async () => {
             const me = await (await fetch('/auth/me')).json()
             const headers = {'Content-Type': 'application/json', 'X-CSRF-Token': me.csrf_token}
             const body = JSON.stringify({name: 'x', scopes: ['read']})
             return (await fetch('/api/v1/api-keys', {method: 'POST', headers, body})).status
           }"""
    )
    assert made == 201


@pytest.fixture
def evil(server: Server) -> Iterator[int]:
    """Another site with a form that signs people out of ours; returns its port."""

    class Form(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<form method=post action={server.url}/auth/logout><button>Go</button></form>".encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    site = ThreadingHTTPServer(("127.0.0.1", 0), Form)
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    yield site.server_address[1]
    site.shutdown()
    thread.join()
    site.server_close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_another_site_cannot_sign_people_out(server: Server, page: Page, person: Person, evil: int, host: str) -> None:
    """The second is the same site to the browser, another port: it sends the cookie."""
    sign_in(page, server, person)
    page.goto(f"http://{host}:{evil}/")
    page.get_by_role("button").click()
    page.wait_for_url(f"{server.url}/**")
    page.goto(f"{server.url}/app/")
    page.get_by_text(person.email).wait_for()
