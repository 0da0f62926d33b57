"""From nothing to a protected API, as docs/how-to/protect-a-fastapi-service.md says, and the same guard elsewhere."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.docs.documented import Reader, blocks_of
from tests.e2e.conftest import Server, clean_environment
from tests.e2e.identity_driver import Browser, make_people

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
EXAMPLES = ROOT / "docs" / "examples-identity"
NODE_MODULES = ROOT / "tests" / "conformance" / "node_modules"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def newcomer(server: Server, tmp_path: Path) -> Iterator[Reader]:
    """Someone in an empty folder with our documentation, beside the running server."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    port = free_port()
    environment = clean_environment(server.data_dir) | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAGECHO_SERVER": server.url,
        "RAGECHO_PORT": server.url.rpartition(":")[2],
        "REAL_PORT": str(port),
    }
    reader = Reader(tmp_path, tmp_path / "state", environment, [(re.compile(r"\b8001\b"), str(port))])
    yield reader
    reader.stop()


def variables(path: Path) -> dict[str, str]:
    """Return what the command wrote."""
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}


def token_of(made: dict[str, str], scope: str = "", resource: str = "") -> str:
    answer = asked(made, scope, resource)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def asked(made: dict[str, str], scope: str = "", resource: str = "") -> httpx.Response:
    return httpx.post(
        f"{made['ECHO_ISSUER']}/token",
        data={"grant_type": "client_credentials"}
        | ({"scope": scope} if scope else {})
        | ({"resource": resource} if resource else {}),
        auth=(made["ECHO_CLIENT_ID"], made["ECHO_CLIENT_SECRET"]),
    )


def test_the_guide_is_three_commands_and_they_work(newcomer: Reader) -> None:
    newcomer.follow(HOW_TO / "protect-a-fastapi-service.md")
    page = HOW_TO / "protect-a-fastapi-service.md"
    assert [len(block.text.splitlines()) for block in blocks_of(page)[:2]] == [1, 1]  # after `make serve`
    lines = (EXAMPLES / "fastapi" / "app.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 20
    assert (newcomer.folder / ".env.reports").stat().st_mode & 0o077 == 0


def test_the_guides_of_services_work(newcomer: Reader) -> None:
    newcomer.follow(HOW_TO / "call-a-protected-service.md")


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str], says: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    ready = threading.Event()
    said: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if says in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(60)
        assert process.poll() is None, "".join(said)
        yield
    finally:
        process.terminate()
        process.wait(20)
        reader.join(10)
        assert process.stdout is not None
        process.stdout.close()


def make_client(server: Server, folder: Path, name: str, scopes: str, *audiences: str) -> dict[str, str]:
    server.ragecho(
        *["identity", "client", "create", "--name", name, "--service", "--scopes", scopes],
        *[part for audience in audiences for part in ("--audience", audience)],
        *["--env", str(folder / f".env.{name}")],
        env={"RAGECHO_PORT": server.url.rpartition(":")[2]},
    )
    return variables(folder / f".env.{name}")


def is_guarded(server: Server, folder: Path, url: str, made: dict[str, str]) -> None:
    """Check what every framework's guard must do, with real tokens."""
    without = httpx.get(f"{url}/reports")
    assert without.status_code == 401
    assert without.headers["www-authenticate"] == 'Bearer realm="echo"'
    assert made["ECHO_ISSUER"] in without.json()["detail"]
    token = token_of(made)
    allowed = httpx.get(f"{url}/reports", headers={"Authorization": f"Bearer {token}"})
    assert (allowed.status_code, allowed.json()["caller"]) == (200, made["ECHO_CLIENT_ID"])
    with server.client(token) as http:  # what the service was sent opens nothing of Echo's
        assert [http.get(path).status_code for path in ("/auth/me", "/api/v1/documents")] == [401, 401]
    elsewhere = make_client(server, folder, "elsewhere", "documents:read")
    foreign = httpx.get(f"{url}/reports", headers={"Authorization": f"Bearer {token_of(elsewhere)}"})
    assert foreign.status_code == 401
    assert "another audience" in foreign.json()["detail"]
    poor = httpx.post(f"{url}/reports", headers={"Authorization": f"Bearer {token}"})
    assert poor.status_code == 403
    assert 'error="insufficient_scope", ' in poor.headers["www-authenticate"]
    assert 'scope="documents:write"' in poor.headers["www-authenticate"]
    header, claims, _ = token.split(".")
    payload = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(payload | {"scope": "documents:write"}).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
    for bad in (f"{header}.{forged}.{token.split('.')[2]}", f"{none}.{forged}.", "x", token[:-4]):
        answer = httpx.get(f"{url}/reports", headers={"Authorization": f"Bearer {bad}"})
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_fastapi_service_is_guarded(server: Server, tmp_path: Path) -> None:
    port = free_port()
    made = make_client(server, tmp_path, "reports", "documents:read", f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES / "fastapi"), "app:app", "--port", str(port)]
    with running([*command, "--env-file", ".env.reports"], tmp_path, dict(os.environ), "Uvicorn running"):
        is_guarded(server, tmp_path, f"http://127.0.0.1:{port}", made)


