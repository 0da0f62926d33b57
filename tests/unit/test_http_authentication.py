"""Which credential of a request counts, and what a session cookie needs besides."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from ragecho.kernel.authorization import Scope
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Unauthenticated
from ragecho.kernel.ids import OrganizationId, WorkspaceId, uuid7
from ragecho.platform.http import create_app
from ragecho.platform.http.authentication import authentication
from ragecho.platform.settings import Settings

CSRF = "the-token-of-this-session"


def caller(name: str) -> Caller:
    return Caller(OrganizationId(uuid7()), WorkspaceId(uuid7()), (name,), frozenset(Scope))


class Tokens:
    async def verify(self, token: str, *, workspace: str | None) -> Caller | None:
        return caller("token") if token == "good" else None


class Sessions:
    cookie_name = "echo_session"
    origin = "https://echo.example.com"

    def is_csrf_token(self, cookie: str, token: str) -> bool:
        return token == CSRF

    async def verify(self, cookie: str, *, workspace: str | None) -> Caller:
        if cookie != "alive":
            raise Unauthenticated("Your session has ended.")
        return caller("session")


@pytest.fixture
def client() -> TestClient:
    authenticate = authentication([Tokens()], Sessions())
    app: FastAPI = create_app(title="t", version="1", settings=Settings(), has_docs=False)

    @app.get("/who")
    @app.post("/who")
    async def who(found: Annotated[Caller, Depends(authenticate)]) -> str:
        return found.principals[0]

    return TestClient(app, base_url="http://internal:8000", cookies={"echo_session": "alive"})


def test_a_cookie_is_enough_to_read(client: TestClient) -> None:
    assert client.get("/who").json() == "session"


def test_a_cookie_that_does_not_count_is_401(client: TestClient) -> None:
    client.cookies.set("echo_session", "dead")
    assert client.get("/who").status_code == 401


def test_a_token_outranks_the_cookie_and_needs_no_proof(client: TestClient) -> None:
    good = {"Authorization": "Bearer good"}
    assert client.post("/who", headers=good).json() == "token"
    assert client.post("/who", headers={**good, "Origin": "https://evil.example"}).json() == "token"
    assert client.get("/who", headers={"Authorization": "Bearer bad"}).status_code == 401
    assert client.get("/who", headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-CSRF-Token": "another"}, 403),
        ({"X-CSRF-Token": CSRF}, 200),
        ({"X-CSRF-Token": CSRF, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"X-CSRF-Token": CSRF, "Sec-Fetch-Site": "none"}, 200),
        ({"X-CSRF-Token": CSRF, "Sec-Fetch-Site": "same-site"}, 403),
        ({"X-CSRF-Token": CSRF, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-CSRF-Token": CSRF, "Origin": "https://echo.example.com"}, 200),  # behind a proxy that names us otherwise
        ({"X-CSRF-Token": CSRF, "Origin": "http://internal:8000"}, 200),
        ({"X-CSRF-Token": CSRF, "Origin": "https://echo.example.com.evil.example"}, 403),
        ({"X-CSRF-Token": CSRF, "Origin": "null"}, 403),
        ({"X-CSRF-Token": CSRF, "Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
    ],
)
def test_a_change_by_cookie_needs_the_token_and_our_own_pages(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/who", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "csrf"


def test_where_no_sessions_are_kept_a_cookie_says_nothing() -> None:
    app = create_app(title="t", version="1", settings=Settings(), has_docs=False)
    authenticate = authentication([Tokens()])

    @app.get("/who")
    async def who(found: Annotated[Caller, Depends(authenticate)]) -> str:
        return found.principals[0]

    client = TestClient(app, cookies={"echo_session": "alive"})
    assert client.get("/who").status_code == 401
    assert client.get("/who", headers={"X-API-Key": "good"}).json() == "token"
