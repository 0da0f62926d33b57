"""People and clients for tests of the identity service, and a browser without JavaScript that signs in as they would."""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from uuid import UUID

import httpx
import psycopg
from argon2 import PasswordHasher
from tests.e2e.conftest import Server

from ragecho.kernel.ids import uuid7
from ragecho.platform.embedded import running_server

PASSWORD = "coral-lantern-48-Umbra"
REDIRECT_URI = "https://rp.example/callback"
MAX_PAGES = 8


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a confirmed address and a password."""

    id: UUID
    email: str
    name: str
    password: str


@contextmanager
def as_owner(server: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Yield a connection that sees every table of the server's embedded database."""
    running = running_server(server.data_dir)
    assert running is not None
    url = running.owner_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url) as connection:
        yield connection


def make_people(server: Server, count: int = 1, *, role: str = "member", prefix: str = "person") -> list[Person]:
    """Add people to the default organisation, all with the same password, which is hashed once."""
    hashed = PasswordHasher().hash(PASSWORD)
    made = []
    with as_owner(server) as db:
        (organization,) = db.execute("select id from organizations order by created_at limit 1").fetchone() or (None,)
        for number in range(count):
            tag = secrets.token_hex(4)
            one = Person(uuid7(), f"{prefix}-{tag}@people.example", f"Person {number} {tag}", PASSWORD)
            db.execute(
                "insert into users (id, email, name, email_verified_at) values (%s, %s, %s, now())",
                (one.id, one.email, one.name),
            )
            db.execute("insert into identity_passwords (user_id, hash) values (%s, %s)", (one.id, hashed))
            db.execute(
                "insert into organization_members (organization_id, user_id, role) values (%s, %s, %s)",
                (organization, one.id, role),
            )
            made.append(one)
    return made


def forgive(server: Server) -> None:
    """Forget earlier attempts: refused for being too many, what is sent would not be read."""
    with as_owner(server) as db:
        db.execute("delete from identity_throttle")


