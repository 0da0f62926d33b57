"""Uploads as a user meets them: the client, the command line and the worker together."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import Server, eventually, settled, upload

from ragecho_sdk import Batch, Echo, Job, client


def test_a_large_file_goes_in_pieces_with_its_progress(
    server: Server, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(client, "LARGE_BYTES", 1000)
    monkeypatch.setattr("ragecho_sdk.large.PIECE_BYTES", 700)
    path = tmp_path / "harbour.txt"
    path.write_text("The dredger works the northern basin at low tide. " * 60)
    told: list[int] = []
    with Echo(server.url, api_key=key) as echo:
        large, small = echo.upload(
            path, ("note.txt", b"The dredger is called Heron."), tags=["pieces"], on_progress=told.append
        )
        documents = echo.wait_until_ready([str(large.id), str(small.id)])
        content = echo.documents.content(str(large.id))
        versions = echo.documents.versions(str(large.id))
    assert [one.status for one in documents] == ["ready", "ready"]
    assert documents[0].tags == ("pieces",)
    assert documents[0].language == "en"
    assert content == path.read_bytes()
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size
    assert [one.is_current for one in versions] == [True]


def test_an_upload_is_followed_live_to_its_end(client: httpx.Client) -> None:
    accepted = client.post(
        "/api/v1/documents",
        files=[("files", (f"pilot{n}.txt", f"Pilot {n} boards at buoy {n}.".encode())) for n in range(3)],
    ).json()
    with client.stream("GET", "/api/v1/jobs/stream", params={"batch": accepted["batch"]}) as stream:
        lines = [line for line in stream.iter_lines() if line]
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events[-1] == "done"
    shown = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    last = {one["id"]: one["status"] for one in shown if "status" in one}
    assert set(last.values()) == {"succeeded"}
    assert shown[-1] == {"complete": True}


def test_the_command_line_lists_a_batch_and_versions(server: Server, key: str, tmp_path: Path) -> None:
    (tmp_path / "lamp.md").write_text("# Lamp\n\nThe lamp on the eastern mole is lit at dusk.")
    environment = {"RAGECHO_API_KEY": key}
    sent = json.loads(server.ragecho("ingest", str(tmp_path), "--priority", "high", "--json", env=environment))
    (document,) = sent["documents"]
    assert document["status"] == "ready"
    versions = json.loads(server.ragecho("documents", "versions", document["id"], "--json", env=environment))
    assert versions["total"] == 1
    jobs = json.loads(server.ragecho("jobs", "ls", "--json", env=environment))["items"]
    (job,) = [one for one in jobs if one["document_id"] == document["id"]]
    assert job["priority"] == "high"
    of_batch = json.loads(server.ragecho("jobs", "ls", "--batch", job["batch"], "--json", env=environment))
    assert of_batch["total"] == 1


def test_the_queue_is_measured(client: httpx.Client) -> None:
    (one,) = upload(client, ("measured.txt", b"The tide gauge is read at noon."))
    settled(client, one["id"])
    metrics = eventually(lambda: client.get("/metrics").text, what="metrics")
    assert "ragecho_queue_oldest_seconds" in str(metrics)


def test_an_upload_is_followed_by_the_client_and_on_the_command_line(
    server: Server, key: str, client: httpx.Client
) -> None:
    files = [("files", (f"sluice{n}.txt", f"Sluice {n} opens at high water.".encode())) for n in range(3)]
    batch = client.post("/api/v1/documents", files=files).json()["batch"]
    with Echo(server.url, api_key=key) as echo:
        told = list(echo.jobs.follow(batch=batch))
    ended = {one.id: one.status for one in told if isinstance(one, Job)}
    assert list(ended.values()) == ["succeeded"] * 3
    assert isinstance(told[-1], Batch)
    assert told[-1].statuses == {"succeeded": 3}
    shown = server.ragecho("jobs", "follow", batch, "--json", env={"RAGECHO_API_KEY": key})
    assert '"succeeded"' in shown


def test_a_failed_job_is_listed_explained_retried_and_discarded(server: Server, key: str, client: httpx.Client) -> None:
    """On the command line, by the client and over HTTP alike."""
    (bad,) = upload(client, ("broken.pdf", b"%PDF-1.7\nThe mooring rope is torn."))
    assert settled(client, bad["id"])["status"] == "failed"
    environment = {"RAGECHO_API_KEY": key}
    listed = json.loads(server.ragecho("jobs", "ls", "--status", "failed", "--json", env=environment))["items"]
    (job,) = [one for one in listed if one["document_id"] == bad["id"]]
    shown = server.ragecho("jobs", "show", job["id"], env=environment)
    assert job["error"]["code"] in shown
    assert json.loads(server.ragecho("jobs", "retry", job["id"], "--json", env=environment))["status"] == "queued"
    eventually(lambda: client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "failed", what="the second end")
    with Echo(server.url, api_key=server.key("default", "read,write,admin")) as echo:
        again = echo.jobs.get(job["id"])
        assert again.error is not None
        assert again.error.code == job["error"]["code"]
        assert echo.jobs.retry_dead() == 0
        assert not list(echo.jobs.dead())
        echo.jobs.discard(job["id"])
    assert client.get(f"/api/v1/jobs/{job['id']}").status_code == 404
    assert client.get(f"/api/v1/documents/{bad['id']}").json()["status"] == "failed"


def test_of_a_deleted_document_nothing_is_left(server: Server, client: httpx.Client) -> None:
    content = b"The harbour master's parrot speaks seven languages."
    (one,) = upload(client, ("parrot.txt", content))
    assert settled(client, one["id"])["status"] == "ready"
    digest = str(client.get(f"/api/v1/documents/{one['id']}").json()["sha256"])
    blobs = server.data_dir / "blobs"
    assert [path for path in blobs.rglob("*") if path.name == digest or digest in str(path)]
    assert client.delete(f"/api/v1/documents/{one['id']}").status_code == 204
    assert not [path for path in blobs.rglob("*") if path.is_file() and digest in str(path)]
    path = f"/api/v1/documents/{one['id']}"
    gone = [path, f"{path}/chunks", f"{path}/content", f"{path}/versions", f"/api/v1/jobs/{one['job_id']}"]
    assert {client.get(where).status_code for where in gone} == {404}
    found = client.post("/api/v1/search", json={"query": "parrot", "k": 50}).json()["results"]
    assert one["id"] not in {hit["document_id"] for hit in found}
    # The same bytes are a new document: nothing remembers the old one.
    (again,) = upload(client, ("parrot.txt", content))
    assert again["duplicate_of"] is None
    assert settled(client, again["id"])["status"] == "ready"
    server.ragecho("index", "check", "--json")


def test_a_locked_file_is_opened_again_for_its_pictures_and_to_be_read_anew(client: httpx.Client) -> None:
    locked = (Path(__file__).parents[1] / "documents" / "locked.pdf").read_bytes()

    def sent(password: str) -> dict[str, Any]:
        files = [("files", ("locked.pdf", locked))]
        answer = client.post("/api/v1/documents", files=files, data={"password": password, "access": "private"})
        (accepted,) = answer.json()["documents"]
        return settled(client, accepted["id"])

    refused = sent("wrong")
    assert (refused["status"], refused["error"]["code"]) == ("failed", "encrypted")
    client.delete(f"/api/v1/documents/{refused['id']}").raise_for_status()
    opened = sent("käse")
    assert (opened["status"], opened["title"]) == ("ready", "Report 2024")
    picture = client.get(f"/api/v1/documents/{opened['id']}/pages/2.png")
    assert (picture.status_code, picture.content[:4]) == (200, b"\x89PNG")
    assert "sealed" not in json.dumps(client.get(f"/api/v1/documents/{opened['id']}/versions").json())
    again = client.post(f"/api/v1/documents/{opened['id']}/reindex")
    assert again.status_code == 202, again.text
    assert settled(client, opened["id"])["status"] == "ready"
    client.delete(f"/api/v1/documents/{opened['id']}").raise_for_status()
