"""Limits as a client meets them: each refusal has its code, the limit, and the setting that says so."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import Server, serving, settled, upload
from tests.e2e.pdf import make_pdf

SETTINGS = {
    "RAGECHO_MAX_FILE_BYTES": "3000000",
    "RAGECHO_MAX_FILES_PER_UPLOAD": "3",
    "RAGECHO_MAX_PAGES": "2",
    "RAGECHO_MAX_CHARACTERS": "2000000",
    "RAGECHO_MAX_ARCHIVE_FILES": "3",
    "RAGECHO_MAX_ARCHIVE_DEPTH": "1",
    "RAGECHO_MAX_ARCHIVE_RATIO": "20",
    "RAGECHO_MAX_UNPACKED_BYTES": str(1024**2),
    "RAGECHO_MAX_OPEN_UPLOADS": "1",
    "RAGECHO_MAX_WORKSPACE_DOCUMENTS": "40",
    "RAGECHO_MAX_WORKSPACE_BYTES": "50000000",
}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("narrow"), **SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def guest(narrow: Server) -> Iterator[httpx.Client]:
    with narrow.client(narrow.key()) as client:
        yield client


def send(client: httpx.Client, *files: tuple[str, bytes]) -> httpx.Response:
    return client.post("/api/v1/documents", files=[("files", one) for one in files])


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return out.getvalue()


def failure_of(client: httpx.Client, name: str, content: bytes) -> dict[str, Any]:
    """Return why a document failed, as it says itself; its job says the same."""
    (one,) = upload(client, (name, content))
    document = settled(client, one["id"])
    assert document["status"] == "failed", document
    job = client.get(f"/api/v1/jobs/{one['job_id']}").json()
    assert (job["status"], job["error"]) == ("failed", document["error"])
    assert isinstance(document["error"], dict)
    return document["error"]


def test_a_file_that_is_too_large_is_refused(guest: httpx.Client) -> None:
    refused = send(guest, ("small.txt", b"a"), ("large.txt", b"x" * 3_000_001))
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (413, "too_large")
    assert (problem["max_bytes"], problem["filename"]) == (3_000_000, "large.txt")
    assert problem["setting"] == "RAGECHO_MAX_FILE_BYTES"
    begun = guest.post("/api/v1/uploads", headers={"Upload-Length": "3000001"})
    assert (begun.status_code, begun.json()["setting"]) == (413, "RAGECHO_MAX_FILE_BYTES")


def test_too_many_files_in_a_request_are_refused(guest: httpx.Client) -> None:
    refused = send(guest, *((f"{n}.txt", b"a") for n in range(4)))
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["max_files"]) == (422, "invalid_input", 3)
    assert problem["setting"] == "RAGECHO_MAX_FILES_PER_UPLOAD"


def test_too_many_unfinished_uploads_are_refused(guest: httpx.Client) -> None:
    first = guest.post("/api/v1/uploads", headers={"Upload-Length": "10"})
    assert first.status_code == 201
    refused = guest.post("/api/v1/uploads", headers={"Upload-Length": "10"})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.json()["setting"] == "RAGECHO_MAX_OPEN_UPLOADS"
    assert int(refused.headers["Retry-After"]) > 0
    assert guest.delete(first.headers["Location"]).status_code == 204


def test_a_document_with_too_many_pages_fails(guest: httpx.Client) -> None:
    error = failure_of(guest, "long.pdf", make_pdf("One page.", "Two pages.", "Three pages."))
    assert (error["code"], error["limit"], error["setting"]) == ("too_many_pages", 2, "RAGECHO_MAX_PAGES")


def test_a_document_with_too_many_characters_fails(guest: httpx.Client) -> None:
    error = failure_of(guest, "long.txt", b"words " * 340_000)
    assert (error["code"], error["limit"], error["setting"]) == ("too_long", 2_000_000, "RAGECHO_MAX_CHARACTERS")


def test_an_archive_with_too_many_files_fails(guest: httpx.Client) -> None:
    error = failure_of(guest, "many.zip", archive(**{f"{n}.txt": b"words" for n in range(4)}))
    assert (error["code"], error["limit"], error["setting"]) == ("too_many_members", 3, "RAGECHO_MAX_ARCHIVE_FILES")


def test_archives_too_deep_in_each_other_fail(guest: httpx.Client) -> None:
    inner = archive(**{"a.txt": b"words"})
    for _ in range(3):
        inner = archive(**{"inner.zip": inner})
    error = failure_of(guest, "deep.zip", inner)
    assert (error["code"], error["limit"], error["setting"]) == ("too_deep", 1, "RAGECHO_MAX_ARCHIVE_DEPTH")


def test_a_file_that_unpacks_to_too_many_times_its_size_fails(guest: httpx.Client) -> None:
    error = failure_of(guest, "bomb.zip", archive(**{"zeros.txt": b"0" * (1024**2 + 100)}))
    assert (error["code"], error["limit"], error["setting"]) == ("archive_ratio", 20, "RAGECHO_MAX_ARCHIVE_RATIO")


def test_an_archive_that_unpacks_to_too_much_fails(guest: httpx.Client) -> None:
    # Within the ratio of each file, and too much together.
    part = b"".join(b"%d " % n for n in range(1_000)) * 95
    error = failure_of(guest, "large.zip", archive(**{f"{n}.txt": part for n in range(3)}))
    assert (error["code"], error["setting"]) == ("archive_too_large", "RAGECHO_MAX_UNPACKED_BYTES")


def test_a_full_workspace_refuses_the_whole_request(narrow: Server) -> None:
    narrow.ragecho("admin", "workspace", "create", "full")
    with narrow.client(narrow.key("full", "read,write,admin")) as client:
        rules = {"retention_days": None, "max_documents": 2, "max_bytes": None}
        assert client.put("/api/v1/admin/document-rules", json=rules).status_code == 200
        refused = send(client, *((f"{n}.txt", str(n).encode()) for n in range(3)))
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (422, "workspace_full")
        assert (problem["max_documents"], problem["documents"]) == (2, 0)
        assert problem["setting"] == "PUT /api/v1/admin/document-rules"
        assert client.get("/api/v1/documents").json()["total"] == 0
        rules |= {"max_documents": None, "max_bytes": 10}
        client.put("/api/v1/admin/document-rules", json=rules)
        problem = send(client, ("a.txt", b"x" * 11)).json()
        assert (problem["code"], problem["max_bytes"]) == ("workspace_full", 10)


def test_an_installations_limit_of_documents_names_its_setting(narrow: Server) -> None:
    narrow.ragecho("admin", "workspace", "create", "crowded")
    with narrow.client(narrow.key("crowded")) as client:
        for first in range(0, 39, 3):
            files = [(f"{n}.txt", f"Berth {n}.".encode()) for n in range(first, first + 3)]
            assert send(client, *files).status_code == 202
        problem = send(client, ("a.txt", b"one"), ("b.txt", b"two")).json()
        assert (problem["code"], problem["max_documents"]) == ("workspace_full", 40)
        assert problem["setting"] == "RAGECHO_MAX_WORKSPACE_DOCUMENTS"