@dataclass
class Form:
    """A form as a page shows it: its hidden and filled-in values, and its buttons."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def with_password(self) -> bool:
        return "password" in self.types.values()


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(have.get("action", ""), have.get("method", "get").upper()))
            self._inside = True
        elif self._inside and tag == "button" and have.get("type", "submit") == "submit":
            self.forms[-1].buttons.append((have.get("name", ""), have.get("value", "")))
        elif self._inside and tag == "input" and "name" in have:
            kind = have.get("type", "text")
            if kind in ("checkbox", "radio") and "checked" not in have:
                return
            self.forms[-1].types[have["name"]] = kind
            self.forms[-1].values[have["name"]] = have.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def forms_of(response: httpx.Response) -> list[Form]:
    """Return the forms of a page."""
    parser = _Forms()
    parser.feed(response.text)
    return parser.forms


class Browser:
    """A cookie jar that follows redirects as long as they stay with the provider, and fills in its forms."""

    def __init__(self, server: Server) -> None:
        self.http = httpx.Client(base_url=server.url, timeout=60)
        self.home = urlsplit(server.url).netloc
        self.left: str | None = None
        self.screens: list[str] = []

    def visit(self, url: str, *, data: Mapping[str, str] | None = None) -> httpx.Response:
        """Go there; `left` is where the provider sent us, if it sent us away."""
        self.left = None
        headers = {"Accept": "text/html"}
        if data is not None:
            headers["Origin"] = str(self.http.base_url).rstrip("/")
        answer = (
            self.http.get(url, headers=headers) if data is None else self.http.post(url, data=data, headers=headers)
        )
        for _ in range(20):
            if not answer.is_redirect:
                return answer
            target = urljoin(str(answer.url), answer.headers["location"])
            if urlsplit(target).netloc != self.home:
                self.left = target
                return answer
            answer = self.http.get(target, headers=headers)
        raise AssertionError("a loop of redirects")

    def submit(self, page: httpx.Response, form: Form, *, button: str | None = None, **values: str) -> httpx.Response:
        """Send a form with `values` typed in and the button with this value pressed."""
        data = {**form.values, **values}
        data |= {name: value for name, value in form.buttons if name and value == button}
        return self.visit(urljoin(str(page.url), form.action), data=data)

    def answer(self, page: httpx.Response, person: Person, *, consents: bool = True) -> httpx.Response:
        """Answer what the pages ask until we are sent away or a page asks nothing that we know."""
        for _ in range(MAX_PAGES):
            if self.left is not None or page.status_code >= 400:
                return page
            found = forms_of(page)
            login = next((form for form in found if form.with_password()), None)
            consent = next((form for form in found if any(name == "decision" for name, _ in form.buttons)), None)
            if login is not None:
                self.screens.append("login")
                page = self.submit(page, login, email=person.email, password=person.password)
            elif consent is not None:
                self.screens.append("consent")
                page = self.submit(page, consent, button="allow" if consents else "deny")
            else:
                return page
        raise AssertionError(f"no end of questions: {self.screens}")

    def close(self) -> None:
        self.http.close()


@dataclass
class RelyingParty:
    """A registered client."""

    server: Server
    metadata: dict[str, object]

    @property
    def id(self) -> str:
        return str(self.metadata["client_id"])

    @property
    def auth(self) -> tuple[str, str]:
        return self.id, str(self.metadata["client_secret"])

    @property
    def issuer(self) -> str:
        return f"{self.server.url}/identity"

    def post(self, path: str, data: Mapping[str, str], *, authenticated: bool = True) -> httpx.Response:
        """Post a form to an endpoint of the provider, as this client."""
        auth = self.auth if authenticated else None
        return httpx.post(f"{self.issuer}/{path}", data=dict(data), auth=auth, timeout=60)  # type: ignore[arg-type]  # None is no authentication

    def request(self, **parameters: str | None) -> tuple[str, str, str]:
        """Return the URL of an authorization request, its PKCE verifier and its state."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": REDIRECT_URI,
            "scope": "openid",
            "state": state,
            "nonce": secrets.token_urlsafe(16),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **parameters,
        }
        sent = {name: value for name, value in asked.items() if value is not None}
        return f"{self.issuer}/authorize?{urlencode(sent)}", verifier, state

    def code(self, browser: Browser, person: Person, **parameters: str | None) -> tuple[str, str]:
        """Sign in and return a code and its PKCE verifier."""
        url, verifier, state = self.request(**parameters)
        page = browser.answer(browser.visit(url), person)
        assert browser.left is not None, f"{page.status_code} {page.text}"
        back = answer_of(browser.left)
        assert back.get("state") == state, browser.left
        return back["code"], verifier

    def redeem(self, code: str, verifier: str, /, **changes: str) -> httpx.Response:
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": verifier,
        }
        return self.post("token", body | changes)

    def sign_in(self, browser: Browser, person: Person, **parameters: str | None) -> dict[str, str]:
        """Sign in and return the tokens."""
        code, verifier = self.code(browser, person, **parameters)
        answer = self.redeem(code, verifier)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refresh(self, token: str) -> httpx.Response:
        return self.post("token", {"grant_type": "refresh_token", "refresh_token": token})

    def userinfo(self, token: str) -> httpx.Response:
        return httpx.get(f"{self.issuer}/userinfo", headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def api(self, token: str, path: str = "/api/v1/workspaces") -> httpx.Response:
        return httpx.get(f"{self.server.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=60)


def register(server: Server, **metadata: object) -> RelyingParty:
    """Register a confidential web client dynamically."""
    asked = {
        "client_name": "Security tests",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        **metadata,
    }
    answer = httpx.post(f"{server.url}/identity/register", json=asked, timeout=60)
    assert answer.status_code == 201, answer.text
    return RelyingParty(server, answer.json())


def answer_of(url: str) -> dict[str, str]:
    """Return the parameters of a redirect; each must stand there once."""
    pairs = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in pairs.values()), url
    return {name: values[0] for name, values in pairs.items()}


def error_of(answer: httpx.Response) -> str:
    """Return the OAuth error of a refused request to the token endpoint."""
    assert answer.status_code == 400, f"{answer.status_code} {answer.text}"
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["error"])


def text_of(page: httpx.Response) -> str:
    """Return what a person reads, without tags and without what differs in every answer."""
    body = re.sub(r'((?:name="(?:csrf|interaction)" value|data-csrf|data-interaction)=")[^"]*', r"\1", page.text)
    return re.sub(r"\s+", " ", body)
