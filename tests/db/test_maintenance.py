"""Maintenance removes what is over, and nothing else, once an hour whoever asks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.databases import another_database
from tests.db.library_driver import add_document
from tests.db.people import run

from ragecho.engines.blobs import MemoryBlobStore
from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest.maintenance import Maintenance
from ragecho.ingest.model import Handling, Incoming, Labels
from ragecho.ingest.resumable import ResumableUploads
from ragecho.ingest.service import Uploads
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio


async def some_bytes(content: bytes) -> AsyncIterator[bytes]:
    """Yield the content as an upload does."""
    yield content


class House:
    """What maintenance works on."""

    def __init__(self, database: Database, tenant: Tenant, *, retention_days: int = 0) -> None:
        self.database, self.tenant, self.blobs = database, tenant, MemoryBlobStore()
        self.uploads = Uploads(database, self.blobs, max_file_bytes=1000)
        self.resumable = ResumableUploads(database, self.blobs, self.uploads, expiry_hours=1, max_open=5)
        self.maintenance = Maintenance(database, self.blobs, self.resumable, retention_days=retention_days)

    async def tidy(self) -> dict[str, int]:
        """Run it at once; only what it removed of this tenant's is told by the tests' own looks."""
        return await self.maintenance.run_if_due(every_seconds=-1) or {}

    async def age(self, statement: str) -> None:
        async with self.database.transaction(self.tenant.worker()) as session:
            await session.execute(text(statement), {"w": self.tenant.workspace_id})

    async def count(self, table: str) -> int:
        async with self.database.transaction(self.tenant.worker()) as session:
            found = await session.execute(
                text(f"select count(*) from {table} where workspace_id = :w"), {"w": self.tenant.workspace_id}
            )
            return int(found.scalar_one())


@pytest.fixture(scope="module")
def owner_url(owner_url: str) -> Iterator[str]:
    with another_database(owner_url) as url:
        yield url


@pytest.fixture
def house(database: Database, tenant: Tenant) -> House:
    return House(database, tenant)


async def test_one_of_many_workers_does_it(house: House) -> None:
    await house.tidy()
    done = await asyncio.gather(*(house.maintenance.run_if_due(every_seconds=3600) for _ in range(4)))
    assert done == [None] * 4
    await house.age("update maintenance_tasks set taken_at = now() - interval '2 hours'")
    done = await asyncio.gather(*(house.maintenance.run_if_due(every_seconds=3600) for _ in range(4)))
    assert sum(one is not None for one in done) == 1


async def test_documents_past_their_time_are_deleted_and_audited(
    house: House, database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "old words")
    await house.age("update documents set created_at = now() - interval '31 days' where workspace_id = :w")
    await house.age("update document_versions set created_at = now() - interval '31 days' where workspace_id = :w")
    await add_document(database, tenant, embedder, "new words")
    await house.tidy()
    assert await house.count("documents") == 2
    await run(database, tenant, "insert into document_rules (workspace_id, retention_days) values (:workspace, 30)")
    await house.tidy()
    assert await house.count("documents") == 1
    assert await house.count("chunks") == 1
    async with database.transaction(tenant.member()) as session:
        found = await session.execute(
            text("select details from audit_events where action = 'document.expired' and workspace_id = :w"),
            {"w": tenant.workspace_id},
        )
        assert found.scalars().all() == [{"retention_days": 30}]


async def test_a_new_version_lets_a_document_live_on(
    house: House, database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "old words")
    await house.age("update documents set created_at = now() - interval '31 days' where workspace_id = :w")
    await run(database, tenant, "insert into document_rules (workspace_id, retention_days) values (:workspace, 30)")
    await house.tidy()
    assert await house.count("documents") == 1


async def test_an_archived_workspace_keeps_what_it_has(
    house: House, database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "old words")
    await house.age("update documents set created_at = now() - interval '31 days' where workspace_id = :w")
    await house.age("update document_versions set created_at = now() - interval '31 days' where workspace_id = :w")
    await run(database, tenant, "insert into document_rules (workspace_id, retention_days) values (:workspace, 30)")
    await house.age("update workspaces set status = 'archived', archived_at = now() where id = :w")
    await house.tidy()
    assert await house.count("documents") == 1


async def test_forgotten_files_and_unfinished_uploads_and_old_answers_go(
    house: House, database: Database, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragecho.library.index_check.YOUNG", timedelta(seconds=-10))
    user_id = UserId(uuid7())
    await run(
        database, tenant, "insert into users (id, email) values (:id, :email)", id=user_id, email=f"{user_id}@x.test"
    )
    person = tenant.member(user_id)
    upload = await house.resumable.create(
        person, size_bytes=10, filename="a.txt", content_type=None, labels=Labels(), handling=Handling()
    )
    await house.resumable.append(person, upload.id, some_bytes(b"half"), offset=0)
    await house.blobs.put(tenant.workspace_id, some_bytes(b"forgotten"), max_bytes=10)
    kept = Incoming("b.txt", None, lambda: some_bytes(b"kept"))
    await house.uploads.accept_all(person, [kept], labels=Labels(), handling=Handling(idempotency_key="k"))
    await house.tidy()
    # The piece of an upload under way is nobody's orphan.
    assert len([one async for one in house.blobs.iterate(tenant.workspace_id)]) == 2
    await house.age("update uploads set expires_at = now() - interval '1 second' where workspace_id = :w")
    await house.age("update idempotency_keys set created_at = now() - interval '2 days' where workspace_id = :w")
    await house.tidy()
    assert [await house.count(table) for table in ("uploads", "upload_parts", "idempotency_keys")] == [0, 0, 0]
    assert len([one async for one in house.blobs.iterate(tenant.workspace_id)]) == 1


async def test_vectors_that_nobody_used_for_long_are_forgotten(
    house: House, database: Database, tenant: Tenant
) -> None:
    for digest, age in ((b"old", 91), (b"new", 10)):
        await run(
            database,
            tenant,
            "insert into embedding_cache (organization_id, model, digest, embedding, used_on)"
            " values (:organization, 'm', :digest, '[1,2]', current_date - cast(:age as int))",
            digest=digest,
            age=age,
        )
    await house.tidy()
    async with database.transaction(tenant.worker()) as session:
        left = await session.execute(text("select digest from embedding_cache"))
        assert [bytes(one) for one in left.scalars()] == [b"new"]
