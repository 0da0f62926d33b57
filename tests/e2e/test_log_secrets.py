"""SECURITY.md, line 6: nothing that the log or the database holds reveals a secret.

One run over every way in, on a server that logs all it can (`debug`), collects every secret that was typed, shown, sent
or received; then the whole log and every row of every table, read as the owner, are searched for each of them.
"""

import base64
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import psycopg
import pyotp
import pytest
from psycopg import sql
from tests.e2e.conftest import Server, eventually, serving
from tests.e2e.identity_driver import (
    PASSWORD,
    Browser,
    Person,
    RelyingParty,
    answer_of,
    as_owner,
    forms_of,
    make_people,
    register,
)

SHORTEST = 8  # a shorter value would be found by chance


@dataclass
class Secrets:
    """What must not be found, by what it is."""

    values: dict[str, str] = field(default_factory=dict)

    def keep(self, name: str, value: object) -> str:
        text = str(value)
        assert len(text) >= SHORTEST, f"{name} is too short to look for"
        self.values[f"{name} {len(self.values)}"] = text
        return text

    def keep_cookies(self, name: str, browser: Browser) -> None:
        for cookie in browser.http.cookies.jar:
            self.keep(f"{name} cookie {cookie.name}", cookie.value)

    def forms(self) -> Iterator[tuple[str, str]]:
        """Every secret as it is, percent-encoded, in base64 and in hexadecimal."""
        for name, value in self.values.items():
            raw = value.encode()
            for form in {value, quote(value, safe=""), base64.b64encode(raw).decode().rstrip("="), raw.hex()}:
                yield name, form


@dataclass
class Run:
    """What the run left behind."""

    server: Server
    secrets: Secrets
    party: RelyingParty


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    settings = {"RAGECHO_LOG_LEVEL": "debug", "RAGECHO_IDENTITY_REGISTRATION": "open"}
    with serving(tmp_path_factory.mktemp("secrets"), **settings) as server:
        found = Secrets()
        found.keep("password", PASSWORD)
        (person,) = make_people(server, role="admin")
        party = register(server, grant_types=["authorization_code", "refresh_token", DEVICE])
        found.keep("client secret", party.metadata["client_secret"])
        found.keep("client basic", base64.b64encode(":".join(party.auth).encode()).decode())
        if "registration_access_token" in party.metadata:
            found.keep("registration token", party.metadata["registration_access_token"])
        for step in (_first_administrator, _api_key, _sign_in, _device, _reset, _second_factor, _sign_up, _gateway):
            step(server, party, person, found)
        yield Run(server, found, party)


DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
Step = Callable[[Server, RelyingParty, Person, Secrets], None]


def _first_administrator(server: Server, _party: RelyingParty, _person: Person, found: Secrets) -> None:
    """The one-time link of the first start is printed for the operator, once, and is in no table."""
    links = [line for line in server.log if "/identity/setup" in line]
    for line in links:
        found.keep("first administrator's link", re.findall(r"[A-Za-z0-9_-]{32,}", line)[-1])
        server.log.remove(line)
    password = found.keep("administrator's password", f"Stern-{secrets.token_urlsafe(9)}")
    done = server.process  # the running server; the command finds its database
    assert done.poll() is None
    _ragecho_with_input(server, password, "admin", "create", "--email", "root@people.example", "--password-stdin")


