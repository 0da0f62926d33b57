"""What the pages must withstand: forms of others, sessions of others, other hosts, and the eyes of scripts."""

# ruff: noqa: F401, F811 - imported fixtures are used by their names

import re
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from tests.e2e.conftest import Server
from tests.e2e.identity_driver import Person, as_owner
from tests.e2e.identity_pages import app, browser, client, form_token, people, server, signed_in_cookies, visit

from ragecho.identity.accounts.build import build_accounts
from ragecho.identity.pages.router import build_pages, build_pages_router
from ragecho.identity.vault import Vault
from ragecho.platform.database import Database

SOME_ID = "01a1fd0f-754e-7472-81c0-cd036f298d97"


def forms() -> list[str]:
    """Return the path of everything that pages post to, from the routes themselves."""
    database = Database("postgresql://nobody@localhost/none", pool_size=1)  # never connected
    accounts = build_accounts(database, Vault(b"k" * 32), issuer="http://localhost/identity", is_development=True)
    paths = posted(build_pages_router(accounts, build_pages(accounts.tools)))
    return sorted(re.sub(r"\{[a-z_]+\}", SOME_ID, path).removeprefix("/") for path in paths)


def posted(router: APIRouter) -> set[str]:
    found = set()
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            found |= posted(included)
        elif isinstance(route, APIRoute) and "POST" in route.methods:
            found.add(route.path.removeprefix("/identity"))
    return found


@pytest.fixture(scope="module")
def http(server: Server, people: Callable[[], Person]) -> Iterator[httpx.Client]:
    """Somebody who is signed in."""
    with signed_in_cookies(server, people()) as http:
        yield http


class TestSafety:
    @pytest.mark.parametrize("path", forms())
    def test_a_form_without_its_token_does_nothing(self, http: httpx.Client, path: str) -> None:
        for form in ({}, {"csrf": "A" * 43}, {"csrf": http.cookies.get("echo_forms") or ""}):
            data = {**form, "decision": "allow", "interaction": ""}
            answer = (
                http.post(path, json=data, headers={"X-CSRF-Token": form.get("csrf", "")})
                if path.startswith("passkeys/")
                else http.post(path, data=data)
            )
            # The consent page stops earlier: it knows no request.
            assert answer.status_code == (410 if path == "consent" else 403), answer.text
        assert http.get("account").status_code == 200

    def test_a_token_of_another_session_does_not_count(
        self, http: httpx.Client, server: Server, people: Callable[[], Person]
    ) -> None:
        with signed_in_cookies(server, people()) as theirs:
            token = form_token(theirs, "account")
            # Even when an attacker managed to set the cookie that belongs to it.
            cookies = {**http.cookies, "echo_forms": theirs.cookies["echo_forms"]}
        answer = httpx.post(
            f"{server.url}/identity/account/profile", data={"csrf": token, "name": "x"}, cookies=cookies, timeout=60
        )
        assert answer.status_code == 403

    def test_every_page_has_the_strict_headers(self, http: httpx.Client) -> None:
        for path in [
            "login",
            "register",
            "forgot-password",
            "device",
            "account",
            "account/security",
            "outbox",
            "signed-out",
            "setup",
        ]:
            answer = http.get(path, follow_redirects=True)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'"), path
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-content-type-options"] == "nosniff"

    def test_the_services_own_address_leads_to_the_account(self, http: httpx.Client) -> None:
        answer = http.get(str(http.base_url).rstrip("/"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/identity/account")

    def test_session_cookies_are_out_of_reach_of_scripts_and_other_sites(
        self, server: Server, people: Callable[[], Person]
    ) -> None:
        with signed_in_cookies(server, people()) as http:
            held = {cookie.name: cookie for cookie in http.cookies.jar}
            for name in ("echo_identity", "echo_device", "echo_forms"):
                rest = {key.lower(): value for key, value in held[name]._rest.items()}  # type: ignore[attr-defined]  # the jar has no public way
                assert "httponly" in rest
                assert str(rest["samesite"]).lower() == "lax"

    def test_the_outbox_is_for_this_machine_alone(self, server: Server) -> None:
        url = f"{server.url}/identity/outbox"
        assert httpx.get(url, timeout=60).status_code == 200
        for headers in ({"Host": "evil.example"}, {"X-Forwarded-For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}):
            assert httpx.get(url, headers=headers, timeout=60).status_code == 404

    def test_a_new_session_begins_with_a_new_id(self, server: Server, people: Callable[[], Person]) -> None:
        person = people()
        with signed_in_cookies(server, person) as http:
            before = http.cookies["echo_identity"]
            token = form_token(http, "login?again=1")
            http.post("login", data={"csrf": token, "email": person.email, "password": person.password})
            assert http.cookies["echo_identity"] != before
            old = httpx.get(
                f"{server.url}/identity/account", cookies={"echo_identity": before}, timeout=60, follow_redirects=False
            )
            assert old.status_code == 303

    def test_the_log_and_the_tables_hold_no_cookie(self, server: Server, people: Callable[[], Person]) -> None:
        with signed_in_cookies(server, people()) as http:
            held = [cookie.value or "" for cookie in http.cookies.jar]
        assert not [value for value in held if any(value in line for line in server.log)]
        with as_owner(server) as db:
            assert rows_with(db, "identity_sessions", held) == 0


def rows_with(db: psycopg.Connection[tuple[object, ...]], table: str, values: list[str]) -> int:
    query = psycopg.sql.SQL(
        "select count(*) from {} t where exists (select from unnest(%s::text[]) v where t::text like '%%' || v || '%%')"
    )
    (count,) = db.execute(query.format(psycopg.sql.Identifier(table)), (values,)).fetchone() or (0,)
    return int(str(count))