def test_a_flask_service_is_guarded(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("flask", reason="Flask is not installed")
    port = free_port()
    made = make_client(server, tmp_path, "reports", "documents:read", f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "flask", "--app", str(EXAMPLES / "flask" / "app.py"), "run", "--port", str(port)]
    with running(command, tmp_path, dict(os.environ) | made, "Running on"):
        is_guarded(server, tmp_path, f"http://127.0.0.1:{port}", made)


def test_a_node_service_is_guarded(server: Server, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "jose").is_dir():
        pytest.skip("Node or the conformance suite's packages are not installed")
    port = free_port()
    made = make_client(server, tmp_path, "reports", "documents:read", f"http://127.0.0.1:{port}")
    shutil.copytree(EXAMPLES / "node", tmp_path / "node")
    (tmp_path / "node" / "node_modules").symlink_to(NODE_MODULES)
    command = [node, "--env-file=../.env.reports", "app.mjs"]
    with running(command, tmp_path / "node", dict(os.environ) | {"PORT": str(port)}, "Reports are at"):
        is_guarded(server, tmp_path, f"http://127.0.0.1:{port}", made)


def test_without_its_settings_a_service_does_not_start_and_says_how_to_get_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import app"],
        cwd=EXAMPLES / "fastapi",
        env={name: value for name, value in os.environ.items() if not name.startswith("ECHO_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ECHO_ISSUER and ECHO_AUDIENCE not set" in done.stderr
    assert "ragecho identity client create" in done.stderr


def test_a_service_gets_tokens_for_the_audiences_it_was_registered_with_and_no_other(
    server: Server, tmp_path: Path
) -> None:
    reports, echo = "https://reports.example/", f"{server.url}/api"
    made = make_client(server, tmp_path, "two", "read", reports, "echo")
    assert made["ECHO_AUDIENCE"] == reports
    with server.client(token_of(made)) as http:
        assert http.get("/auth/me").status_code == 401, "the first is the default"
    with server.client(token_of(made, resource=reports)) as http:
        assert http.get("/auth/me").status_code == 401
    with server.client(token_of(made, resource=echo)) as http:
        assert http.get("/auth/me").json()["client_id"] == made["ECHO_CLIENT_ID"]
    alone = make_client(server, tmp_path, "one", "read", reports)
    plain = make_client(server, tmp_path, "none", "read")
    assert plain["ECHO_AUDIENCE"] == echo
    refused = [(alone, echo), (plain, reports), (alone, f"{reports}x"), (alone, "reports"), (alone, f"{reports}#x")]
    for client, resource in [*refused, (alone, f"{alone['ECHO_ISSUER']}/userinfo")]:
        answer = asked(client, resource=resource)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


def test_a_token_ends_with_its_client(server: Server, tmp_path: Path) -> None:
    """The audience is Echo's own API here, which looks at every token's client live."""
    made = make_client(server, tmp_path, "short-lived", "read")
    token = token_of(made)
    with server.client(token) as http:
        assert http.get("/auth/me").json()["client_id"] == made["ECHO_CLIENT_ID"]
        server.ragecho("identity", "client", "rm", made["ECHO_CLIENT_ID"])
        assert http.get("/auth/me").status_code == 401


def test_people_sign_in_to_a_small_application(server: Server, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server.ragecho(
        *["identity", "client", "create", "--name", "reports-web", "--redirect-uri", f"{url}/callback"],
        *["--env", str(tmp_path / ".env")],
        env={"RAGECHO_PORT": server.url.rpartition(":")[2]},
    )
    person = make_people(server)[0]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES / "fastapi-login"), "app:app"]
    command += ["--env-file", ".env", "--port", str(port)]
    with (
        running(command, tmp_path, dict(os.environ), "Uvicorn running"),
        httpx.Client(base_url=url, headers={"Accept": "text/html"}) as app,
    ):
        assert httpx.get(url).status_code == 401
        sent = app.get("/")
        assert (sent.status_code, sent.headers["location"]) == (303, "/login?return_to=%2F")
        begun = app.get(sent.headers["location"]).headers["location"]
        browser = Browser(server)
        browser.answer(browser.visit(begun), person)
        browser.close()
        assert browser.left is not None
        assert browser.left.startswith(f"{url}/callback?")
        forged = httpx.get(browser.left)  # another browser
        assert forged.status_code == 400
        assert app.get(browser.left.replace("state=", "state=x")).status_code == 400
        back = app.get(browser.left)
        assert (back.status_code, back.headers["location"]) == (303, "/")
        assert person.email in app.get("/").text
        assert app.get(browser.left).status_code == 400  # once
        assert app.post("/logout", headers={"Sec-Fetch-Site": "same-site"}).status_code == 403
        out = app.post("/logout", headers={"Sec-Fetch-Site": "same-origin"})
        assert out.headers["location"].startswith(f"{server.url}/identity/logout?id_token_hint=")
        assert app.get("/").status_code == 303
