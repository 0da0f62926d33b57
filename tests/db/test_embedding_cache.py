"""Embeddings are kept by content, for one organisation, and used again."""

from hashlib import sha256

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant

from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest.steps.embed import FIRST_PIECE, cache_model, embed
from ragecho.library import store_embeddings
from ragecho.platform.database import Database
from ragecho.ports.embedder import Vectors

pytestmark = pytest.mark.anyio


class CountingEmbedder(FakeEmbedder):
    """Notes what it was asked to embed."""

    def __init__(self) -> None:
        super().__init__(dimensions=384)
        self.asked: list[str] = []

    async def embed_passages(self, texts: list[str]) -> Vectors:  # type: ignore[override]  # the tests pass lists
        self.asked += texts
        return await super().embed_passages(texts)


async def nothing(_share: float) -> None:
    """Progress is of no interest here."""


async def keep(database: Database, tenant: Tenant, embedder: CountingEmbedder, *texts: str) -> list[str]:
    """Embed as ingestion does and return the vectors."""
    worker = tenant.worker()
    done = await embed(database, worker, embedder, texts, advance=nothing)
    async with database.transaction(worker) as session:
        await store_embeddings.store_embeddings(session, worker, cache_model(embedder), done.fresh)
    return done.vectors


async def test_a_text_is_embedded_once_and_its_vector_is_the_same_afterwards(
    database: Database, tenant: Tenant
) -> None:
    embedder = CountingEmbedder()
    first = await keep(database, tenant, embedder, "one", "two", "one")
    second = await keep(database, tenant, embedder, "two", "three", "one")
    assert embedder.asked == ["one", "two", "three"]
    assert first[0] == first[2]
    async with database.transaction(tenant.worker()) as session:
        distance = await session.execute(
            text("select cast(:a as halfvec(384)) <-> cast(:b as halfvec(384))"), {"a": first[1], "b": second[0]}
        )
        assert distance.scalar_one() == 0


async def test_another_organisation_does_not_learn_what_is_known_here(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    embedder = CountingEmbedder()
    await keep(database, tenant, embedder, "secret words")
    await keep(database, other_tenant, embedder, "secret words")
    assert embedder.asked == ["secret words", "secret words"]
    async with database.transaction(other_tenant.worker()) as session:
        found = await store_embeddings.load_embeddings(
            session, tenant.worker(), cache_model(embedder), [sha256(b"secret words").digest()]
        )
    assert found == {}


async def test_vectors_of_another_model_are_not_used(database: Database, tenant: Tenant) -> None:
    embedder = CountingEmbedder()
    worker = tenant.worker()
    await keep(database, tenant, embedder, "one")
    async with database.transaction(worker) as session:
        found = await store_embeddings.load_embeddings(session, worker, "other@1", [sha256(b"one").digest()])
    assert found == {}


async def test_what_nobody_used_for_long_is_forgotten(database: Database, tenant: Tenant) -> None:
    embedder = CountingEmbedder()
    worker = tenant.worker()
    await keep(database, tenant, embedder, "old", "new")
    async with database.transaction(worker) as session:
        await session.execute(
            text("update embedding_cache set used_on = current_date - 100 where digest = :digest"),
            {"digest": sha256(b"old").digest()},
        )
        assert await store_embeddings.purge_embeddings(session, worker) == 1
    await keep(database, tenant, embedder, "old", "new")
    assert embedder.asked == ["old", "new", "old"]


async def test_a_crash_costs_one_piece_of_what_was_embedded(database: Database, tenant: Tenant) -> None:
    class Mortal(CountingEmbedder):
        async def embed_passages(self, texts: list[str]) -> Vectors:  # type: ignore[override]  # the tests pass lists
            if len(self.asked) > FIRST_PIECE:
                raise RuntimeError("killed")
            return await super().embed_passages(texts)

    texts = [f"text {number}" for number in range(5 * FIRST_PIECE)]
    shares: list[float] = []

    async def noted(share: float) -> None:
        shares.append(share)

    mortal, heir = Mortal(), CountingEmbedder()
    with pytest.raises(RuntimeError, match="killed"):
        await embed(database, tenant.worker(), mortal, texts, advance=nothing)
    done = await embed(database, tenant.worker(), heir, texts, advance=noted)
    # The first piece was quick, so the next was twice as large; both were kept before the third failed.
    assert mortal.asked == texts[: 3 * FIRST_PIECE]
    assert heir.asked == texts[3 * FIRST_PIECE :]
    assert len(done.vectors) == len(texts)
    assert shares == [0.0, 0.5]
