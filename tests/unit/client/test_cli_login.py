"""`ragecho login`, `logout` and `whoami` over real HTTP, against a double of the identity service."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ragecho.cli import logins
from ragecho.cli.device_flow import wait as wait_for
from ragecho.cli.main import run


@dataclass
class Identity:
    """Gives tokens; answers to polling what `polls` says, then the token."""

    url: str = ""
    polls: list[str] = field(default_factory=list)
    issued: int = 0
    live: set[str] = field(default_factory=set)
    revoked: list[str] = field(default_factory=list)
    refreshes: int = 0
    is_refusing_refresh: bool = False
    expires_in: int = 600
    has_identity: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tokens(self) -> Response:
        with self.lock:
            self.issued += 1
            token = f"access-{self.issued}"
            self.live.add(token)
        return JSONResponse(
            {"access_token": token, "refresh_token": f"refresh-{self.issued}", "expires_in": self.expires_in}
        )


def build(double: Identity) -> Starlette:
    async def discovery(_: Request) -> Response:
        if not double.has_identity:
            return JSONResponse({"code": "not_found"}, 404)
        base = f"{double.url}/identity"
        names = ("device_authorization", "token", "revocation")
        return JSONResponse({"issuer": base} | {f"{name}_endpoint": f"{base}/{name}" for name in names})

    async def device(request: Request) -> Response:
        async with request.form() as form:
            assert form["client_id"] == "echo-cli"
            assert "offline_access" in str(form["scope"])
        page = f"{double.url}/identity/device"
        return JSONResponse(
            {
                "device_code": "device-secret",
                "user_code": "BCDF-GHJK",
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code=BCDF-GHJK",
                "expires_in": 60,
                "interval": 0.01,
            }
        )

    async def token(request: Request) -> Response:
        async with request.form() as form:
            if form["grant_type"] == "refresh_token":
                double.refreshes += 1
                if double.is_refusing_refresh:
                    return JSONResponse({"error": "invalid_grant"}, 400)
                return double.tokens()
            assert form["device_code"] == "device-secret"
        if double.polls:
            return JSONResponse({"error": double.polls.pop(0)}, 400)
        return double.tokens()

    async def revocation(request: Request) -> Response:
        async with request.form() as form:
            double.revoked.append(str(form["token"]))
        return Response(status_code=200)

    async def me(request: Request) -> Response:
        if request.headers["authorization"].removeprefix("Bearer ") not in double.live:
            return JSONResponse({"code": "unauthenticated", "detail": "no"}, 401)
        workspace = {"id": "w", "slug": "default", "name": "Default", "role": "admin"}
        return JSONResponse(
            {
                "user": {"id": "u", "email": "ada@example.com", "name": "Ada"},
                "organization": {"id": "o", "name": "Acme", "role": "owner"},
                "workspaces": [workspace],
                "scopes": ["read", "write"],
            }
        )

    return Starlette(
        routes=[
            Route("/identity/.well-known/openid-configuration", discovery),
            Route("/identity/device_authorization", device, methods=["POST"]),
            Route("/identity/token", token, methods=["POST"]),
            Route("/identity/revocation", revocation, methods=["POST"]),
            Route("/auth/me", me),
        ]
    )


@pytest.fixture(scope="module")
def running() -> Iterator[Identity]:
    double = Identity()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    double.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(build(double), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield double
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def identity(running: Identity, monkeypatch, tmp_path) -> Identity:
    vars(running).update(vars(Identity(url=running.url)))
    for name in [name for name in os.environ if name.startswith("RAGECHO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGECHO_SERVER", running.url)
    monkeypatch.setenv("RAGECHO_LOGIN_DIR", str(tmp_path / "config" / "logins"))
    return running


def test_login_shows_the_code_waits_and_stores_the_tokens_for_their_owner_only(identity, capsys, tmp_path):
    identity.polls = ["authorization_pending", "authorization_pending"]
    assert run(["login"]) == 0
    captured = capsys.readouterr()
    assert f"Open {identity.url}/identity/device" in captured.err
    assert "BCDF-GHJK" in captured.err
    assert captured.out == f"Signed in to {identity.url} as ada@example.com.\n"
    (file,) = (tmp_path / "config" / "logins").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
    stored = json.loads(file.read_text())
    assert (stored["access_token"], stored["refresh_token"]) == ("access-1", "refresh-1")
    assert "access-1" not in captured.out + captured.err


def test_whoami_and_logout(identity, capsys):
    run(["login"])
    capsys.readouterr()
    assert run(["whoami"]) == 0
    shown = capsys.readouterr().out
    assert "ada@example.com" in shown
    assert "Acme (owner)" in shown
    assert "default (admin)" in shown
    assert run(["logout"]) == 0
    assert identity.revoked == ["refresh-1"]
    assert logins.load(identity.url) is None
    assert run(["logout"]) == 0
    assert "Nobody is signed in" in capsys.readouterr().err


def test_without_a_sign_in_the_line_names_both_ways(identity, capsys):
    assert run(["whoami"]) == 1
    line = capsys.readouterr().err
    assert "ragecho login" in line
    assert "RAGECHO_API_KEY" in line


def test_a_second_login_ends_the_first(identity):
    run(["login"])
    run(["login"])
    assert identity.revoked == ["refresh-1"]
    assert logins.load(identity.url).refresh_token == "refresh-2"


def test_an_access_token_that_ended_is_renewed(identity, capsys):
    identity.expires_in = 5
    run(["login"])
    assert run(["whoami"]) == 0
    assert identity.refreshes >= 1
    assert logins.load(identity.url).access_token == f"access-{identity.issued}"


def test_a_token_that_the_server_refuses_is_renewed_once(identity, capsys):
    run(["login"])
    identity.live.clear()
    assert run(["whoami"]) == 0
    assert identity.refreshes == 1


def test_commands_that_run_at_once_renew_once(identity):
    run(["login"])
    login = logins.load(identity.url)
    identity.live.clear()

    def ask(_: int) -> int:
        with httpx.Client(base_url=identity.url, auth=logins.StoredLogin(login)) as http:
            return http.get("/auth/me").status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [200] * 8
    assert identity.refreshes == 1


def test_a_sign_in_that_was_ended_elsewhere_says_so_and_is_forgotten(identity, capsys):
    run(["login"])
    identity.live.clear()
    identity.is_refusing_refresh = True
    assert run(["whoami"]) == 1
    assert "sign in again with `ragecho login`" in capsys.readouterr().err
    assert logins.load(identity.url) is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("access_denied", "refused in the browser"),
        ("expired_token", "expired. Run `ragecho login` again"),
        ("invalid_client", "ended the sign-in (invalid_client)"),
    ],
)
def test_a_sign_in_that_fails_says_why(identity, capsys, answer, says):
    identity.polls = [answer]
    assert run(["login"]) == 1
    assert says in capsys.readouterr().err


def test_polling_slows_down_when_told_to(identity):
    from ragecho.cli import device_flow

    identity.polls = ["slow_down", "authorization_pending"]
    pauses: list[float] = []
    metadata = device_flow.discover(identity.url)
    wait_for(device_flow.begin(metadata), metadata, identity.url, pause=pauses.append)
    assert pauses == [0.01, 5.01, 5.01]


def test_polling_ends_with_the_code(identity, capsys):
    from ragecho.cli import device_flow
    from ragecho.cli.errors import CliError

    identity.polls = ["authorization_pending"] * 100
    metadata = device_flow.discover(identity.url)
    now = [0.0]
    begun = device_flow.begin(metadata)
    with pytest.raises(CliError, match="expired"):
        wait_for(
            begun, metadata, identity.url, pause=lambda _: now.__setitem__(0, now[0] + 7), monotonic=lambda: now[0]
        )


def test_a_server_without_an_identity_service_says_so(identity, capsys):
    identity.has_identity = False
    assert run(["login"]) == 1
    assert "no identity service" in capsys.readouterr().err


def test_tokens_are_not_sent_over_plain_http_to_other_machines():
    assert logins.is_allowed_address("https://echo.example.com/identity/token")
    assert logins.is_allowed_address("http://127.0.0.1:8000/identity/token")
    assert not logins.is_allowed_address("http://echo.example.com/identity/token")
    assert not logins.is_allowed_address("ftp://127.0.0.1/token")


def test_a_damaged_file_counts_as_none(identity):
    run(["login"])
    logins.path_of(identity.url).write_text("{")
    assert logins.load(identity.url) is None


def test_the_tokens_are_not_in_the_login_s_repr():
    login = logins.Login("s", "i", "t", None, "secret-a", "secret-r", time.time())
    assert "secret" not in repr(login)
