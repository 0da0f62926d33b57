"""Who is served next: no tenant, no batch and no slow step makes others wait for its end."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.databases import run

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import JobId
from ragecho.platform.database import Database
from ragecho.platform.jobs import runner, store
from ragecho.platform.jobs.fetching import FairManager
from ragecho.platform.jobs.model import OCR_QUEUE, Job
from ragecho.platform.jobs.runner import HandedOn, JobRunner

pytestmark = pytest.mark.anyio

QUEUE = "fair"
BACKLOG = 10_000


@pytest.fixture(autouse=True)
async def empty_queue(database: Database) -> AsyncIterator[None]:
    """The order of a queue is everybody's: each test begins and ends with none."""
    async with database.anonymous() as session:
        await session.execute(text("delete from procrastinate_jobs"))
    yield
    async with database.anonymous() as session:
        await session.execute(text("delete from procrastinate_jobs"))


async def enqueue(database: Database, caller: Caller, count: int, *, queue: str = QUEUE, size: int = 10) -> list[JobId]:
    async with database.transaction(caller) as session:
        return [await store.enqueue(session, caller, kind="test", queue=queue, size=size) for _ in range(count)]


async def backlog(database: Database, caller: Caller, count: int, *, queue: str = QUEUE) -> None:
    """Enqueue many in one statement, each with the turn that `store.enqueue` gives it."""
    await enqueue(database, caller, 1, queue=queue)
    async with database.transaction(caller) as session:
        await session.execute(
            text("""
                with first as (select * from jobs where workspace_id = :w limit 1),
                made as (
                  insert into jobs (workspace_id, id, organization_id, kind, queue, size, turn, created_at)
                  select f.workspace_id, gen_random_uuid(), f.organization_id, f.kind, f.queue, f.size, f.turn + n,
                         f.created_at + n * interval '1 microsecond'
                  from first f, generate_series(1, :count) n returning *
                )
                update jobs j set queue_job_id = d.delivery from (
                  select m.id, (procrastinate_defer_jobs_v1(array[row(m.queue, :task, -m.turn, null, null,
                    jsonb_build_object('job_id', m.id, 'organization_id', m.organization_id, 'workspace_id', m.workspace_id),
                    now())::procrastinate_job_to_defer_v1]))[1] as delivery from made m) d
                where j.workspace_id = :w and j.id = d.id"""),
            {"w": caller.workspace_id, "count": count - 1, "task": store.TASK},
        )


async def fetched(database: Database, **limits: Any) -> dict[str, Any] | None:
    """Take the next delivery as a worker does."""
    wanted = {"most": 0, "limits": "{}", "full": [], "organizations": []} | limits
    async with database.anonymous() as session:
        found = await session.execute(
            text(
                "select (f).id, (f).queue_name, (f).args from (select ragecho_fetch_job(null, null, :most,"
                " cast(:limits as jsonb), cast(:full as text[]), cast(:organizations as text[])) f) fetched"
            ),
            wanted,
        )
        row = dict(found.mappings().one())
    return row if row["id"] is not None else None


async def claimed(database: Database, callers: Sequence[Caller], *, limit: int) -> list[Job]:
    """Fetch and claim once, as `JobRunner` does."""
    delivery = await fetched(database)
    assert delivery is not None
    caller = next(one for one in callers if str(one.workspace_id) == delivery["args"]["workspace_id"])
    async with database.transaction(caller) as session:
        return await store.claim(session, caller, JobId(delivery["args"]["job_id"]), limit=limit)


@pytest.mark.parametrize("batch", [1, 32])
async def test_three_documents_are_claimed_next_though_ten_thousand_wait(
    database: Database, tenant: Tenant, other_tenant: Tenant, batch: int
) -> None:
    large, small = tenant.worker(), other_tenant.worker()
    await backlog(database, large, BACKLOG)
    for _ in range(3):
        assert {job.workspace_id for job in await claimed(database, [large], limit=batch)} == {large.workspace_id}
    few = set(await enqueue(database, small, 3))
    claims = 0
    while few:
        few -= {job.id for job in await claimed(database, [large, small], limit=batch)}
        claims += 1
        # Every other claim at most is the backlog's: nobody is served alone, and nobody waits for more.
        assert claims <= (2 if batch > 1 else 6)


