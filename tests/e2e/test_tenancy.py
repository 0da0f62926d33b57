"""Another tenant's key sees nothing, by any route: the matrix is made from the OpenAPI document."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from tests.e2e.conftest import Server, settled, upload

SECRET = "The vault combination is nineteen heron forty."
PUBLIC = {"/health", "/health/ready", "/metrics", "/docs", "/openapi.json", "/"}


@pytest.fixture(scope="module")
def theirs(server: Server) -> Iterator[dict[str, str]]:
    """A workspace with a document, a job and an answer, and what leads to them."""
    server.ragecho("admin", "workspace", "create", "theirs")
    key = server.key("theirs", "read,write,admin")
    with server.client(key) as client:
        (one,) = upload(client, ("vault.txt", SECRET.encode()), tags="vault")
        settled(client, one["id"])
        answer = client.post("/api/v1/ask", json={"question": "What is the vault combination?"}).json()
        assert answer["refused"] is False
        keys = client.get("/api/v1/api-keys").json()["items"]
        yield {
            "key": key,
            "document_id": str(one["id"]),
            "job_id": str(one["job_id"]),
            "answer_id": answer["id"],
            "key_id": keys[0]["id"],
            "workspace": "theirs",
            "page": "1",
        }


def operations(client: httpx.Client) -> list[tuple[str, str]]:
    paths = client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods if path not in PUBLIC]


def call(client: httpx.Client, method: str, path: str, ids: dict[str, str], **headers: str) -> httpx.Response:
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, f"the matrix does not know how to fill {path}"
    options: dict[str, object] = {}
    if path.endswith("/content") and method == "PUT":
        options["files"] = {"file": ("x.txt", b"overwritten")}
    elif path == "/api/v1/documents" and method == "POST":
        options["files"] = {"files": ("mine.txt", uuid4().bytes.hex().encode())}
    elif path.endswith("/api-keys"):
        options["json"] = {"name": "n", "scopes": ["read"]}
    elif path.endswith("/workspaces"):
        options["json"] = {"slug": "s"}
    elif "search" in path:
        options["json"] = {"query": "vault combination heron"}
    elif method in ("POST", "PATCH"):
        options["json"] = {"question": "What is the vault combination?"} if method == "POST" else {"title": "mine"}
    return client.request(method, path, headers=headers, **options)  # type: ignore[arg-type]  # one dictionary of options


def test_every_route_refuses_a_caller_without_credentials(server: Server, theirs: dict[str, str]) -> None:
    with server.client() as nobody:
        for method, path in operations(nobody):
            answer = call(nobody, method, path, theirs)
            assert answer.status_code == 401, (method, path, answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert SECRET not in answer.text


def test_no_route_shows_another_tenants_objects(server: Server, key: str, theirs: dict[str, str]) -> None:
    mine = server.key(scopes="read,write,admin")
    with server.client(mine) as client:
        tried = 0
        for method, path in operations(client):
            answer = call(client, method, path, theirs)
            assert "nineteen heron forty" not in answer.text, (method, path)
            if "{" not in path:
                assert not [name for name, value in theirs.items() if name.endswith("_id") and value in answer.text], (
                    path
                )
                continue
            tried += 1
            assert answer.status_code == 404, (method, path, answer.status_code, answer.text)
        assert tried >= 12
        assert client.get("/api/v1/documents", headers={"X-Workspace-ID": "theirs"}).status_code == 404
    with server.client(theirs["key"]) as owner:
        assert owner.get(f"/api/v1/documents/{theirs['document_id']}/text").text == SECRET


def test_a_key_does_what_its_scopes_say_and_nothing_more(server: Server, theirs: dict[str, str]) -> None:
    reader, writer = server.key(scopes="read"), server.key(scopes="write")
    with server.client(reader) as client:
        assert client.get("/api/v1/documents").status_code == 200
        assert client.post("/api/v1/documents", files={"files": ("a.txt", b"a")}).status_code == 403
        assert client.delete(f"/api/v1/documents/{theirs['document_id']}").status_code == 403
        assert client.get("/api/v1/api-keys").status_code == 403
    with server.client(writer) as client:
        assert client.get("/api/v1/documents").status_code == 403
        assert client.post("/api/v1/search", json={"query": "x"}).status_code == 403
        assert client.post("/api/v1/ask", json={"question": "x"}).status_code == 403


def test_a_revoked_key_fails_on_its_next_request(server: Server) -> None:
    admin = server.key(scopes="read,admin")
    with server.client(admin) as client:
        made = client.post("/api/v1/api-keys", json={"name": "short", "scopes": ["read"]}).json()
        with server.client(made["key"]) as short:
            assert short.get("/api/v1/documents").status_code == 200
            assert (
                short.get("/api/v1/documents", headers={"Authorization": "", "X-API-Key": made["key"]}).status_code
                == 200
            )
            assert client.delete(f"/api/v1/api-keys/{made['id']}").status_code == 204
            assert short.get("/api/v1/documents").status_code == 401


@pytest.mark.parametrize(
    "token", ["echo_abcdefgh_" + "A" * 43, "echo_", "Bearer", "x" * 9000, "eyJhbGciOiJub25lIn0.e30.", "\x7f"]
)
def test_a_made_up_token_is_refused(server: Server, token: str) -> None:
    with server.client() as client:
        answer = client.get("/api/v1/documents", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code in (400, 401, 431), answer.text
