"""Uploads: one request is taken whole or not at all, repeats safely, and stays within the workspace's limits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.people import run

from ragecho.engines.blobs import MemoryBlobStore
from ragecho.ingest.allowance import Allowance
from ragecho.ingest.model import Accepted, AcceptedUpload, Handling, Incoming, Labels
from ragecho.ingest.service import Uploads
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import IdempotencyInProgress, IdempotencyMismatch, RateLimited, TooLarge, WorkspaceFull
from ragecho.kernel.ids import UserId, uuid7
from ragecho.library import contents
from ragecho.platform.database import Database
from ragecho.platform.jobs import store_overview as overview
from ragecho.platform.jobs.model import Priority

pytestmark = pytest.mark.anyio


class PlainSealer:
    """Turns words around: enough to see that they are not stored as they are."""

    def seal(self, plaintext: str, *, purpose: str) -> str:
        return f"{purpose}:{plaintext[::-1]}"

    def open(self, sealed: str, *, purpose: str) -> str:
        return sealed.removeprefix(f"{purpose}:")[::-1]


def file(name: str, content: bytes) -> Incoming:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    return Incoming(name, "text/plain", pieces)


class Desk:
    """Uploads of one person."""

    def __init__(self, database: Database, caller: Caller, allowance: Allowance | None = None) -> None:
        self.database, self.caller, self.blobs = database, caller, MemoryBlobStore()
        self.uploads = Uploads(database, self.blobs, max_file_bytes=1000, allowance=allowance, sealer=PlainSealer())

    async def send(self, *files: Incoming, caller: Caller | None = None, **handling: object) -> AcceptedUpload:
        return await self.uploads.accept_all(
            caller or self.caller,
            files,
            labels=Labels(),
            handling=Handling(**handling),  # type: ignore[arg-type]  # by name
        )

    async def count(self, table: str) -> int:
        worker = Caller.worker(self.caller.organization_id, self.caller.workspace_id)
        async with self.database.transaction(worker) as session:
            found = await session.execute(
                text(f"select count(*) from {table} where workspace_id = :w"), {"w": worker.workspace_id}
            )
            return int(found.scalar_one())


@pytest.fixture
def desk(database: Database, tenant: Tenant) -> Desk:
    return Desk(database, tenant.member(UserId(uuid7())))


@pytest.fixture
async def person(database: Database, tenant: Tenant) -> Caller:
    user_id = UserId(uuid7())
    await run(
        database,
        tenant,
        "insert into users (id, email) values (:user, :email)",
        user=user_id,
        email=f"{user_id}@x.test",
    )
    return tenant.member(user_id)


async def test_all_files_of_a_request_are_taken_with_one_batch(database: Database, person: Caller) -> None:
    desk = Desk(database, person)
    upload = await desk.send(file("a.txt", b"a"), file("b.txt", b"b"), file("again.txt", b"a"))
    first, second, third = upload.documents
    assert (first.status, second.status, third.duplicate_of) == ("queued", "queued", first.id)
    async with database.transaction(person) as session:
        jobs, total = await overview.list_jobs(session, person, batch_id=upload.batch_id, limit=10, offset=0)
        batch = await overview.get_batch(session, person, upload.batch_id)
    assert total == 2
    assert {job.document_id for job in jobs} == {first.id, second.id}
    assert batch is not None
    assert batch.statuses == {"queued": 2}
    assert not batch.is_over


async def test_one_file_over_the_limit_refuses_the_whole_request_and_is_named(
    database: Database, person: Caller
) -> None:
    desk = Desk(database, person)
    with pytest.raises(TooLarge, match=r"big\.txt") as refusal:
        await desk.send(file("a.txt", b"a"), file("big.txt", b"x" * 1001))
    assert refusal.value.facts == {
        "max_bytes": 1000,
        "filename": "big.txt",
        "setting": "RAGECHO_MAX_FILE_BYTES",
    }
    assert await desk.count("documents") == 0
    assert await desk.count("jobs") == 0


async def test_a_repetition_gets_the_first_answer_and_uploads_nothing(database: Database, person: Caller) -> None:
    desk = Desk(database, person)
    first = await desk.send(file("a.txt", b"a"), idempotency_key="one")
    assert await desk.send(file("a.txt", b"a"), idempotency_key="one") == first
    assert (await desk.send(file("a.txt", b"a"))).documents[0].duplicate_of == first.documents[0].id
    with pytest.raises(IdempotencyMismatch):
        await desk.send(file("a.txt", b"other"), idempotency_key="one")
    assert await desk.count("documents") == 1


async def test_a_key_is_the_callers_own_and_ends_after_a_day(
    database: Database, tenant: Tenant, person: Caller
) -> None:
    desk = Desk(database, person)
    await desk.send(file("a.txt", b"a"), idempotency_key="one")
    other = replace(tenant.member(), api_key_id=uuid7(), principals=("workspace", "key:x"))
    elsewhere = await desk.send(file("b.txt", b"b"), idempotency_key="one", caller=_keyed(other))
    assert elsewhere.documents[0].status == "queued"
    async with database.transaction(tenant.worker()) as session:
        await session.execute(
            text("update idempotency_keys set created_at = now() - interval '25 hours' where workspace_id = :w"),
            {"w": tenant.workspace_id},
        )
    assert (await desk.send(file("c.txt", b"c"), idempotency_key="one")).documents[0].status == "queued"


def _keyed(caller: Caller) -> Caller:
    own = caller.own_principal
    assert own is not None
    return replace(caller, principals=(*caller.principals, own))


async def test_the_same_key_at_the_same_time_is_answered_once(database: Database, person: Caller) -> None:
    desk = Desk(database, person)

    async def send() -> Accepted | type[Exception]:
        try:
            return (await desk.send(file("a.txt", b"a"), idempotency_key="one")).documents[0]
        except IdempotencyInProgress as error:
            return type(error)

    answers = await asyncio.gather(*(send() for _ in range(5)))
    documents = {one.id for one in answers if isinstance(one, Accepted)}
    assert len(documents) == 1
    assert {one for one in answers if not isinstance(one, Accepted)} <= {IdempotencyInProgress}
    assert await desk.count("documents") == 1


async def test_a_workspace_is_full_for_the_whole_request(database: Database, person: Caller) -> None:
    desk = Desk(database, person, Allowance(documents=3))
    await desk.send(file("a.txt", b"a"), file("b.txt", b"b"))
    with pytest.raises(WorkspaceFull) as refusal:
        await desk.send(file("c.txt", b"c"), file("d.txt", b"d"))
    assert refusal.value.facts["max_documents"] == 3
    assert await desk.count("documents") == 2
    await desk.send(file("c.txt", b"c"))


async def test_many_uploads_at_once_do_not_pass_the_limit_together(database: Database, person: Caller) -> None:
    desk = Desk(database, person, Allowance(documents=4))
    answers = await asyncio.gather(
        *(desk.send(file(f"{n}.txt", str(n).encode())) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, WorkspaceFull) for one in answers) == 4
    assert await desk.count("documents") == 4


async def test_bytes_and_waiting_documents_are_limited_too(database: Database, tenant: Tenant, person: Caller) -> None:
    by_size = Desk(database, person, Allowance(bytes=10))
    with pytest.raises(WorkspaceFull, match="bytes"):
        await by_size.send(file("a.txt", b"x" * 11))
    by_waiting = Desk(database, person, Allowance(waiting=1))
    await by_waiting.send(file("a.txt", b"a"))
    await by_waiting.send(file("again.txt", b"a"))
    with pytest.raises(RateLimited):
        await by_waiting.send(file("b.txt", b"b"))
    await run(database, tenant, "insert into document_rules (workspace_id, max_documents) values (:workspace, 1)")
    with pytest.raises(WorkspaceFull):
        await Desk(database, person).send(file("c.txt", b"c"))


async def test_a_password_is_stored_sealed_and_forgotten_at_the_end(
    database: Database, tenant: Tenant, person: Caller
) -> None:
    desk = Desk(database, person)
    upload = await desk.send(file("a.txt", b"a"), password="open sesame")
    assert "sesame" not in repr(Handling(password="open sesame"))
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        (job,), _ = await overview.list_jobs(session, worker, batch_id=upload.batch_id, limit=1, offset=0)
        assert job.sealed == "ragecho.ingest.password:emases nepo"
        assert job.sealed not in repr(job)
        await session.execute(text("update jobs set attempts = 1 where id = :id"), {"id": job.id})
        from ragecho.platform.jobs import store

        await store.finish(session, worker, job.id, status="queued")
        again = await store.get(session, worker, job.id)
        assert again is not None
        assert again.sealed
        await store.finish(session, worker, job.id, status="failed", error={"code": "x", "message": "x"})
        ended = await store.get(session, worker, job.id)
        assert ended is not None
        assert ended.sealed is None


async def test_bytes_that_are_deleted_while_they_are_uploaded_again_are_there_afterwards(
    database: Database, person: Caller
) -> None:
    """The deletion looks and removes between the upload's writing and its transaction."""
    desk = Desk(database, person)
    digest = sha256(b"a").hexdigest()

    class Interfering(MemoryBlobStore):
        async def exists(self, workspace_id: object, sha256: str) -> bool:
            await self.delete(person.workspace_id, sha256)
            Interfering.exists = MemoryBlobStore.exists  # type: ignore[method-assign]  # only once
            return False

    blobs = Interfering()
    desk.uploads = Uploads(database, blobs, max_file_bytes=1000)
    await desk.send(file("a.txt", b"a"))
    assert await blobs.exists(person.workspace_id, digest)


async def test_bytes_that_an_upload_refers_to_are_not_removed(
    database: Database, tenant: Tenant, person: Caller
) -> None:
    desk = Desk(database, person)
    await desk.send(file("a.txt", b"a"))
    await desk.blobs.put(person.workspace_id, file("b", b"b").content(), max_bytes=10)
    digests = [sha256(one).hexdigest() for one in (b"a", b"b")]
    assert await contents.remove_unreferenced(database, desk.blobs, tenant.worker(), digests) == 1
    assert [await desk.blobs.exists(person.workspace_id, one) for one in digests] == [True, False]


async def test_priorities_are_kept_with_the_job(database: Database, person: Caller) -> None:
    desk = Desk(database, person)
    upload = await desk.send(file("a.txt", b"a"), priority=Priority.HIGH, batch_id=UUID(int=5))
    assert upload.batch_id == UUID(int=5)
    async with database.transaction(person) as session:
        (job,), _ = await overview.list_jobs(session, person, batch_id=UUID(int=5), limit=1, offset=0)
    assert job.priority == 1