async def test_what_was_put_off_does_not_give_newcomers_the_turns_of_long_ago(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    large, newcomer = tenant.worker(), other_tenant.worker()
    old, *others = await enqueue(database, large, 40)
    async with database.transaction(large) as session:
        await session.execute(text("delete from procrastinate_jobs where args ->> 'job_id' = :id"), {"id": str(old)})
        await store.deliver(session, large, old, delay_seconds=3600)
    for _ in others[:30]:
        await fetched(database)
    (new,) = await enqueue(database, newcomer, 1)
    async with database.transaction(newcomer) as session:
        turn = (await session.execute(text("select turn from jobs where id = :id"), {"id": new})).scalar_one()
    assert turn >= 30


async def test_taking_a_turn_looks_at_few_rows_however_many_wait(
    database: Database, tenant: Tenant, other_tenant: Tenant, owner_url: str
) -> None:
    """Nor at those of another queue, all of which are older."""
    worker = tenant.worker()
    await backlog(database, other_tenant.worker(), 2_000, queue=OCR_QUEUE)
    await backlog(database, worker, 2_000)
    # Autovacuum may have counted while nothing waited, or not at all: the plan is the one for what waits now.
    run(owner_url, "analyze jobs", "analyze procrastinate_jobs")
    async with database.transaction(worker) as session:
        found = await session.execute(
            text(f"explain (analyze, costs off, timing off, format json) select {store.TAKE_TURN}"),
            {"workspace_id": worker.workspace_id, "queue": QUEUE},
        )
        (top,) = found.scalar_one()
    steps = list(steps_of(top["Plan"]))
    read = {one.get("Relation Name"): looked_at(one) for one in steps if "Relation Name" in one}
    assert read["jobs"] <= 1, steps
    assert read["procrastinate_jobs"] <= 1, steps
    assert "Sort" not in {one["Node Type"] for one in steps}, steps


def steps_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from steps_of(inner)


def looked_at(step: dict[str, Any]) -> int:
    """Rows that a step read, those that its filter threw away included."""
    return (step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"]


async def test_a_batch_holds_no_more_bytes_than_take_seconds(database: Database, tenant: Tenant) -> None:
    worker = tenant.worker()
    sizes = store.BATCH_BYTES // 4
    await enqueue(database, worker, 10, size=sizes)
    taken = [len(await claimed(database, [worker], limit=32)) for _ in range(3)]
    assert taken == [4, 4, 2]


async def test_an_organisation_leaves_the_last_place_of_a_worker_to_others(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    """Its long jobs fill the worker; another's document is done before any of them ends."""
    large, small = tenant.worker(), other_tenant.worker()
    ended = asyncio.Event()
    busy: list[JobId] = []
    is_full = asyncio.Event()

    async def handler(caller: Caller, batch: Sequence[Job]) -> dict[JobId, Exception]:
        if caller.workspace_id == large.workspace_id:
            busy.extend(job.id for job in batch)
            if len(busy) == 2:
                is_full.set()
            await ended.wait()
        async with database.transaction(caller) as session:
            await store.succeed(session, caller, [job.id for job in batch])
        return {}

    await enqueue(database, large, 8, size=store.SMALL_BYTES + 1)
    async with working(database, handler, concurrency=3):
        await asyncio.wait_for(is_full.wait(), 30)
        (job_id,) = await enqueue(database, small, 1)
        await until_done(database, small, job_id)
        assert len(busy) == 2
        ended.set()


async def test_a_place_that_gets_free_is_taken_at_once_by_what_was_passed_over(
    database: Database, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last place left to others, jobs of one organisation must not wait for the next poll, which never comes here."""
    monkeypatch.setattr(runner, "POLL_SECONDS", 3600.0)
    worker = tenant.worker()
    both, passed_over = asyncio.Barrier(2), asyncio.Event()
    fetch = FairManager.fetch_job

    async def noted(self: FairManager, *arguments: Any, **options: Any) -> Any:
        found = await fetch(self, *arguments, **options)
        if found is None:
            passed_over.set()
        return found

    monkeypatch.setattr(FairManager, "fetch_job", noted)

    async def handler(caller: Caller, batch: Sequence[Job]) -> dict[JobId, Exception]:
        # Both places are held until the worker has looked in vain.
        await both.wait()
        await passed_over.wait()
        async with database.transaction(caller) as session:
            await store.succeed(session, caller, [job.id for job in batch])
        return {}

    wanted = await enqueue(database, worker, 12, size=store.SMALL_BYTES + 1)
    async with working(database, handler, concurrency=3):
        for job_id in wanted:
            await until_done(database, worker, job_id)


async def test_recognition_takes_only_its_share_of_the_places(database: Database, tenant: Tenant) -> None:
    """Two workers: of the documents that are handed on to be recognised one is in the works at once, the others are done."""
    worker = tenant.worker()
    now, most = 0, 0

    scans: set[JobId] = set()

    async def work(caller: Caller, batch: Sequence[Job]) -> dict[JobId, Exception]:
        nonlocal now, most
        handed: dict[JobId, Exception] = {}
        for job in batch:
            if job.id in scans and job.queue == QUEUE:
                async with database.transaction(caller) as session:
                    await store.move(session, caller, job.id, queue=OCR_QUEUE)
                handed[job.id] = HandedOn()
        recognised = [job for job in batch if job.queue == OCR_QUEUE]
        assert not recognised or len(batch) == 1
        now += len(recognised)
        most = max(most, now)
        await asyncio.sleep(0)
        async with database.transaction(caller) as session:
            await store.succeed(session, caller, [job.id for job in batch if job.id not in handed])
        now -= len(recognised)
        return handed

    wanted = await enqueue(database, worker, 12)
    scans |= set(wanted[::2])
    limits = {OCR_QUEUE: 1}
    async with (
        working(database, work, concurrency=4, queue_limits=limits),
        working(database, work, concurrency=4, queue_limits=limits),
    ):
        for job_id in wanted:
            job = await until_done(database, worker, job_id)
            assert job.queue == (OCR_QUEUE if job_id in scans else QUEUE)
    assert most == 1


async def test_a_full_queue_is_passed_over_however_much_waits_in_it(database: Database, tenant: Tenant) -> None:
    worker = tenant.worker()
    await enqueue(database, worker, 5, queue=OCR_QUEUE)
    (text_job,) = await enqueue(database, worker, 1)
    first = await fetched(database, limits='{"ocr": 1}')
    second = await fetched(database, limits='{"ocr": 1}')
    assert first is not None
    assert second is not None
    assert (first["queue_name"], second["args"]["job_id"]) == (OCR_QUEUE, str(text_job))
    assert await fetched(database, limits='{"ocr": 1}') is None
    assert await fetched(database, full=[OCR_QUEUE]) is None
    assert await fetched(database, organizations=[str(worker.organization_id)]) is None
    assert await fetched(database) is not None


class working:  # noqa: N801 - used as a context manager
    """Runs a worker in this process for as long as the block lasts."""

    def __init__(self, database: Database, handler: Any, **options: Any) -> None:
        async def give_up(*_: object) -> None:
            raise AssertionError("nothing fails here")

        self._runner = JobRunner(database, {"test": handler}, give_up=give_up, **options)

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._runner.run())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def until_done(database: Database, caller: Caller, job_id: JobId) -> Job:
    async with asyncio.timeout(40):
        while True:
            async with database.transaction(caller) as session:
                job = await store.get(session, caller, job_id)
            if job is not None and job.status == "succeeded":
                return job
            await asyncio.sleep(0.05)  # waits for a condition, within the deadline above
