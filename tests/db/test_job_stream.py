"""The live stream of jobs: a connection that breaks loses no event, and a batch is told as a whole, however large."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.db.app_driver import key_of, running
from tests.db.conftest import Tenant

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.ids import JobId
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs

pytestmark = pytest.mark.anyio

Event = tuple[str, Any, str | None]  # name, data, id


class Client:
    """Uploads, and follows what becomes of it."""

    def __init__(self, http: httpx.AsyncClient, key: str) -> None:
        self.http, self.headers = http, {"X-API-Key": key}

    async def upload(self, *names: str, batch: str | None = None) -> dict[str, Any]:
        answer = await self.http.post(
            "/api/v1/documents",
            headers=self.headers,
            files=[("files", (name, name.encode())) for name in names],
            data={"batch": batch} if batch else None,
        )
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def follow(self, batch: str, last: str | None = None) -> list[Event]:
        headers = self.headers | ({"Last-Event-ID": last} if last else {})
        answer = await self.http.get("/api/v1/jobs/stream", headers=headers, params={"batch": batch})
        assert answer.status_code == 200, answer.text
        return events_of(answer.text)


def events_of(body: str) -> list[Event]:
    events = []
    for block in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            events.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
    return events


@pytest.fixture
async def client(
    owner_url: str, tmp_path: Path, embedder: FakeEmbedder, database: Database, tenant: Tenant
) -> AsyncIterator[Client]:
    key = await key_of(database, tenant, None)
    async with running(owner_url, tmp_path, embedder) as (_, http):
        yield Client(http, key)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragecho.ingest.job_stream.LOOK_SECONDS", 0.02)


async def end(database: Database, tenant: Tenant, job_id: str) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await jobs.claim(session, worker, JobId(job_id))
    async with database.transaction(worker) as session:
        await jobs.succeed(session, worker, [JobId(job_id)])


async def test_who_comes_back_with_the_last_id_is_told_what_changed_since(
    client: Client, database: Database, tenant: Tenant
) -> None:
    accepted = await client.upload("a.txt", "b.txt", "c.txt")
    first = await client.follow(accepted["batch"])
    assert [name for name, _, _ in first] == ["job", "job", "job", "batch", "done"]
    # Only the last event of a look has an id: a break before it must not lose those that come with it.
    assert [mark is not None for _, _, mark in first] == [False, False, False, True, False]
    last = first[3][2]
    changed = accepted["documents"][1]["job_id"]
    await end(database, tenant, changed)
    again = await client.follow(accepted["batch"], last)
    told = [data for name, data, _ in again if name == "job"]
    assert [(one["id"], one["status"]) for one in told] == [(changed, "succeeded")]
    batch = next(data for name, data, _ in again if name == "batch")
    assert batch["statuses"] == {"queued": 2, "succeeded": 1}


async def test_a_change_that_was_not_committed_when_the_id_was_given_is_told_afterwards(
    client: Client, database: Database, tenant: Tenant
) -> None:
    accepted = await client.upload("a.txt")
    job_id = JobId(accepted["documents"][0]["job_id"])
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await jobs.finish(session, worker, job_id, status="cancelled")
        # Later transactions have higher numbers, and end before this one.
        other = await client.upload("b.txt")
        seen = await client.follow(accepted["batch"])
        assert [data["status"] for name, data, _ in seen if name == "job"] == ["queued"]
    last = next(mark for _, _, mark in seen if mark)
    again = await client.follow(accepted["batch"], last)
    assert [data["status"] for name, data, _ in again if name == "job"] == ["cancelled"]
    assert other["batch"] != accepted["batch"]


@pytest.mark.parametrize("last", ["999999999999999999", "nonsense", "-1"])
async def test_an_id_that_means_nothing_here_is_answered_with_everything(client: Client, last: str) -> None:
    accepted = await client.upload("a.txt")
    assert [name for name, _, _ in await client.follow(accepted["batch"], last)] == ["job", "batch", "done"]


async def test_a_batch_that_has_ended_says_so_at_once(client: Client, database: Database, tenant: Tenant) -> None:
    accepted = await client.upload("a.txt")
    await end(database, tenant, accepted["documents"][0]["job_id"])
    seen = await client.follow(accepted["batch"])
    assert seen[-1][:2] == ("done", {"complete": True})
    last = next(mark for _, _, mark in seen if mark)
    again = await client.follow(accepted["batch"], last)
    assert again[-1][:2] == ("done", {"complete": True})


async def test_a_batch_larger_than_what_is_told_one_by_one_is_not_over_before_all_have_ended(
    client: Client, database: Database, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragecho.ingest.job_stream.MOST_JOBS", 2)
    accepted = await client.upload("a.txt", "b.txt", "c.txt")
    shown = [data["id"] for name, data, _ in await client.follow(accepted["batch"]) if name == "job"]
    assert len(shown) == 2
    for job_id in shown:
        await end(database, tenant, job_id)
    seen = await client.follow(accepted["batch"])
    assert seen[-1][:2] == ("done", {"complete": False})
    (left,) = {one["job_id"] for one in accepted["documents"]} - set(shown)
    await end(database, tenant, left)
    assert (await client.follow(accepted["batch"]))[-1][:2] == ("done", {"complete": True})


async def test_what_joins_a_batch_is_told_to_who_follows_it(client: Client, database: Database, tenant: Tenant) -> None:
    accepted = await client.upload("a.txt")
    following = asyncio.create_task(client.follow(accepted["batch"]))
    joined = await client.upload("b.txt", batch=accepted["batch"])
    ids = {accepted["documents"][0]["job_id"], joined["documents"][0]["job_id"]}
    for job_id in sorted(ids):
        await end(database, tenant, job_id)
    events = await asyncio.wait_for(following, 20)
    if events[-1][1] == {"complete": True}:
        assert {data["id"] for name, data, _ in events if name == "job"} == ids
    last = [mark for _, _, mark in events if mark][-1]
    again = await client.follow(accepted["batch"], last)
    assert again[-1][:2] == ("done", {"complete": True})
