"""An organisation administered from outside: real server, real HTTP, the command line and the client."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import Server, eventually, settled, upload

from ragecho_sdk import Echo, EchoConflictError


@pytest.fixture(scope="module")
def admin_key(server: Server) -> str:
    return server.key(scopes="read,write,admin")


@pytest.fixture
def admin(server: Server, admin_key: str) -> Iterator[httpx.Client]:
    with server.client(admin_key) as client:
        yield client


@pytest.fixture
def cli(server: Server, admin_key: str) -> Any:
    def run(*arguments: str) -> Any:
        printed = server.ragecho(*arguments, "--json", env={"RAGECHO_API_KEY": admin_key})
        return json.loads(printed)

    return run


def create(admin: httpx.Client, slug: str) -> dict[str, Any]:
    made = admin.post("/api/v1/workspaces", json={"slug": slug})
    assert made.status_code == 201, made.text
    return dict(made.json())


def test_an_administrators_key_creates_workspaces_and_reads_only_its_own(server: Server, admin: httpx.Client) -> None:
    made = create(admin, "adm-new")
    assert made["status"] == "active"
    seen = {one["slug"] for one in admin.get("/api/v1/workspaces?limit=200").json()["items"]}
    assert {"adm-new", "default"} <= seen
    # It administers every workspace; documents it reads in its own alone.
    assert admin.get("/api/v1/documents", headers={"X-Workspace-ID": "adm-new"}).status_code == 404
    with server.client(server.key(scopes="read,write")) as plain:
        assert plain.post("/api/v1/workspaces", json={"slug": "mine"}).status_code == 403
        assert [one["slug"] for one in plain.get("/api/v1/workspaces").json()["items"]] == ["default"]


def test_a_key_made_for_one_workspace_does_not_administer_the_organisation(server: Server) -> None:
    made = server.ragecho(
        "admin", "api-key", "create", "--workspace", "default", "--scopes", "read,admin", "--workspace-only", "--json"
    )
    with server.client(json.loads(made)["key"]) as bound:
        assert bound.get("/api/v1/api-keys").status_code == 200
        for path in ("/api/v1/users", "/api/v1/groups", "/api/v1/invitations", "/api/v1/admin/audit-logs"):
            assert bound.get(path).status_code == 403, path
        assert bound.post("/api/v1/workspaces", json={"slug": "no"}).status_code == 403


def test_an_archived_workspace_answers_and_refuses_every_write(server: Server, admin: httpx.Client) -> None:
    create(admin, "adm-archive")
    with server.client(server.key("adm-archive", "read,write,admin")) as inside:
        (document,) = upload(inside, ("tea.txt", b"Tea is served in the east wing at four o'clock."))
        settled(inside, document["id"])
        archived = admin.post("/api/v1/workspaces/adm-archive/archive", json={"reason": "project over"})
        assert archived.json()["status"] == "archived"

        answer = inside.post("/api/v1/ask", json={"question": "When is tea served?"})
        assert answer.status_code == 200
        assert "four" in answer.json()["answer"]
        assert inside.get(f"/api/v1/documents/{document['id']}/text").status_code == 200
        for write in (
            inside.post("/api/v1/documents", files=[("files", ("x.txt", b"more"))]),
            inside.patch(f"/api/v1/documents/{document['id']}", json={"title": "no"}),
            inside.delete(f"/api/v1/documents/{document['id']}"),
            inside.post(f"/api/v1/documents/{document['id']}/reindex"),
            inside.patch("/api/v1/workspaces/adm-archive", json={"name": "no"}),
        ):
            assert (write.status_code, write.json()["code"]) == (409, "workspace_archived"), write.text
        restored = admin.post("/api/v1/workspaces/adm-archive/restore")
        assert restored.json()["status"] == "active"
        (more,) = upload(inside, ("cake.txt", b"Cake is served on Fridays."))
        assert settled(inside, more["id"])["status"] == "ready"


def test_work_that_an_archive_interrupts_is_done_after_the_restore(server: Server, admin: httpx.Client) -> None:
    create(admin, "adm-jobs")
    with server.client(server.key("adm-jobs")) as inside:
        documents = upload(inside, *((f"{n}.txt", f"Room {n} has {n} chairs.".encode() * 50) for n in range(8)))
        assert admin.post("/api/v1/workspaces/adm-jobs/archive").status_code == 200

        def nothing_runs() -> bool:
            jobs = inside.get("/api/v1/jobs").json()["items"]
            return all(job["status"] in ("queued", "succeeded") for job in jobs)

        eventually(nothing_runs, what="jobs at rest")
        assert admin.post("/api/v1/workspaces/adm-jobs/restore").status_code == 200
        for document in documents:
            assert settled(inside, document["id"])["status"] == "ready"


def test_many_workspaces_are_changed_by_a_filter_and_the_log_says_so(admin: httpx.Client) -> None:
    for number in range(3):
        create(admin, f"adm-bulk-{number}")
    seen = admin.get("/api/v1/workspaces/bulk/preview?q=adm-bulk&sample_limit=2").json()
    assert (seen["total"], len(seen["sample"])) == (3, 2)
    body = {"q": "adm-bulk", "expected_total": 2, "confirm": True, "reason": "spring cleaning"}
    unconfirmed = admin.post("/api/v1/workspaces/bulk/archive-matching", json=body | {"confirm": False})
    assert unconfirmed.status_code == 422
    changed = admin.post("/api/v1/workspaces/bulk/archive-matching", json=body)
    assert (changed.status_code, changed.json()["code"], changed.json()["total"]) == (409, "selection_changed", 3)
    done = admin.post(
        "/api/v1/workspaces/bulk/archive-matching",
        json=body | {"expected_total": 3},
        headers={"X-Request-ID": "spring-1"},
    ).json()
    assert (done["done"], done["unchanged"], done["not_found"]) == (3, 0, 0)
    log = admin.get("/api/v1/workspaces/audit-logs?request_id=spring-1&action=workspace.archived").json()
    assert log["total"] == 3
    assert {line["reason"] for line in log["items"]} == {"spring cleaning"}
    assert all(line["ip"] == "127.0.0.1" and line["actor_kind"] == "api_key" for line in log["items"])
    ids = [item["id"] for item in done["items"]]
    again = admin.post("/api/v1/workspaces/bulk/restore", json={"ids": [*ids, "01900000-0000-7000-8000-00000000ffff"]})
    assert [item["result"] for item in again.json()["items"]] == ["done", "done", "done", "not_found"]
    too_many = admin.post("/api/v1/workspaces/bulk/archive", json={"ids": ids * 200})
    assert too_many.json()["unchanged"] + too_many.json()["done"] == 3  # the same id again is the same workspace


def test_an_archived_workspace_is_deleted_with_its_files(server: Server, admin: httpx.Client) -> None:
    made = create(admin, "adm-delete")
    with server.client(server.key("adm-delete")) as inside:
        (document,) = upload(inside, ("gone.txt", b"This will be gone."))
        settled(inside, document["id"])
    kept = [path for path in (server.data_dir / "blobs").rglob("*") if made["id"] in str(path) and path.is_file()]
    assert kept
    refused = admin.delete("/api/v1/workspaces/adm-delete?confirm=adm-delete")
    assert refused.status_code == 409
    admin.post("/api/v1/workspaces/adm-delete/archive")
    assert admin.delete("/api/v1/workspaces/adm-delete?confirm=other").status_code == 422
    assert admin.delete("/api/v1/workspaces/adm-delete?confirm=adm-delete").status_code == 204
    assert admin.get("/api/v1/workspaces/adm-delete").status_code == 404
    assert [path for path in kept if path.exists()] == []


def test_the_command_line_administers_the_same(cli: Any, server: Server, admin_key: str) -> None:
    made = cli("workspaces", "create", "adm-cli", "--name", "By hand")
    assert made["slug"] == "adm-cli"
    assert cli("workspaces", "rename", "adm-cli", "--description", "A place")["description"] == "A place"
    assert cli("workspaces", "archive", "adm-cli", "--reason", "done")["done"] == 1
    assert cli("workspaces", "ls", "--status", "archived", "-q", "adm-cli")["total"] == 1
    assert cli("workspaces", "restore", "--matching", "adm-cli", "--yes")["done"] == 1
    log = cli("workspaces", "log", "--workspace", "adm-cli")
    assert [line["action"] for line in log["items"]] == [
        "workspace.restored",
        "workspace.archived",
        "workspace.changed",
        "workspace.created",
    ]
    group = cli("groups", "create", "Board")
    assert cli("groups", "members", group["id"])["items"] == []
    invited = cli("invitations", "create", "ada@north.example", "--workspace", "adm-cli=editor", "--no-mail")
    page = httpx.get(invited["accept_url"], headers={"Accept-Language": "en"})
    assert page.status_code == 200
    assert "ada@north.example" in page.text
    assert cli("invitations", "ls", "--status", "pending", "-q", "ada@")["total"] == 1
    again = cli("invitations", "resend", invited["id"], "--no-mail")
    assert httpx.get(invited["accept_url"]).status_code != 200
    assert httpx.get(again["accept_url"]).status_code == 200
    account = cli("service-accounts", "create", "robot", "--workspace", "default", "--role", "reader")
    key = cli("keys", "create", "--scopes", "read", "--service-account", account["id"])
    with server.client(key["key"]) as robot:
        assert robot.get("/api/v1/documents").status_code == 200
        rotated = cli("keys", "rotate", key["id"])
        assert robot.get("/api/v1/documents").status_code == 401
    with server.client(rotated["key"]) as robot:
        assert cli("service-accounts", "change", account["id"], "--disable")["disabled"] is True
        assert robot.get("/api/v1/documents").status_code == 401
    organization = cli("organizations", "ls")["items"][0]
    assert organization["name"]
    for need, is_required in (("required", True), ("optional", False)):
        changed = cli("organizations", "set-second-factor", organization["id"], need)
        assert changed["require_second_factor"] is is_required
    assert cli("organizations", "ls")["items"][0] == organization
    actions = {line["action"] for line in cli("organizations", "log", "--limit", "200")["items"]}
    assert {"group.created", "invitation.created", "service_account.changed", "api_key.rotated"} <= actions


def test_the_client_knows_people_and_workspaces(server: Server, admin_key: str) -> None:
    with Echo(server.url, api_key=admin_key) as echo:
        made = echo.workspaces.create("adm-sdk", description="By the client")
        assert echo.workspaces.archive(made.slug, reason="so").archived_at is not None
        with pytest.raises(EchoConflictError) as refused:
            echo.workspaces.update(made.slug, name="no")
        assert refused.value.code == "workspace_archived"
        assert echo.workspaces.restore_many([made.id]).done == 1
        assert echo.workspaces.preview(q="adm-sdk").sample[0].id == made.id
        assert echo.members.list().total >= 0
        key = echo.keys.create(["read"], name="short")
        assert key.key is not None
        assert key.key not in repr(key)
        echo.keys.revoke(key.id)
        assert echo.audit.list(action="api_key.revoked", target_id=key.id).total == 1
