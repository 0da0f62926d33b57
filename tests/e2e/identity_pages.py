"""A browser that looks at the identity service's pages, an application that it comes from, and their fixtures."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from tests.e2e.conftest import Server, serving
from tests.e2e.identity_driver import PASSWORD, Person, RelyingParty, make_people, register
from tests.e2e.test_browser import browser

NAME = "Größe <b>&</b> مرحبا 日本"
SCOPES = "openid profile email offline_access documents:read"

__all__ = ["app", "browser", "client", "people", "server", "visit"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a name, for passkeys, where anybody may register."""
    settings = {"RAGECHO_HOST": "localhost", "RAGECHO_IDENTITY_REGISTRATION": "open"}
    with serving(tmp_path_factory.mktemp("pages"), **settings) as server:
        yield server


class App:
    """A web application of its own origin; it keeps the paths that browsers came with."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        self.posted: list[str] = []
        visits, posted = self.visits, self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                visits.append(self.path)
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>The app</title><link rel=icon href=data:,><h1>Welcome</h1>")

            def do_POST(self) -> None:
                posted.append(self.rfile.read(int(self.headers["content-length"])).decode())
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join(10)
        self.http.server_close()


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    app = App()
    yield app
    app.close()


@pytest.fixture(scope="module")
def client(server: Server, app: App) -> RelyingParty:
    return register(
        server,
        client_name=NAME,
        redirect_uris=[f"{app.url}/callback"],
        post_logout_redirect_uris=[f"{app.url}/bye"],
        client_uri=f"{app.url}/start",
        policy_uri=f"{app.url}/privacy",
        scope=SCOPES,
    )


@pytest.fixture(scope="module")
def people(server: Server) -> Callable[[], Person]:
    return lambda: make_people(server, 1)[0]


class Visitor:
    """A browser profile that notices what a page must not do."""

    def __init__(self, context: BrowserContext, server: Server) -> None:
        self.context = context
        self.base = f"{server.url}/identity"
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, kind: str, text: str) -> None:
        # A form that is shown again has a status of its own, which the browser mentions; anything else is ours.
        if kind in ("error", "warning") and "the server responded with a status of 4" not in text:
            self.complaints.append(text)

    def go(self, path: str) -> Page:
        self.page.goto(path if path.startswith("http") else f"{self.base}/{path}")
        return self.page

    def sign_in(self, person: Person, *, password: str = PASSWORD) -> None:
        self.page.locator("#email").fill(person.email)
        self.page.locator("#password").fill(password)
        self.page.locator("form[action$='/login'] button[type=submit]").click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def open_mail(self, subject: str, to: str) -> None:
        """Open the newest mail's link from the outbox page."""
        self.go("outbox")
        mail = self.page.locator("article").filter(has_text=subject).filter(has_text=to).first
        mail.get_by_role("link", name="Open link").first.click()


@pytest.fixture
def visit(server: Server, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    made: list[Visitor] = []

    def new(**options: object) -> Visitor:
        context = browser.new_context(**({"locale": "en-GB"} | options))  # type: ignore[arg-type]  # playwright's options
        made.append(Visitor(context, server))
        return made[-1]

    yield new
    for visitor in made:
        visitor.context.close()
        assert visitor.complaints == []


def arrived(app: App, page: Page) -> dict[str, str]:
    """Wait until the browser is at the app and return what it brought."""
    page.wait_for_url(f"{app.url}/callback?**")
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def asked(client: RelyingParty, app: App, **more: str) -> tuple[str, str]:
    url, verifier, _ = client.request(redirect_uri=f"{app.url}/callback", scope=SCOPES, **more)
    return url, verifier


def virtual_authenticator(visitor: Visitor) -> None:
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


@contextmanager
def signed_in_cookies(server: Server, person: Person) -> Iterator[httpx.Client]:
    """Sign in without a browser; the client holds the cookies."""
    with httpx.Client(base_url=f"{server.url}/identity/", timeout=60) as http:
        form = {"csrf": form_token(http, "login"), "email": person.email, "password": person.password}
        answer = http.post("login", data=form)
        assert answer.status_code == 303, answer.text
        yield http


def form_token(http: httpx.Client, path: str) -> str:
    """Return the token of a page's forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', http.get(path).text)
    assert found
    return found[1]
