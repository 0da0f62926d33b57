"""`ragecho identity`: clients made on the command line work at once, and the service runs alone."""

import json
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
from tests.e2e.conftest import Server, clean_environment, eventually

from ragecho.platform.embedded import running_server


def env_of(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def test_a_client_is_made_with_a_working_configuration(server: Server, tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("MINE=1\n")
    told = server.ragecho(
        "identity", "client", "create", "--name", "my-app", "--redirect-uri", "http://localhost:3000/callback",
        "--env", str(env),
    )  # fmt: skip
    found = env_of(env)
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert found["MINE"] == "1"
    assert found["ECHO_CLIENT_SECRET"] not in told
    assert found["ECHO_REDIRECT_URI"] == "http://localhost:3000/callback"
    metadata = httpx.get(f"{found['ECHO_ISSUER']}/.well-known/openid-configuration").json()
    assert metadata["issuer"] == found["ECHO_ISSUER"] == f"{server.url}/identity"
    pushed = httpx.post(
        metadata["pushed_authorization_request_endpoint"],
        auth=(found["ECHO_CLIENT_ID"], found["ECHO_CLIENT_SECRET"]),
        data={
            "response_type": "code",
            "redirect_uri": found["ECHO_REDIRECT_URI"],
            "scope": "openid",
            "code_challenge": "c" * 43,
            "code_challenge_method": "S256",
        },
    )
    assert pushed.status_code == 201, pushed.text


def test_a_service_client_calls_the_api_until_it_is_removed(server: Server) -> None:
    made = json.loads(
        server.ragecho("identity", "client", "create", "--name", "sync", "--service", "--scopes", "read", "--json")
    )

    def token() -> httpx.Response:
        return httpx.post(
            f"{made['issuer']}/token",
            auth=(made["client_id"], made["secret"]),
            data={"grant_type": "client_credentials"},
        )

    with server.client(token().json()["access_token"]) as http:
        assert http.get("/api/v1/documents").status_code == 200
        refused = http.post("/api/v1/documents", files=[("files", ("a.txt", b"x"))])
        assert refused.status_code == 403, refused.text
        listed = json.loads(server.ragecho("identity", "client", "ls", "--json"))
        assert made["client_id"] in {one["client_id"] for one in listed["items"]}
        assert made["secret"] not in json.dumps(listed)
        server.ragecho("identity", "client", "rm", made["client_id"])
        assert http.get("/api/v1/documents").status_code == 401
    eventually(lambda: token().status_code == 401, what="the removal reached the token endpoint")


def test_a_new_secret_ends_the_old_one(server: Server) -> None:
    made = json.loads(
        server.ragecho(
            "identity", "client", "create", "--name", "app", "--redirect-uri", "http://localhost/cb", "--json"
        )
    )
    again = json.loads(server.ragecho("identity", "client", "rotate-secret", made["client_id"], "--json"))
    for secret, status in ((made["secret"], 401), (again["secret"], 400)):
        answer = httpx.post(
            f"{made['issuer']}/token",
            auth=(made["client_id"], secret),
            data={"grant_type": "authorization_code", "code": "x", "redirect_uri": "http://localhost/cb"},
        )
        assert answer.status_code == status, answer.text


def test_the_service_runs_alone(server: Server) -> None:
    running = running_server(server.data_dir)
    assert running is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = clean_environment(server.data_dir) | {
        "RAGECHO_DATABASE_URL": running.app_url,
        "RAGECHO_PUBLIC_URL": server.url,
    }
    alone = subprocess.Popen(
        [sys.executable, "-m", "ragecho", "identity", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        eventually(answers, what="the identity service")
        assert httpx.get(f"{url}/identity/jwks.json").json() == httpx.get(f"{server.url}/identity/jwks.json").json()
        assert httpx.get(f"{url}/identity/login").status_code == 200
        assert httpx.get(f"{url}/api/v1/documents").status_code == 404
    finally:
        alone.terminate()
        alone.wait(30)
