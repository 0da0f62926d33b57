"""Uploads, jobs and lifecycle over HTTP: what a client meets."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.db.app_driver import key_of, running
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document

from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest import resumable
from ragecho.kernel.ids import JobId
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs

pytestmark = pytest.mark.anyio


class Client:
    """An HTTP client with a key of the tenant."""

    def __init__(self, http: httpx.AsyncClient, key: str) -> None:
        self.http, self.headers = http, {"X-API-Key": key}

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = self.headers | options.pop("headers", {})
        return await self.http.request(method, f"/api/v1{path}", headers=headers, **options)

    async def upload(self, *files: tuple[str, bytes], **options: Any) -> httpx.Response:
        return await self.send("POST", "/documents", files=[("files", one) for one in files], **options)


@pytest.fixture
async def client(
    owner_url: str, tmp_path: Path, embedder: FakeEmbedder, database: Database, tenant: Tenant
) -> AsyncIterator[Client]:
    key = await key_of(database, tenant, None)
    async with running(owner_url, tmp_path, embedder) as (_, http):
        yield Client(http, key)


def metadata(**fields: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in fields.items())


async def begin(client: Client, content: bytes, **fields: str) -> str:
    answer = await client.send(
        "POST", "/uploads", headers={"Upload-Length": str(len(content)), "Upload-Metadata": metadata(**fields)}
    )
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"].removeprefix("/api/v1")


async def patch(client: Client, path: str, offset: int, content: bytes) -> httpx.Response:
    headers = {
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
        "Tus-Resumable": "1.0.0",
    }
    return await client.send("PATCH", path, headers=headers, content=content)


async def test_a_repeated_request_with_its_key_is_answered_alike(client: Client) -> None:
    key = {"Idempotency-Key": "upload-1"}
    first = await client.upload(("a.txt", b"one"), headers=key)
    again = await client.upload(("a.txt", b"one"), headers=key)
    other = await client.upload(("a.txt", b"two"), headers=key)
    assert (first.status_code, again.json()) == (202, first.json())
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_an_upload_can_be_followed_as_a_batch_and_cancelled_and_retried(client: Client) -> None:
    accepted = (await client.upload(("a.txt", b"one"), ("b.txt", b"two"), data={"priority": "high"})).json()
    batch = (await client.send("GET", f"/jobs/batches/{accepted['batch']}")).json()
    assert (batch["total"], batch["statuses"], batch["is_over"]) == (2, {"queued": 2}, False)
    listed = (await client.send("GET", "/jobs", params={"batch": accepted["batch"]})).json()
    assert {job["priority"] for job in listed["items"]} == {"high"}
    job = accepted["documents"][0]["job_id"]
    assert (await client.send("POST", f"/jobs/{job}/discard")).status_code == 409
    assert (await client.send("POST", f"/jobs/{job}/cancel")).json()["status"] == "cancelled"
    assert (await client.send("POST", f"/jobs/{job}/retry")).json()["status"] == "queued"


async def test_dead_jobs_are_retried_together_or_discarded(client: Client, database: Database, tenant: Tenant) -> None:
    accepted = (await client.upload(("a.txt", b"one"), ("b.txt", b"two"))).json()["documents"]
    worker = tenant.worker()
    for one in accepted:
        async with database.transaction(worker) as session:
            error = {"code": "crashed", "message": "Its worker died each time."}
            await jobs.finish(session, worker, JobId(one["job_id"]), status="dead", error=error)
    dead = (await client.send("GET", "/jobs/dead")).json()
    assert {job["error"]["code"] for job in dead["items"]} == {"crashed"}
    assert (await client.send("POST", f"/jobs/{accepted[0]['job_id']}/discard")).status_code == 204
    assert (await client.send("GET", f"/jobs/{accepted[0]['job_id']}")).status_code == 404
    assert (await client.send("POST", "/jobs/dead/retry")).json() == {"retried": 1}
    assert (await client.send("GET", "/jobs/dead")).json()["total"] == 0


async def test_a_job_of_an_older_version_does_not_come_back(client: Client) -> None:
    (first,) = (await client.upload(("a.txt", b"one"))).json()["documents"]
    replaced = await client.send("PUT", f"/documents/{first['id']}/content", files={"file": ("a.txt", b"two")})
    assert replaced.status_code == 202
    old = await client.send("POST", f"/jobs/{first['job_id']}/retry")
    assert (old.status_code, old.json()["code"]) == (409, "conflict")
    versions = (await client.send("GET", f"/documents/{first['id']}/versions")).json()
    assert [(one["number"], one["is_current"]) for one in versions["items"]] == [(2, False), (1, False)]


async def test_a_file_arrives_in_pieces_and_becomes_a_document(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "PART_BYTES", 4)
    content = b"The ferry leaves at nine."
    path = await begin(client, content, filename="ferry.txt", tags="a,b", access="internal")
    assert (await patch(client, path, 0, content[:10])).headers["Upload-Offset"] == "10"
    wrong = await patch(client, path, 3, content[3:])
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["offset"]) == (409, "offset_conflict", 10)
    head = await client.send("HEAD", path)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("10", str(len(content)))
    assert (await patch(client, path, 10, content[10:])).status_code == 204
    done = (await client.send("GET", path)).json()
    document = (await client.send("GET", f"/documents/{done['document']['id']}")).json()
    assert (document["filename"], document["tags"], document["access"]) == ("ferry.txt", ["a", "b"], "internal")
    stored = await client.send("GET", f"/documents/{document['id']}/content")
    assert stored.content == content
    # Once more, as after an answer that was lost: the same document.
    assert (await patch(client, path, len(content), b"")).status_code == 204
    assert (await client.send("GET", path)).json()["document"] == done["document"]


async def test_an_upload_in_pieces_is_its_makers_alone_and_can_be_removed(
    client: Client, database: Database, tenant: Tenant
) -> None:
    path = await begin(client, b"abc", filename="a.txt")
    other = Client(client.http, await key_of(database, tenant, None))
    assert (await other.send("GET", path)).status_code == 404
    assert (await patch(other, path, 0, b"abc")).status_code == 404
    assert (await client.send("DELETE", path)).status_code == 204
    assert (await client.send("GET", path)).status_code == 404


async def test_too_large_and_malformed_uploads_are_refused_by_name(client: Client) -> None:
    large = await client.send(
        "POST", "/uploads", headers={"Upload-Length": str(10**12), "Upload-Metadata": metadata(filename="big.iso")}
    )
    assert (large.status_code, large.json()["filename"]) == (413, "big.iso")
    broken = await client.send("POST", "/uploads", headers={"Upload-Length": "1", "Upload-Metadata": "filename ???"})
    assert broken.status_code == 422
    path = await begin(client, b"abc", filename="a.txt")
    assert (await patch(client, path, 0, b"abcd")).status_code == 413
    options = await client.http.options("/api/v1/uploads")
    assert options.headers["Tus-Version"] == "1.0.0"


async def test_many_documents_are_deleted_at_once_with_the_number_that_was_previewed(
    client: Client, database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    kept = await add_document(database, tenant, embedder, "kept words", filename="kept.txt")
    for n in range(3):
        await add_document(database, tenant, embedder, f"old words {n}", tags=("old",), filename=f"{n}.txt")
    preview = (await client.send("POST", "/documents/delete/preview", json={"tag": "old"})).json()
    assert (preview["total"], len(preview["sample"])) == (3, 3)
    refused = await client.send("POST", "/documents/delete", json={"filter": {"tag": "old"}, "expected_total": 2})
    assert (refused.status_code, refused.json()["total"]) == (409, 3)
    done = await client.send("POST", "/documents/delete", json={"filter": {"tag": "old"}, "expected_total": 3})
    assert done.json()["deleted"] == 3
    found = (await client.send("POST", "/search", json={"query": "words", "k": 50})).json()["results"]
    assert {hit["document_id"] for hit in found} == {str(kept)}
    nobody = "00000000-0000-7000-8000-000000000000"
    by_id = (await client.send("POST", "/documents/delete", json={"ids": [str(kept), nobody]})).json()
    assert (by_id["ids"], by_id["not_found"]) == ([str(kept)], [nobody])


async def test_rules_of_a_workspace_are_kept(client: Client) -> None:
    rules = {"retention_days": 30, "max_documents": 10, "max_bytes": None}
    assert (await client.send("PUT", "/admin/document-rules", json=rules)).json() == rules
    assert (await client.send("GET", "/admin/document-rules")).json() == rules


async def test_a_stream_tells_of_every_change_until_all_have_ended(
    client: Client, database: Database, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragecho.ingest.job_stream.LOOK_SECONDS", 0.02)
    accepted = (await client.upload(("a.txt", b"one"))).json()
    job_id = JobId(accepted["documents"][0]["job_id"])
    worker = tenant.worker()

    async def work() -> None:
        async with database.transaction(worker) as session:
            await jobs.claim(session, worker, job_id)
        async with database.transaction(worker) as session:
            await jobs.succeed(session, worker, [job_id])

    following = asyncio.create_task(client.send("GET", "/jobs/stream", params={"batch": accepted["batch"]}))
    await work()
    lines = (await asyncio.wait_for(following, 20)).text.splitlines()
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events[-1] == "done"
    assert set(events) == {"job", "batch", "done"}
    told = [line for line in lines if line.startswith("data: ")]
    assert '"status":"succeeded"' in told[-3]
    assert '"statuses":{"succeeded":1}' in told[-2]
    assert lines[-2] == 'data: {"complete":true}'


async def test_a_stream_shows_nothing_of_others(client: Client, other_tenant: Tenant, database: Database) -> None:
    stranger = Client(client.http, await key_of(database, other_tenant, None))
    accepted = (await client.upload(("a.txt", b"one"))).json()
    job = accepted["documents"][0]["job_id"]
    assert (await stranger.send("GET", "/jobs/stream", params={"job_id": job})).status_code == 404
    assert (await stranger.send("GET", f"/jobs/batches/{accepted['batch']}")).status_code == 404


async def test_a_stream_ends_when_its_key_is_revoked(
    client: Client, database: Database, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragecho.ingest.job_stream.LOOK_SECONDS", 0.02)
    job = (await client.upload(("a.txt", b"one"))).json()["documents"][0]["job_id"]
    following = asyncio.create_task(client.send("GET", "/jobs/stream", params={"job_id": job}))
    async with database.transaction(tenant.member()) as session:
        await session.execute(
            text("update api_keys set revoked_at = now() where workspace_id = :w"), {"w": tenant.workspace_id}
        )
    answer = await asyncio.wait_for(following, 20)
    # Revoked before the stream began, it is a plain refusal; after it began, its end.
    assert answer.status_code == 401 or answer.text.rstrip().endswith('{"complete":false}')
