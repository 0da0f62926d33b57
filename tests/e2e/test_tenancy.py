"""Another tenant's key sees nothing, by any route: the matrix is made from the OpenAPI document."""

from collections.abc import Iterator

import httpx
import pytest
from tests.e2e.conftest import Server, settled, upload
from tests.openapi_requests import Operation, operations_of

from ragecho.kernel.authorization import RULES

SECRET = "The vault combination is nineteen heron forty."
OF_WORKSPACE = {"workspace", "document_id", "job_id", "answer_id", "key_id"}
OF_ORGANIZATION = {permission for permission, rule in RULES.items() if rule.organization_role is not None}


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


def operations(client: httpx.Client) -> list[Operation]:
    found = [one for one in operations_of(client.get("/openapi.json").json()) if not one.is_public]
    assert len(found) > 40
    return found


def test_every_route_refuses_a_caller_without_credentials(server: Server, theirs: dict[str, str]) -> None:
    with server.client() as nobody:
        for operation in operations(nobody):
            method, address, options = operation.request(theirs)
            answer = nobody.request(method, address, **options)
            assert answer.status_code == 401, (operation.name, answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert SECRET not in answer.text


def test_no_route_shows_another_workspaces_objects(server: Server, theirs: dict[str, str]) -> None:
    """The other workspace is of the same organisation; other organisations are tests/db/test_permissions_matrix.py's."""
    # A key from the command line acts in the whole organisation; this one in its workspace only.
    with server.client(server.key(scopes="read,write,admin")) as operator:
        made = operator.post(
            "/api/v1/api-keys", json={"name": "mine", "scopes": ["read", "write", "admin"], "workspace_only": True}
        )
        assert made.status_code == 201, made.text
    with server.client(made.json()["key"]) as client:
        tried = 0
        for operation in operations(client):
            names = {part["name"] for part in operation.schema.get("parameters", []) if part["in"] == "path"}
            method, address, options = operation.request(theirs)
            answer = client.request(method, address, **options)
            assert answer.status_code < 500, (operation.name, answer.text)
            assert "nineteen heron forty" not in answer.text, operation.name
            if names & OF_WORKSPACE:
                tried += 1
                # 403: the act is the organisation's, and this key may not do it to any workspace.
                allowed = {403, 404} if operation.permission in OF_ORGANIZATION else {404}
                assert answer.status_code in allowed, (operation.name, answer.status_code, answer.text)
            elif not names:
                shown = [name for name in theirs if name.endswith("_id") and theirs[name] in answer.text]
                assert not shown, operation.name
        assert tried >= 20
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
