"""A request that is repeated with its `Idempotency-Key` is answered alike and does nothing twice, whichever it is."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.db.app_driver import key_of, running
from tests.db.conftest import Tenant

from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest.addresses import FETCH_JOB, uri_list
from ragecho.ingest.service import INGEST_JOB
from ragecho.kernel.ids import JobId
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs

pytestmark = pytest.mark.anyio

FEED = {"kind": "feed", "name": "News", "config": {"url": "https://news.example/feed.xml"}}


class Client:
    """An HTTP client with a key of the tenant; every request takes an idempotency key."""

    def __init__(self, http: httpx.AsyncClient, key: str, database: Database, tenant: Tenant) -> None:
        self.http, self.headers, self.database, self.tenant = http, {"X-API-Key": key}, database, tenant

    async def send(self, method: str, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        headers = self.headers | ({"Idempotency-Key": key} if key else {}) | options.pop("headers", {})
        return await self.http.request(method, f"/api/v1{path}", headers=headers, **options)

    async def upload(self, name: str, content: bytes) -> dict[str, Any]:
        answer = await self.send("POST", "/documents", files=[("files", (name, content))])
        return dict(answer.json()["documents"][0])

    async def count(self, table: str) -> int:
        worker = self.tenant.worker()
        async with self.database.transaction(worker) as session:
            found = await session.execute(
                text(f"select count(*) from {table} where workspace_id = :w"), {"w": worker.workspace_id}
            )
            return int(found.scalar_one())


@pytest.fixture
async def client(
    owner_url: str, tmp_path: Path, embedder: FakeEmbedder, database: Database, tenant: Tenant
) -> AsyncIterator[Client]:
    key = await key_of(database, tenant, None)
    async with running(owner_url, tmp_path, embedder) as (_, http):
        yield Client(http, key, database, tenant)


async def test_every_request_that_makes_something_makes_it_once(client: Client) -> None:
    document = await client.upload("a.txt", b"one")
    path = f"/documents/{document['id']}"
    requests: dict[str, tuple[str, str, dict[str, Any], str]] = {
        "upload": ("POST", "/documents", {"files": [("files", ("b.txt", b"two"))]}, "documents"),
        "replace": ("PUT", f"{path}/content", {"files": {"file": ("a.txt", b"new")}}, "document_versions"),
        "reindex": ("POST", f"{path}/reindex", {}, "jobs"),
        "reindex all": ("POST", "/documents/reindex", {}, "jobs"),
        "by address": ("POST", "/documents/url", {"json": {"url": "https://example.org/page"}}, "documents"),
        "in pieces": ("POST", "/uploads", {"headers": {"Upload-Length": "3"}}, "uploads"),
        "source": ("POST", "/sources", {"json": FEED}, "sources"),
    }
    for name, (method, where, options, table) in requests.items():
        first = await client.send(method, where, f"key of {name}", **options)
        assert first.is_success, (name, first.text)
        made = await client.count(table)
        again = await client.send(method, where, f"key of {name}", **options)
        assert (again.status_code, again.json()) == (first.status_code, first.json()), name
        assert await client.count(table) == made, name
        other = await client.send(method, where, f"another key of {name}", **options)
        assert other.is_success, (name, other.text)
    source = (await client.send("GET", "/sources")).json()["items"][0]["id"]
    runs = [await client.send("POST", f"/sources/{source}/sync", "look") for _ in range(2)]
    assert runs[0].json()["id"] == runs[1].json()["id"]


async def test_a_key_is_for_one_request_only(client: Client) -> None:
    document = await client.upload("a.txt", b"one")
    assert (await client.send("POST", f"/documents/{document['id']}/reindex", "k")).status_code == 202
    refused = [
        await client.send("POST", f"/documents/{document['id']}/reindex", "k", json={"priority": "high"}),
        await client.send("POST", "/documents/reindex", "k"),
        await client.send("POST", "/documents/url", "k", json={"url": "https://example.org/"}),
        await client.send("POST", "/sources", "k", json=FEED),
        await client.send("POST", "/uploads", "k", headers={"Upload-Length": "1"}),
    ]
    assert {(one.status_code, one.json()["code"]) for one in refused} == {(422, "idempotency_mismatch")}


async def test_one_of_the_same_at_the_same_time_does_it(client: Client) -> None:
    answers = await asyncio.gather(*(client.send("POST", "/sources", "k", json=FEED) for _ in range(4)))
    made = {one.json()["id"] for one in answers if one.status_code == 201}
    assert len(made) == 1
    assert {one.json()["code"] for one in answers if one.status_code != 201} <= {"idempotency_in_progress"}
    assert await client.count("sources") == 1


async def test_secrets_are_no_part_of_what_is_kept(client: Client) -> None:
    """Two requests that differ in a secret are the same: its digest would be there to try words against."""
    mailbox = {
        "kind": "imap",
        "name": "Mail",
        "config": {"host": "mail.example", "username": "a"},
    }
    answers = [
        await client.send("POST", "/sources", "k", json=mailbox | {"secrets": {"password": word}})
        for word in ("one", "two")
    ]
    assert [one.status_code for one in answers] == [201, 201], answers[0].text
    assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_a_page_that_never_arrived_is_fetched_again_and_its_address_is_no_text(client: Client) -> None:
    added = await client.send("POST", "/documents/url", json={"url": "https://example.org/page"})
    (document,) = added.json()["documents"]
    worker = client.tenant.worker()
    async with client.database.transaction(worker) as session:
        error = {"code": "not_found", "message": "There is no such page."}
        await jobs.finish(session, worker, JobId(document["job_id"]), status="failed", error=error)
    assert await kinds(client, document["id"]) == [FETCH_JOB]
    for _ in range(2):
        await client.send("POST", f"/documents/{document['id']}/reindex")
    assert await kinds(client, document["id"]) == [FETCH_JOB] * 3
    await client.send("POST", "/documents/reindex")
    assert await kinds(client, document["id"]) == [FETCH_JOB] * 4


async def test_a_list_of_addresses_that_was_uploaded_is_text(client: Client) -> None:
    content = b"# harbours\r\nhttps://example.org/page\r\n"
    answer = await client.send("POST", "/documents", files=[("files", ("links.uri", content, "text/uri-list"))])
    (document,) = answer.json()["documents"]
    await client.send("POST", f"/documents/{document['id']}/reindex")
    assert await kinds(client, document["id"]) == [INGEST_JOB, INGEST_JOB]
    # Not even one that names another document.
    other = await client.send("POST", "/documents/url", json={"url": "https://example.org/page"})
    stolen = uri_list(other.json()["documents"][0]["id"], "https://example.org/other")
    answer = await client.send("POST", "/documents", files=[("files", ("links.uri", stolen, "text/uri-list"))])
    (document,) = answer.json()["documents"]
    await client.send("POST", f"/documents/{document['id']}/reindex")
    assert await kinds(client, document["id"]) == [INGEST_JOB, INGEST_JOB]


async def kinds(client: Client, document_id: str) -> list[str]:
    listed = (await client.send("GET", "/jobs", params={"document_id": document_id})).json()
    return [job["kind"] for job in listed["items"]]