def _ragecho_with_input(server: Server, given: str, *arguments: str) -> None:
    import subprocess
    import sys

    from tests.e2e.conftest import clean_environment

    done = subprocess.run(
        [sys.executable, "-m", "ragecho", *arguments],
        input=given + "\n",
        env=clean_environment(server.data_dir),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert given not in done.stdout + done.stderr


def _api_key(server: Server, party: RelyingParty, _person: Person, found: Secrets) -> None:
    key = found.keep("API key", server.key())
    assert party.api(key).status_code == 200
    by_header = httpx.get(f"{server.url}/api/v1/workspaces", headers={"X-API-Key": key}, timeout=60)
    assert by_header.status_code == 200
    httpx.get(f"{server.url}/api/v1/workspaces?api_key={key}&access_token={key}", timeout=60)


def _sign_in(server: Server, party: RelyingParty, person: Person, found: Secrets) -> None:
    browser = Browser(server)
    wrong = found.keep("mistyped password", f"Coral-{secrets.token_urlsafe(9)}")
    page = browser.visit(party.request()[0])
    (form,) = [one for one in forms_of(page) if one.with_password()]
    found.keep("form token", form.values["csrf"])
    browser.submit(page, form, email=person.email, password=wrong)
    browser.submit(page, form, email=wrong, password=person.password)  # the password typed into the wrong field
    code, verifier = party.code(browser, person, scope="openid email offline_access read", prompt="consent")
    found.keep("code", code)
    found.keep("verifier", verifier)
    party.redeem(code, "x" * 43)
    code, verifier = party.code(browser, person, scope="openid email offline_access read", prompt="consent")
    found.keep("code", code)
    found.keep("verifier", verifier)
    tokens = party.redeem(code, verifier).json()
    for name in ("access_token", "refresh_token", "id_token"):
        found.keep(name, tokens[name])
    assert party.userinfo(tokens["access_token"]).status_code == 200
    assert party.api(tokens["access_token"]).status_code == 200
    httpx.get(f"{party.issuer}/userinfo", params={"access_token": tokens["access_token"]}, timeout=60)
    httpx.post(f"{party.issuer}/token?client_secret={party.auth[1]}", data={"code": code}, timeout=60)
    refreshed = party.refresh(tokens["refresh_token"]).json()
    for name in ("access_token", "refresh_token"):
        found.keep(name, refreshed[name])
    party.post("introspect", {"token": refreshed["access_token"]})
    hint = {"id_token_hint": tokens["id_token"]}
    browser.visit(f"{party.issuer}/authorize?{urlsplit(party.request(prompt='none', **hint)[0]).query}")
    found.keep_cookies("signed-in", browser)
    party.post("revoke", {"token": refreshed["refresh_token"]})
    browser.visit(f"{party.issuer}/logout?id_token_hint={tokens['id_token']}")
    browser.close()


def _device(server: Server, party: RelyingParty, person: Person, found: Secrets) -> None:
    started = party.post("device_authorization", {"scope": "openid"}).json()
    found.keep("device code", started["device_code"])
    browser = Browser(server)
    # Signed in first, then the code is approved.
    browser.answer(browser.visit("/identity/login"), person)
    page = browser.visit(started["verification_uri_complete"])
    for _ in range(4):
        forms = [form for form in forms_of(page) if "user_code" in form.values]
        if not forms:
            break
        page = browser.submit(page, forms[0], button="allow", user_code=started["user_code"])
    poll = {"grant_type": DEVICE, "device_code": started["device_code"]}
    with as_owner(server) as db:
        db.execute("update identity_device_codes set last_polled_at = null")
    tokens = party.post("token", poll)
    assert tokens.status_code == 200, tokens.text
    found.keep("device's access token", tokens.json()["access_token"])
    found.keep_cookies("device", browser)
    browser.close()


def _reset(server: Server, _party: RelyingParty, _person: Person, found: Secrets) -> None:
    (forgetful,) = make_people(server)
    browser = Browser(server)
    page = browser.visit("/identity/forgot-password")
    (form,) = [one for one in forms_of(page) if "email" in one.values]
    browser.submit(page, form, email=forgetful.email)
    link = _link_to(server, forgetful.email, "reset-password")
    found.keep("reset link", _token_of(link))
    page = browser.visit(link)
    (form,) = [one for one in forms_of(page) if one.with_password()]
    new = found.keep("new password", f"Birch-{secrets.token_urlsafe(12)}")
    browser.submit(page, form, password=new)
    found.keep_cookies("reset", browser)
    assert browser.visit(link).status_code < 500
    browser.close()


def _second_factor(server: Server, party: RelyingParty, _person: Person, found: Secrets) -> None:
    (careful,) = make_people(server)
    browser = Browser(server)
    browser.answer(browser.visit("/identity/login"), careful)
    page = browser.visit("/identity/account/security")
    (form,) = [one for one in forms_of(page) if one.action.endswith("/account/totp")]
    page = browser.submit(page, form)
    shown = re.search(r'<p class="secret">([^<]+)</p>', page.text)
    assert shown is not None
    seed = re.sub(r"\s", "", unescape(shown[1]))
    found.keep("TOTP secret", seed)
    found.keep("TOTP secret as shown", unescape(shown[1]))
    (form,) = [one for one in forms_of(page) if one.action.endswith("/totp/confirm")]
    page = browser.submit(page, form, code=pyotp.TOTP(seed).now())
    codes = re.findall(r"<li>([0-9A-Za-z-]{8,})</li>", page.text)
    assert codes, "the recovery codes are shown"
    for code in codes:
        found.keep("recovery code", code)
        found.keep("recovery code", code.replace("-", ""))
    elsewhere = Browser(server)
    page = elsewhere.visit(party.request()[0])
    (form,) = [one for one in forms_of(page) if one.with_password()]
    page = elsewhere.submit(page, form, email=careful.email, password=careful.password)
    found.keep_cookies("half signed-in", elsewhere)
    recovery = re.search(r'href="([^"]*second-factor[^"]*recovery[^"]*)"', page.text)
    if recovery is not None:
        page = elsewhere.visit(unescape(recovery[1]))
    (form,) = [one for one in forms_of(page) if "code" in one.values]
    page = elsewhere.submit(page, form, code=codes[0])
    elsewhere.answer(page, careful)
    assert elsewhere.left is not None
    found.keep("code after the second factor", answer_of(elsewhere.left)["code"])
    found.keep_cookies("two factors", elsewhere)
    browser.close()
    elsewhere.close()


def _sign_up(server: Server, _party: RelyingParty, _person: Person, found: Secrets) -> None:
    browser = Browser(server)
    page = browser.visit("/identity/register")
    (form,) = [one for one in forms_of(page) if one.action.endswith("sign-up")]
    email = f"new-{secrets.token_hex(4)}@people.example"
    browser.submit(page, form, name="New", email=email)
    link = _link_to(server, email, "sign-up/confirm")
    found.keep("confirmation link", _token_of(link))
    page = browser.visit(link)
    (form,) = [one for one in forms_of(page) if one.with_password()]
    password = found.keep("password of a new account", f"Heron-{secrets.token_urlsafe(12)}")
    browser.submit(page, form, password=password)
    found.keep_cookies("new account", browser)
    assert any(name.startswith("new account cookie echo_identity") for name in found.values), "signed in"
    browser.close()


def _gateway(server: Server, _party: RelyingParty, person: Person, found: Secrets) -> None:
    """The browser app's own sign-in; its callback has a code and a state in the query."""
    browser = Browser(server)
    browser.answer(browser.visit("/auth/login"), person)
    found.keep_cookies("application", browser)
    state = found.keep("forged state", secrets.token_urlsafe(24))
    code = found.keep("forged code", secrets.token_urlsafe(24))
    browser.visit(f"/auth/callback?code={code}&state={state}")
    browser.close()


def _link_to(server: Server, email: str, path: str) -> str:
    """Return the newest link of this kind in the mails to this address, from the development server's outbox page."""

    def look() -> str | None:
        page = unescape(httpx.get(f"{server.url}/identity/outbox", timeout=60).text)
        for part in page.split(email)[1:]:
            link = re.search(rf'https?://[^\s"<>]*/{path}[^\s"<>]*', part)
            if link is not None:
                return link[0]
        return None

    return str(eventually(look, seconds=20, what=f"a mail to {email} with a link to {path}"))


def _token_of(link: str) -> str:
    query = parse_qs(urlsplit(link).query)
    return query["token"][0] if "token" in query else link.rsplit("/", 1)[1]


def test_the_log_reveals_no_secret(run: Run) -> None:
    text = "".join(run.server.log)
    assert "/identity/" in text, "the run was logged"
    shown = [(name, _around(text, form)) for name, form in run.secrets.forms() if form in text]
    assert shown == []


def _around(text: str, secret: str) -> str:
    """Return the line's beginning, for whoever has to find it, and not the secret."""
    return text[: text.index(secret)].rsplit("\n", 1)[-1][-300:]


def test_the_database_reveals_no_secret(run: Run) -> None:
    looked_at = 0
    shown = []
    with as_owner(run.server) as db:
        for table in _tables(db):
            for (row,) in db.execute(sql.SQL("select t::text from {} t").format(table)):
                looked_at += 1
                shown += [(table.as_string(db), name) for name, form in run.secrets.forms() if form in str(row)]
    assert looked_at > 50
    assert shown == []


def _tables(db: psycopg.Connection[tuple[object, ...]]) -> list[sql.Identifier]:
    found = db.execute(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'm') and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'"
    )
    return [sql.Identifier(str(schema), str(name)) for schema, name in found]


def test_every_flow_took_part(run: Run) -> None:
    kinds = {name.rsplit(" ", 1)[0] for name in run.secrets.values}
    assert {
        "password",
        "code",
        "access_token",
        "refresh_token",
        "API key",
        "reset link",
        "TOTP secret",
        "recovery code",
        "device code",
        "client secret",
        "signed-in cookie echo_identity",
    } <= kinds


def test_files_with_keys_are_for_their_owner_only(run: Run) -> None:
    assert (run.server.data_dir / "identity.key").stat().st_mode & 0o077 == 0
    key = (run.server.data_dir / "identity.key").read_text().strip()
    assert key not in "".join(run.server.log)
    with as_owner(run.server) as db:
        for table in _tables(db):
            for (row,) in db.execute(sql.SQL("select t::text from {} t").format(table)):
                assert key not in str(row)
