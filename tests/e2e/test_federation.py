"""One Echo signs people in for another: two real servers, the second one's organisation trusts the first one's identities."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect
from tests.e2e.conftest import Server, serving
from tests.e2e.identity_driver import (
    Browser,
    Person,
    RelyingParty,
    as_owner,
    forms_of,
    make_people,
    register,
    text_of,
)
from tests.e2e.test_browser import browser as chromium

from ragecho.tenancy.model import DEFAULT_ORGANIZATION

__all__ = ["chromium"]

DOMAIN = "people.example"  # of everybody that `make_people` makes


@dataclass
class Federation:
    """`here` sends people to `there`."""

    here: Server
    there: Server
    provider: dict[str, Any]
    admin: httpx.Client
    secrets: set[str]

    def start(self, browser: Browser, query: str = "") -> str:
        browser.visit(f"/identity/federation/{self.provider['id']}/start?{query}")
        assert browser.left is not None
        return browser.left

    def upstream(self, url: str, person: Person) -> str:
        """Sign in there and return where it sends the browser back to."""
        visitor = Browser(self.there)
        page = visitor.answer(visitor.visit(url), person)
        assert visitor.left is not None, page.text
        visitor.close()
        returned = httpx.URL(visitor.left).params
        self.secrets |= {returned["code"], returned["state"], httpx.URL(url).params["nonce"]}
        return visitor.left

    def sign_in(self, browser: Browser, person: Person, query: str = "") -> httpx.Response:
        return browser.visit(self.upstream(self.start(browser, query), person))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A host of its own: browsers keep cookies by host, whatever the port.
    settings = {"RAGECHO_HOST": "localhost", "RAGECHO_ALLOW_PRIVATE_ADDRESSES": "true", "RAGECHO_LOG_LEVEL": "debug"}
    with serving(tmp_path_factory.mktemp("here"), **settings) as found:
        yield found


@pytest.fixture(scope="module")
def federation(server: Server, here: Server) -> Iterator[Federation]:
    make_people(here, role="owner", prefix="boss")
    key = here.key(scopes="read,write,admin")
    here.ragecho("identity", "domain", "verify", DOMAIN)
    with here.client(key) as admin:
        base = f"/api/v1/organizations/{DEFAULT_ORGANIZATION}/identity-providers"
        asked = {"name": "The other Echo", "issuer": f"{server.url}/identity", "client_id": "not-yet"}
        made = admin.post(base, json={**asked, "is_listed": True, "routed_domains": [DOMAIN]})
        assert made.status_code == 201, made.text
        provider = made.json()
        client = register(server, redirect_uris=[provider["redirect_uri"]], client_name="Echo here")
        known = {"client_id": client.id, "client_secret": client.auth[1]}
        changed = admin.patch(f"{base}/{provider['id']}", json=known)
        assert changed.status_code == 200, changed.text
        assert client.auth[1] not in changed.text
        yield Federation(here, server, changed.json(), admin, {client.auth[1]})


@pytest.fixture
def browser(here: Server) -> Iterator[Browser]:
    made = Browser(here)
    yield made
    made.close()


def whoami(server: Server, email: str) -> tuple[Any, ...] | None:
    with as_owner(server) as db:
        return db.execute("select id, email, email_verified_at from users where lower(email) = %s", (email,)).fetchone()


def test_the_provider_passes_its_own_test(federation: Federation) -> None:
    url = f"/api/v1/organizations/{DEFAULT_ORGANIZATION}/identity-providers/{federation.provider['id']}/test"
    found = federation.admin.post(url).json()
    assert found["works"] is True, found
    assert {check["verdict"] for check in found["checks"]} == {"ok"}, found


def test_the_command_line_lists_and_tests_it(federation: Federation) -> None:
    environment = {"RAGECHO_ALLOW_PRIVATE_ADDRESSES": "true"}
    assert "The other Echo" in federation.here.ragecho("identity", "provider", "ls")
    shown = federation.here.ragecho(
        "identity", "provider", "test", "the other echo", "--json", env=environment, check=False
    )
    assert '"name": "discovery"' in shown
    assert DOMAIN in federation.here.ragecho("identity", "domain", "ls")


def test_a_person_of_the_other_server_signs_in_to_an_application_here(
    federation: Federation, server: Server, here: Server, browser: Browser
) -> None:
    (person,) = make_people(server)
    party: RelyingParty = register(here)
    url, verifier, state = party.request(scope="openid email profile")
    login = browser.visit(url)
    assert "The other Echo" in login.text
    interaction = str(login.url).partition("interaction=")[2].partition("&")[0]
    page = federation.sign_in(browser, person, f"interaction={interaction}")
    page = browser.answer(page, person)
    assert browser.left is not None, page.text
    back = httpx.URL(browser.left).params
    assert back["state"] == state
    tokens = party.redeem(back["code"], verifier).json()
    claims = party.userinfo(tokens["access_token"]).json()
    assert claims["email"] == person.email
    assert claims["email_verified"] is True
    found = whoami(here, person.email)
    assert found is not None
    assert str(found[0]) == claims["sub"] != str(person.id)


def test_an_address_of_a_routed_domain_leads_to_the_provider_without_a_password(
    federation: Federation, server: Server, browser: Browser
) -> None:
    (person,) = make_people(server)
    login = browser.visit("/identity/login")
    (form,) = [one for one in forms_of(login) if one.with_password()]
    leaving = browser.submit(login, form, email=person.email, password="")
    # A page leads on by itself: a redirect would be held against the form's policy.
    target = leaving.text.partition('content="0;url=')[2].partition('"')[0].replace("&amp;", "&")
    assert target.startswith(f"{server.url}/identity/authorize?")
    account = browser.visit(federation.upstream(target, person))
    assert str(account.url).endswith("/identity/account")
    assert person.email in account.text


def test_the_answer_opens_nothing_in_another_browser_and_nothing_twice(
    federation: Federation, server: Server, browser: Browser
) -> None:
    (person,) = make_people(server)
    back = federation.upstream(federation.start(browser), person)
    stranger = Browser(federation.here)
    refused = stranger.visit(back)
    assert refused.status_code == 403
    assert "Start again" in text_of(refused)
    stranger.visit("/identity/federation/connections")
    stolen = stranger.visit(back)
    assert stolen.status_code == 403
    stranger.close()
    assert str(browser.visit(back).url).endswith("/identity/account")
    again = browser.visit(back)
    assert again.status_code == 403
    assert "expired or was finished" in text_of(again)


def test_an_account_that_exists_is_connected_only_by_its_own_person(
    federation: Federation, server: Server, here: Server, browser: Browser
) -> None:
    (person,) = make_people(server)
    (local,) = make_people(here)
    with as_owner(here) as db:
        db.execute("update users set email = %s where id = %s", (person.email, local.id))
    owner = Person(local.id, person.email, local.name, local.password)
    asked = federation.sign_in(browser, person)
    # Not signed in: the login page comes first, and leads to the confirmation.
    (form,) = [one for one in forms_of(asked) if one.with_password()]
    with as_owner(here) as db:
        db.execute("update identity_domains set verified_at = null, verified_by = null")
    try:
        confirm = browser.submit(asked, form, email=owner.email, password=owner.password)
    finally:
        here.ragecho("identity", "domain", "verify", DOMAIN)
    assert "Connect your account?" in text_of(confirm)
    (decision,) = [one for one in forms_of(confirm) if any(value == "allow" for _, value in one.buttons)]
    browser.submit(confirm, decision, button="allow")
    shown = browser.visit("/identity/federation/connections")
    assert "The other Echo" in shown.text

    fresh = Browser(here)
    account = federation.sign_in(fresh, person)
    assert str(account.url).endswith("/identity/account")
    with as_owner(here) as db:
        rows = db.execute("select user_id from federated_identities where subject = %s", (str(person.id),)).fetchall()
    assert rows == [(local.id,)]
    fresh.close()


def test_a_refusal_at_the_provider_is_a_page_with_the_way_back(federation: Federation, browser: Browser) -> None:
    left = httpx.URL(federation.start(browser))
    back = httpx.URL(
        left.params["redirect_uri"],
        params={"error": "access_denied", "state": left.params["state"], "iss": federation.provider["issuer"]},
    )
    page = browser.visit(str(back))
    assert page.status_code == 403
    assert "did not sign in" in text_of(page)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=",
        "state=x&state=y&code=z",
        "code=%00",
        "state=%FF&code=x",
        "state=" + "x" * 9000,
        "error=<script>&state=x",
    ],
)
def test_malformed_answers_are_pages_and_never_failures(federation: Federation, browser: Browser, query: str) -> None:
    federation.start(browser)
    page = browser.visit(f"/identity/federation/{federation.provider['id']}/callback?{query}")
    assert 400 <= page.status_code < 500
    assert "<script>" not in page.text


def test_a_directory_provisions_and_deprovisions_over_http(federation: Federation, here: Server) -> None:
    base = f"/api/v1/organizations/{DEFAULT_ORGANIZATION}/scim-tokens"
    made = federation.admin.post(base, json={"name": "okta"}).json()
    assert made["base_url"] == f"{here.url}/scim/v2"
    headers = {"Authorization": f"Bearer {made['token']}", "Content-Type": "application/scim+json"}
    with httpx.Client(base_url=made["base_url"], headers=headers, timeout=60) as scim:
        user = scim.post("/Users", json={"userName": f"grace@{DOMAIN}", "schemas": [SCIM_USER]}).json()
        key = federation.admin.get("/api/v1/organizations").json()
        assert key["items"]
        assert scim.get(f"/Users/{user['id']}").json()["active"] is True
        assert scim.delete(f"/Users/{user['id']}").status_code == 204
        rotated = federation.admin.post(f"{base}/{made['id']}/rotate").json()
        assert scim.get("/Users").status_code == 401
        headers["Authorization"] = f"Bearer {rotated['token']}"
        assert httpx.get(f"{made['base_url']}/Users", headers=headers).json()["totalResults"] == 0
        federation.secrets |= {made["token"], rotated["token"]}
    listed = federation.admin.get(base).json()
    assert {one["revoked_at"] is None for one in listed["items"]} == {True, False}
    assert made["token"] not in repr(listed)


def test_chromium_goes_there_and_comes_back_from_another_site(
    federation: Federation, server: Server, here: Server, chromium: Chromium
) -> None:
    (person,) = make_people(server)
    context = chromium.new_context()
    page = context.new_page()
    try:
        page.goto(f"{here.url}/identity/login")
        page.fill("#email", person.email)
        page.press("#email", "Enter")
        page.wait_for_url(f"{server.url}/identity/login**")
        page.fill("#email", person.email)
        page.fill("#password", person.password)
        page.press("#password", "Enter")
        page.locator("button[value=allow]").click()
        page.wait_for_url(f"{here.url}/identity/account**")
        expect(page.locator("body")).to_contain_text(person.email)
        page.goto(f"{here.url}/identity/federation/connections")
        expect(page.locator("h1")).to_have_text("Connected sign-in services")
        expect(page.locator("body")).to_contain_text("The other Echo")
    finally:
        context.close()


def test_no_secret_of_all_that_is_in_the_log(federation: Federation, here: Server) -> None:
    assert len(federation.secrets) > 10
    log = "".join(here.log)
    assert "federation" in log
    for secret in federation.secrets:
        assert secret not in log


SCIM_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
