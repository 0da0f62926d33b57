"""Vectors of a small workspace are in no graph; while it grows they enter, and a graph that is not whole is not searched."""

import random
from hashlib import sha256

import numpy as np
import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant, make_tenant
from tests.db.search_plans import Matrix, random_vectors

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.caller import WORKSPACE_PRINCIPAL, Access
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId, uuid7
from ragecho.library import store_chunks, store_uploads
from ragecho.library.model import IndexedChunk, IndexedVersion, Version
from ragecho.library.search import PassageSearch, SearchMode, SearchTuning, vector_literal
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio

FROM, BATCH = 60, 10
TUNING = SearchTuning(exact_below_chunks=80, few_chunks=40, depth=20)


@pytest.fixture
async def tenant(owner_url: str, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    monkeypatch.setattr(store_chunks, "GRAPH_FROM_CHUNKS", FROM)
    owner = Database(owner_url, pool_size=1)
    made = await make_tenant(owner)
    await owner.close()
    return made


async def add(database: Database, tenant: Tenant, vectors: Matrix) -> list[ChunkId]:
    """Store a document of a chunk for each vector."""
    worker, rng = tenant.worker(), random.Random(1)
    version = Version(VersionId(uuid7()), DocumentId(uuid7()), 1, "a.txt", "text/plain", 1, sha256(b"1").hexdigest())
    chunks = tuple(
        IndexedChunk(
            id=ChunkId(uuid7()),
            ordinal=ordinal,
            start=ordinal * 10,
            end=ordinal * 10 + 9,
            page=None,
            heading_path=(),
            tokens=5,
            sha256=b"0" * 32,
            text="a passage",
            embedding=vector_literal(vector),
            length=2,
            terms=sorted(rng.sample(range(1, 50), 2)),
            frequencies=[1, 1],
        )
        for ordinal, vector in enumerate(vectors)
    )
    readers = (WORKSPACE_PRINCIPAL,)
    async with database.transaction(worker) as session:
        await store_chunks.lock_index(session, worker)
        await store_uploads.insert_documents(
            session,
            worker,
            [version],
            tags=(),
            metadata={},
            access=Access.WORKSPACE,
            owner_id=None,
            readers=readers,
        )
        indexed = IndexedVersion(version.document_id, version.id, readers, chunks)
        await store_chunks.insert_versions(session, worker, space_id=tenant.space.id, versions=[indexed])
        await store_chunks.finish_versions(session, worker, [indexed])
    return [chunk.id for chunk in chunks]


async def graph_of(database: Database, tenant: Tenant) -> tuple[str, int, int]:
    """Return how far the graph is, how many vectors are in it, and how many there are."""
    async with database.transaction(tenant.worker()) as session:
        found = await session.execute(
            text(
                "select s.graph, count(*) filter (where v.in_graph), count(*) from index_statistics s"
                " join chunk_vectors v on v.workspace_id = s.workspace_id where s.workspace_id = :id group by s.graph"
            ),
            {"id": tenant.workspace_id},
        )
        return tuple(found.one())


async def test_vectors_enter_the_graph_as_the_workspace_grows(database: Database, tenant: Tenant) -> None:
    vectors, seen = random_vectors(FROM + 6 * BATCH, seed=1), []
    for first in range(0, len(vectors), BATCH):
        await add(database, tenant, vectors[first : first + BATCH])
        seen.append(await graph_of(database, tenant))
    # Below the size none; from there on the new ones, and with each of them two of those that came before.
    assert seen[:5] == [("none", 0, size) for size in range(BATCH, FROM, BATCH)]
    assert seen[5:7] == [("growing", 30, 60), ("growing", 60, 70)]
    # Nothing was left for the next one, which is what tells that the graph is whole.
    assert seen[7:] == [("whole", size, size) for size in range(80, len(vectors) + 1, BATCH)]


async def test_only_a_whole_graph_is_searched_and_both_ways_find_the_same(database: Database, tenant: Tenant) -> None:
    embedder, vectors = FakeEmbedder(dimensions=384), random_vectors(120, seed=2)
    search, caller = PassageSearch(database, embedder, TUNING), tenant.member()
    ids: list[ChunkId] = []
    for first in range(0, 120, BATCH):
        ids += await add(database, tenant, vectors[first : first + BATCH])
        found = await search.search(caller, query="herons", k=10, mode=SearchMode.VECTOR)
        question = await embedder.embed_query("herons")
        nearest = np.argsort(-(vectors[: len(ids)] @ question), kind="stable")[:10]
        assert {passage.chunk_id for passage in found.passages} == {ids[place] for place in nearest}
    assert (await graph_of(database, tenant))[0] == "whole"


async def test_a_workspace_that_begins_large_begins_in_the_graph(database: Database, tenant: Tenant) -> None:
    await add(database, tenant, random_vectors(FROM + 5, seed=3))
    assert await graph_of(database, tenant) == ("whole", FROM + 5, FROM + 5)
