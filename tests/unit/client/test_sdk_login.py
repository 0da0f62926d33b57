"""The SDK's sign-in for small FastAPI applications: its cookies and its settings."""

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient
from tests.unit.client.issuer import ISSUER, Issuer

from ragecho_sdk.auth import AuthConfigurationError
from ragecho_sdk.fastapi_login import EchoLogin, EchoPerson, LoginSettings, _local
from ragecho_sdk.provider import Provider


def application(issuer: Issuer, redirect_uri: str, secret: str = "s3cret") -> TestClient:
    provider = Provider(ISSUER, http=issuer.http)
    login = EchoLogin(LoginSettings(ISSUER, "app-1", secret, redirect_uri), provider=provider)
    app = FastAPI()
    app.include_router(login.router)

    @app.get("/")
    async def home(person: EchoPerson = Depends(login.person)) -> str:
        return person.subject

    return TestClient(app, base_url=redirect_uri.rpartition("/")[0], follow_redirects=False)


@pytest.fixture
def issuer() -> Issuer:
    made = Issuer()
    made.names["authorization_endpoint"] = "authorize"
    return made


def test_over_https_the_cookie_is_bound_to_the_host_and_nothing_in_it_can_be_read(issuer: Issuer) -> None:
    answer = application(issuer, "https://reports.example.com/callback").get("/login")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-echo_app_")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    state = answer.headers["location"].partition("state=")[2].partition("&")[0]
    assert len(state) == 43
    assert state not in cookie


def test_a_cookie_of_another_application_or_purpose_says_nothing(issuer: Issuer) -> None:
    app = application(issuer, "http://127.0.0.1:8001/callback")
    app.get("/login")
    (name,) = [name for name in app.cookies if name.endswith("login")]
    app.cookies.set(name.replace("login", "session"), app.cookies[name])
    assert app.get("/").status_code == 401
    other = application(issuer, "http://127.0.0.1:8001/callback", secret="another")
    other.cookies.set(name, app.cookies[name])
    assert other.get("/callback?code=x&state=y").status_code == 400


def test_only_browsers_are_sent_to_the_login_page(issuer: Issuer) -> None:
    app = application(issuer, "http://127.0.0.1:8001/callback")
    assert app.get("/").status_code == 401
    assert app.get("/", headers={"Accept": "text/html"}).headers["location"] == "/login?return_to=%2F"


def test_missing_settings_are_named_with_the_command_that_makes_them() -> None:
    with pytest.raises(AuthConfigurationError, match=r"ECHO_REDIRECT_URI not set.*identity client create"):
        LoginSettings.from_env({"ECHO_ISSUER": "i", "ECHO_CLIENT_ID": "c", "ECHO_CLIENT_SECRET": "s"})
    assert "s3cret" not in repr(LoginSettings("i", "c", "s3cret", "r"))


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "", "x"]
)
def test_one_is_never_sent_to_another_site(path: str) -> None:
    assert _local(path) == "/"


def test_a_path_of_the_application_is_kept() -> None:
    assert _local("/reports?year=2026") == "/reports?year=2026"
