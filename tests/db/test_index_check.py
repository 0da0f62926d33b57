"""The index check finds every kind of damage, and nothing where there is none; the rebuild mends it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document

from ragecho.engines.blobs import MemoryBlobStore
from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest.index_repair import Index
from ragecho.ingest.service import Uploads
from ragecho.kernel.ids import DocumentId
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs import store_overview as overview

pytestmark = pytest.mark.anyio

# What damages an index, and what the check must call it. `:d` is a document of two chunks.
DAMAGE = {
    "missing_chunks": ["delete from chunks where document_id = :d and ordinal = 1"],
    "foreign_chunks": ["update chunks set version_id = gen_random_uuid() where document_id = :d"],
    "missing_vectors": ["delete from chunk_vectors where document_id = :d"],
    "orphaned_vectors": ["delete from chunks where document_id = :d"],
    "missing_terms": ["delete from chunk_terms where document_id = :d"],
    "orphaned_terms": ["delete from chunks where document_id = :d"],
    "wrong_readers": ["update chunk_vectors set readers = '{user:x}' where document_id = :d"],
    "wrong_words": ["update chunks set text = 'other' where document_id = :d and ordinal = 0"],
    "stuck_documents": ["update documents set status = 'queued' where id = :d"],
    "wrong_counts": ["update term_frequencies set chunks = chunks + 1 where workspace_id = :w"],
}


async def some_bytes(content: bytes) -> AsyncIterator[bytes]:
    """Yield the content as an upload does."""
    yield content


class Place:
    """A tenant's index with one document whose original file is there."""

    def __init__(self, database: Database, tenant: Tenant, blobs: MemoryBlobStore, document_id: DocumentId) -> None:
        self.database, self.tenant, self.blobs, self.document_id = database, tenant, blobs, document_id
        self.caller = tenant.worker()
        self.index = Index(database, blobs, Uploads(database, blobs, max_file_bytes=1000))

    async def run(self, statement: str) -> None:
        """Change the tables behind everybody's back."""
        async with self.database.transaction(self.caller) as session:
            await session.execute(
                text(statement), {"d": self.document_id, "w": self.caller.workspace_id} if ":" in statement else {}
            )

    async def findings(self) -> set[str]:
        """Return the names of what is found."""
        return {finding.check for finding in (await self.index.check(self.caller)).findings}


@pytest.fixture
async def place(database: Database, tenant: Tenant, embedder: FakeEmbedder) -> Place:
    blobs = MemoryBlobStore()
    await blobs.put(tenant.workspace_id, some_bytes(b"1"), max_bytes=10)
    document_id = await add_document(database, tenant, embedder, "First words here.", "Second words there.")
    return Place(database, tenant, blobs, document_id)


async def test_nothing_is_found_where_nothing_is_wrong(place: Place) -> None:
    health = await place.index.check(place.caller)
    assert health.findings == ()
    assert health.is_healthy
    assert health.sizes == {"documents": 1, "chunks": 2, "vectors": 2, "lexical_entries": 2}


@pytest.mark.parametrize("check", DAMAGE)
async def test_damage_is_found_by_its_name(place: Place, check: str) -> None:
    for statement in DAMAGE[check]:
        await place.run(statement)
    assert check in await place.findings()


async def test_a_lost_original_file_and_a_forgotten_one_are_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragecho.library.index_check.YOUNG", timedelta(seconds=-10))
    await place.blobs.delete(place.tenant.workspace_id, sha256(b"1").hexdigest())
    await place.blobs.put(place.tenant.workspace_id, some_bytes(b"2"), max_bytes=10)
    assert await place.findings() == {"missing_blobs", "orphaned_blobs"}


async def test_a_young_file_without_a_document_is_an_upload_under_way(place: Place) -> None:
    await place.blobs.put(place.tenant.workspace_id, some_bytes(b"2"), max_bytes=10)
    assert await place.findings() == set()


async def test_a_job_that_the_queue_lost_is_found_and_delivered_again(place: Place) -> None:
    async with place.database.transaction(place.caller) as session:
        await jobs.enqueue(session, place.caller, kind="test", queue="lost")
        await session.execute(text("delete from procrastinate_jobs where queue_name = 'lost'"))
    assert await place.findings() == {"undelivered_jobs"}
    assert (await place.index.rebuild(place.caller)).jobs == 1
    assert await place.findings() == set()


async def test_a_rebuild_counts_anew_and_corrects_readers(place: Place) -> None:
    await place.run("update term_frequencies set chunks = chunks + 1 where workspace_id = :w")
    await place.run("delete from index_statistics where workspace_id = :w")
    await place.run("update chunk_terms set readers = '{user:x}' where document_id = :d")
    assert await place.findings() == {"wrong_counts", "wrong_readers"}
    await place.index.rebuild(place.caller)
    assert await place.findings() == set()


async def test_a_rebuild_finds_out_again_how_words_are_stemmed_and_how_far_the_graph_is(place: Place) -> None:
    await place.run("update documents set language = 'de' where id = :d")
    await place.run("update chunk_vectors set in_graph = true where document_id = :d")
    await place.run("delete from index_statistics where workspace_id = :w")
    await place.index.rebuild(place.caller)
    async with place.database.transaction(place.caller) as session:
        (row,) = await session.execute(text("select stemmings, graph from index_statistics"))
    assert tuple(row) == (["german"], "whole")


async def test_a_rebuild_queues_documents_whose_pieces_are_missing(place: Place) -> None:
    await place.run("delete from chunk_vectors where document_id = :d")
    repaired = await place.index.rebuild(place.caller)
    assert repaired.documents == 1
    async with place.database.transaction(place.caller) as session:
        queued, _ = await overview.list_jobs(session, place.caller, statuses=["queued"], limit=5, offset=0)
    assert [job.document_id for job in queued] == [place.document_id]
