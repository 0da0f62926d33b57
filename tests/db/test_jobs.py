"""Jobs on a real queue: what becomes of them when handlers fail, workers vanish and people interfere."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import ParseFailed, Unavailable
from ragecho.kernel.ids import JobId
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store
from ragecho.platform.jobs.model import Job
from ragecho.platform.jobs.runner import JobRunner

pytestmark = pytest.mark.anyio

Handler = Callable[[Caller, Job], Awaitable[None]]  # of one job


class Desk:
    """Enqueues jobs of a tenant and watches them."""

    def __init__(self, database: Database, tenant: Tenant) -> None:
        self.database = database
        self.caller = tenant.worker()
        self.given_up: list[str] = []

    async def enqueue(self) -> JobId:
        async with self.database.transaction(self.caller) as session:
            return await store.enqueue(session, self.caller, kind="test", queue="test")

    async def get(self, job_id: JobId) -> Job:
        async with self.database.transaction(self.caller) as session:
            job = await store.get(session, self.caller, job_id)
        assert job is not None
        return job

    async def until(self, job_id: JobId, *statuses: str) -> Job:
        async with asyncio.timeout(30):
            while True:
                job = await self.get(job_id)
                if job.status in statuses:
                    return job
                await asyncio.sleep(0.05)  # waits for a condition, within the deadline above

    async def give_up(self, _session: Session, _caller: Caller, _job: Job, error: dict[str, Any]) -> None:
        self.given_up.append(error["code"])

    @asynccontextmanager
    async def working(self, handler: Handler, *, batch: int = 1) -> Any:
        async def each(caller: Caller, batch: Sequence[Job]) -> dict[JobId, Exception]:
            failures: dict[JobId, Exception] = {}
            for job in batch:
                try:
                    await handler(caller, job)
                except Exception as error:  # noqa: BLE001 - whatever the test raises
                    failures[job.id] = error
            return failures

        runner = JobRunner(self.database, {"test": each}, give_up=self.give_up, concurrency=2, batch=batch)
        task = asyncio.create_task(runner.run(queues=("test",)))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def desk(database: Database, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("ragecho.platform.jobs.runner.BACKOFF_SECONDS", (0.05,))
    return Desk(database, tenant)


async def finish(desk: Desk, job: Job) -> None:
    async with desk.database.transaction(desk.caller) as session:
        await store.finish(session, desk.caller, job.id, status="succeeded")


async def test_a_job_is_invisible_until_its_transaction_commits(desk: Desk) -> None:
    with pytest.raises(RuntimeError):
        async with desk.database.transaction(desk.caller) as session:
            job_id = await store.enqueue(session, desk.caller, kind="test", queue="test")
            raise RuntimeError("rolled back")
    async with desk.database.transaction(desk.caller) as session:
        assert await store.get(session, desk.caller, job_id) is None
        left = await session.execute(
            text("select count(*) from procrastinate_jobs where args ->> 'job_id' = :id"), {"id": str(job_id)}
        )
        assert left.scalar_one() == 0


async def test_a_passing_failure_is_tried_again_until_it_works(desk: Desk) -> None:
    attempts = []

    async def handler(_caller: Caller, job: Job) -> None:
        attempts.append(job.attempts)
        if len(attempts) < 3:
            raise Unavailable("The model is busy.")
        await finish(desk, job)

    job_id = await desk.enqueue()
    async with desk.working(handler):
        job = await desk.until(job_id, "succeeded", "dead", "failed")
    assert (job.status, attempts, desk.given_up) == ("succeeded", [1, 2, 3], [])


async def test_a_lasting_failure_ends_at_once_with_its_reason(desk: Desk) -> None:
    async def handler(_caller: Caller, _job: Job) -> None:
        raise ParseFailed("encrypted", "The file needs a password.")

    job_id = await desk.enqueue()
    async with desk.working(handler):
        job = await desk.until(job_id, "failed", "dead")
    assert (job.status, job.attempts) == ("failed", 1)
    assert job.error == {"code": "encrypted", "message": "The file needs a password."}
    assert desk.given_up == ["encrypted"]


async def test_a_job_that_never_works_is_dead_after_its_attempts(desk: Desk) -> None:
    async def handler(_caller: Caller, _job: Job) -> None:
        raise ZeroDivisionError

    job_id = await desk.enqueue()
    async with desk.working(handler):
        job = await desk.until(job_id, "dead")
    assert job.attempts == job.max_attempts
    assert desk.given_up == ["internal_error"]


async def test_what_a_vanished_worker_held_is_handed_out_again(desk: Desk) -> None:
    job_id = await desk.enqueue()
    async with desk.database.anonymous() as session:
        worker_id = (
            await session.execute(text("insert into procrastinate_workers default values returning id"))
        ).scalar_one()
        await session.execute(
            text("update procrastinate_jobs set status = 'doing', worker_id = :worker where args ->> 'job_id' = :id"),
            {"worker": worker_id, "id": str(job_id)},
        )
        await session.execute(
            text("update procrastinate_workers set last_heartbeat = now() - interval '1 hour' where id = :worker"),
            {"worker": worker_id},
        )

    async def handler(_caller: Caller, job: Job) -> None:
        await finish(desk, job)

    async with desk.working(handler):
        job = await desk.until(job_id, "succeeded")
    assert job.attempts == 1


async def test_a_stopping_worker_puts_its_job_back(desk: Desk) -> None:
    started = asyncio.Event()

    async def endless(_caller: Caller, _job: Job) -> None:
        started.set()
        await asyncio.Event().wait()

    async def handler(_caller: Caller, job: Job) -> None:
        await finish(desk, job)

    job_id = await desk.enqueue()
    async with desk.working(endless):
        await asyncio.wait_for(started.wait(), 20)
    assert (await desk.get(job_id)).status == "queued"
    async with desk.working(handler):
        assert (await desk.until(job_id, "succeeded")).attempts == 2


async def test_a_cancelled_job_is_not_done(desk: Desk) -> None:
    done = []

    async def handler(_caller: Caller, job: Job) -> None:
        done.append(job.id)
        await finish(desk, job)

    cancelled, other = await desk.enqueue(), await desk.enqueue()
    async with desk.database.transaction(desk.caller) as session:
        await store.finish(session, desk.caller, cancelled, status="cancelled")
    async with desk.working(handler):
        await desk.until(other, "succeeded")
    assert done == [other]
    assert (await desk.get(cancelled)).status == "cancelled"


async def run_batches(desk: Desk, count: int, *, batch: int) -> list[list[JobId]]:
    """Enqueue `count` jobs at once and return how a runner of one job at a time took them."""
    taken: list[list[JobId]] = []

    async def handler(caller: Caller, claimed: Sequence[Job]) -> dict[JobId, Exception]:
        taken.append([job.id for job in claimed])
        async with desk.database.transaction(caller) as session:
            await store.succeed(session, caller, [job.id for job in claimed])
        return {}

    wanted = []
    async with desk.database.transaction(desk.caller) as session:
        for _ in range(count):
            wanted.append(await store.enqueue(session, desk.caller, kind="test", queue="test", size=10))
    runner = JobRunner(desk.database, {"test": handler}, give_up=desk.give_up, concurrency=1, batch=batch)
    task = asyncio.create_task(runner.run(queues=("test",)))
    try:
        for job_id in wanted:
            await desk.until(job_id, "succeeded")
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return taken


async def deliveries(desk: Desk) -> int:
    async with desk.database.anonymous() as session:
        left = await session.execute(
            text("select count(*) from procrastinate_jobs where args ->> 'workspace_id' = :id"),
            {"id": str(desk.caller.workspace_id)},
        )
        return int(left.scalar_one())


async def test_small_jobs_are_taken_together_and_each_exactly_once(desk: Desk) -> None:
    taken = await run_batches(desk, 10, batch=4)
    assert [len(one) for one in taken] == [4, 4, 2]
    assert len({job_id for one in taken for job_id in one}) == 10
    assert await deliveries(desk) == 0


async def test_large_jobs_are_taken_alone(desk: Desk) -> None:
    async with desk.database.transaction(desk.caller) as session:
        large = await store.enqueue(session, desk.caller, kind="test", size=store.SMALL_BYTES + 1)
        small = await store.enqueue(session, desk.caller, kind="test", size=1)
    for job_id in (large, small):
        async with desk.database.transaction(desk.caller) as session:
            assert [job.id for job in await store.claim(session, desk.caller, job_id, limit=8)] == [job_id]


async def test_one_bad_job_does_not_take_its_batch_with_it(desk: Desk) -> None:
    async def handler(_caller: Caller, job: Job) -> None:
        if job.id == bad:
            raise ParseFailed("encrypted", "The file needs a password.")
        await finish(desk, job)

    async with desk.database.transaction(desk.caller) as session:
        bad, good, other = [
            await store.enqueue(session, desk.caller, kind="test", queue="test", size=1) for _ in range(3)
        ]
    async with desk.working(handler, batch=8):
        assert (await desk.until(bad, "failed", "succeeded")).status == "failed"
        assert (await desk.until(good, "succeeded", "failed")).status == "succeeded"
        assert (await desk.until(other, "succeeded", "failed")).status == "succeeded"


async def test_a_batch_that_breaks_as_a_whole_is_tried_again_one_by_one(desk: Desk) -> None:
    sizes: list[int] = []

    async def handler(caller: Caller, claimed: Sequence[Job]) -> dict[JobId, Exception]:
        sizes.append(len(claimed))
        if len(claimed) > 1:
            raise ZeroDivisionError
        async with desk.database.transaction(caller) as session:
            await store.succeed(session, caller, [job.id for job in claimed])
        return {}

    async with desk.database.transaction(desk.caller) as session:
        wanted = [await store.enqueue(session, desk.caller, kind="test", queue="test", size=1) for _ in range(3)]
    runner = JobRunner(desk.database, {"test": handler}, give_up=desk.give_up, concurrency=1, batch=8)
    task = asyncio.create_task(runner.run(queues=("test",)))
    try:
        for job_id in wanted:
            assert (await desk.until(job_id, "succeeded", "dead", "failed")).status == "succeeded"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert sizes == [3, 1, 1, 1]
    assert desk.given_up == []


async def test_a_workspace_with_many_jobs_does_not_delay_one_with_few(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    large, small = tenant.worker(), other_tenant.worker()
    async with database.transaction(large) as session:
        many = [await store.enqueue(session, large, kind="test", queue="fair") for _ in range(50)]
    async with database.transaction(small) as session:
        few = [await store.enqueue(session, small, kind="test", queue="fair") for _ in range(3)]
    async with database.anonymous() as session:
        waiting = await session.execute(
            text(
                "select cast(args ->> 'job_id' as uuid) from procrastinate_jobs where queue_name = 'fair'"
                " order by priority desc, id"
            )
        )
        order = list(waiting.scalars())
        await session.execute(text("delete from procrastinate_jobs where queue_name = 'fair'"))
    assert max(order.index(job_id) for job_id in few) < 6
    assert [job_id for job_id in order if job_id in set(many)] == many


@pytest.mark.parametrize("batch", [1, 4])
async def test_an_organisation_has_no_more_jobs_in_the_works_than_it_may(
    desk: Desk, other_tenant: Tenant, batch: int
) -> None:
    busy: dict[str, int] = {}
    most: dict[str, int] = {}

    async def handler(caller: Caller, claimed: Sequence[Job]) -> dict[JobId, Exception]:
        organization = str(caller.organization_id)
        busy[organization] = busy.get(organization, 0) + len(claimed)
        most[organization] = max(most.get(organization, 0), busy[organization])
        async with desk.database.transaction(caller) as session:
            await store.succeed(session, caller, [job.id for job in claimed])
        busy[organization] -= len(claimed)
        return {}

    wanted = []
    for caller in (desk.caller, other_tenant.worker()):
        async with desk.database.transaction(caller) as session:
            for _ in range(8):
                wanted.append((caller, await store.enqueue(session, caller, kind="test", queue="test", size=10)))
    runner = JobRunner(
        desk.database, {"test": handler}, give_up=desk.give_up, concurrency=6, batch=batch, tenant_concurrency=2
    )
    task = asyncio.create_task(runner.run(queues=("test",)))
    try:
        async with asyncio.timeout(60):
            for caller, job_id in wanted:
                while True:
                    async with desk.database.transaction(caller) as session:
                        job = await store.get(session, caller, job_id)
                    if job is not None and job.status == "succeeded":
                        break
                    await asyncio.sleep(0.05)  # waits for a condition, within the deadline above
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert set(most.values()) <= {1, 2}
    assert len(most) == 2
