"""A workspace changes its embedding space while documents come, change and go, workers die, and searches go on.

The lifecycle's state machine (test_lifecycle.py) with re-indexings in between: into a space of another model with other dimensions,
into one of the same model that cuts otherwise, and back. After every step the index check finds nothing, and searches by words
and by meaning show exactly what they should, all of it from the workspace's one space.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from sqlalchemy import text
from tests.conftest import examples
from tests.db.conftest import SPACE, Tenant, make_tenant
from tests.db.test_lifecycle import Lifetimes, World

from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest import jobs as job_acts
from ragecho.ingest import reindex
from ragecho.ingest.reindex import REINDEX_JOB, Reindexing
from ragecho.ingest.reindex_work import ReindexWork
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import Conflict, NotFound, Unavailable
from ragecho.kernel.ids import DocumentId, JobId, uuid7
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.library import store_chunks
from ragecho.library.reindexing import ReindexStatus
from ragecho.library.search import PassageSearch, SearchMode, SearchTuning
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Job, Priority
from ragecho.ports.embedder import Embedder, Vectors

OTHER = EmbeddingSpace(uuid7(at_ms=2, entropy=b"0123456789"), "other", "1", 96, "blocks-1:64/0:x")
RECUT = EmbeddingSpace(uuid7(at_ms=3, entropy=b"0123456789"), "fake", "1", 384, "blocks-1:64/0:x")
TARGETS = {None: SPACE, "other": OTHER, "recut": RECUT}


class OtherEmbedder(FakeEmbedder):
    """Another model: other places for the same words."""

    model = "other"
    is_dead = False

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        if self.is_dead:
            raise Unavailable("The provider is away.")
        return np.ascontiguousarray((await super().embed_passages(texts))[:, ::-1])

    async def embed_query(self, text: str) -> Vectors:
        return np.ascontiguousarray((await super().embed_query(text))[::-1])


class Both:
    """What a worker does with a job of either kind."""

    def __init__(self, world: "ReindexWorld", ingest: Any) -> None:
        self._world, self._ingest = world, ingest

    async def run(self, caller: Caller, batch: Sequence[Job]) -> Mapping[JobId, Exception]:
        if batch[0].kind == REINDEX_JOB:
            return await self._world.reindex_work.run(caller, batch)
        return await self._ingest.run(caller, batch)

    async def give_up(self, session: Session, caller: Caller, job: Job, error: dict[str, Any]) -> None:
        await self._world.reindex_work.give_up_or(self._ingest.give_up)(session, caller, job, error)


class ReindexWorld(World):
    """One workspace that can be re-indexed."""

    def __init__(self, database: Database, tenant: Tenant) -> None:
        super().__init__(database, tenant)
        self.other = OtherEmbedder(dimensions=96)
        self.reindexing = Reindexing(database, self, lambda model, _: TARGETS[model])
        self.flow.pieces._embedders = self  # the flow was built for one embedder of all spaces
        self.reindex_work = ReindexWork(database, self.flow.pieces, self.flow.parse_again)
        self.flow = Both(self, self.flow)  # type: ignore[assignment]  # a worker's way of choosing
        self.search = PassageSearch(database, self)

    def of(self, space: EmbeddingSpace) -> Embedder:
        return self.other if space.model == "other" else self.embedder

    def content(self, word: str) -> bytes:
        filler = " ".join(f"Sentence {n} of {word} says something long about nothing at all." for n in range(12))
        return f"{word} stands here.\n\n{filler}".encode()

    async def reindex_into(self, model: str | None) -> None:
        try:
            await self.reindexing.start(self.writer, model=model)
        except Conflict:
            assert (await self.state()).status is ReindexStatus.FILLING

    async def cancel_reindex(self) -> None:
        try:
            await self.reindexing.cancel(self.writer)
        except (Conflict, NotFound):
            assert (await self.state()).status is not ReindexStatus.FILLING

    async def state(self) -> reindex.ReindexState:
        return await self.reindexing.state(self.writer)

    async def reindex_step(self) -> bool:
        """Do one job of the re-indexing; False when there is none."""
        async with self.database.transaction(self.worker) as session:
            found = await session.execute(
                text(
                    "select j.id from jobs j join procrastinate_jobs q on q.id = j.queue_job_id and q.status = 'todo'"
                    " where j.kind = 'reindex' and j.status in ('queued', 'running') order by j.created_at, j.id limit 1"
                )
            )
            job_id = found.scalar_one_or_none()
            batch = await jobs.claim(session, self.worker, JobId(job_id), limit=1) if job_id else []
        if not batch:
            return False
        await self._settle(batch, await self.reindex_work.run(self.worker, batch))
        return True

    async def finish_reindex(self) -> None:
        while await self.reindex_step():
            pass

    async def check(self) -> None:
        await super().check()
        expected = {
            document_id
            for document_id, known in self.known.items()
            if known.found and known.access is not Access.PRIVATE
        }
        result = await self.search.search(self.reader, query="stands here", k=2000, mode=SearchMode.VECTOR)
        assert {passage.document_id for passage in result.passages} == expected
        assert await self._spaces_of(result.passages) <= {(await self.state()).own.id}

    async def _spaces_of(self, passages: Sequence[Any]) -> set[Any]:
        async with self.database.transaction(self.worker) as session:
            found = await session.execute(
                text("select distinct space_id from chunks where id = any (:ids)"),
                {"ids": [passage.chunk_id for passage in passages]},
            )
            return set(found.scalars())

    async def counted(self, table: str, space: EmbeddingSpace) -> int:
        async with self.database.transaction(self.worker) as session:
            found = await session.execute(
                text(f"select count(*) from {table} where workspace_id = :w and space_id = :s"),
                {"w": self.tenant.workspace_id, "s": space.id},
            )
            return int(found.scalar_one())


class Reindexings(Lifetimes):
    """The lifecycle, with re-indexings."""

    async def _made(self) -> World:
        database = Database(self.url, pool_size=4)
        world = ReindexWorld(database, await make_tenant(database))
        await world.start()
        return world

    @rule(model=st.sampled_from([None, "other", "recut"]))
    def reindex_into(self, model: str | None) -> None:
        self.run_(self.world.reindex_into(model))  # type: ignore[attr-defined]  # the world of this machine

    @rule()
    def cancel_reindex(self) -> None:
        self.run_(self.world.cancel_reindex())  # type: ignore[attr-defined]  # as above

    @rule(steps=st.integers(1, 6))
    def work_on_the_reindex(self, steps: int) -> None:
        async def act() -> None:
            for _ in range(steps):
                await self.world.reindex_step()  # type: ignore[attr-defined]  # as above

        self.run_(act())

    @rule(limit=st.integers(1, 5))
    def reindex_to_another_model_while_a_worker_is_at_it(self, limit: int) -> None:
        world: Any = self.world

        async def act() -> None:
            # Only this model does not wait at the gate.
            if (await world.state()).target == OTHER:
                await world.finish_reindex()

        self.run_(world.outlived(act(), limit))


def test_workspaces_change_their_space_at_any_time(owner_url: str) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    Reindexings.url = owner_url
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # not annotated upstream
        Reindexings,
        settings=settings(
            max_examples=examples(6),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


@pytest.fixture
async def world(database: Database, tenant: Tenant) -> ReindexWorld:
    made = ReindexWorld(database, tenant)
    await made.start()
    return made


@pytest.mark.anyio
async def test_a_workspace_changes_model_dimensions_and_cut_at_once(world: ReindexWorld) -> None:
    ids = await world.upload(5, Access.WORKSPACE, Priority.NORMAL)
    await world.work(5)
    before = await world.counted("chunks", SPACE)
    state = await world.reindexing.start(world.writer, model="other")
    assert (state.status, state.own, state.target) == (ReindexStatus.FILLING, SPACE, OTHER)
    await world.finish_reindex()
    state = await world.state()
    assert (state.status, state.own, state.documents_done, state.documents_total) == (ReindexStatus.DONE, OTHER, 5, 5)
    assert state.chunks == await world.counted("chunks", OTHER) > before
    for table in ("chunks", "chunk_vectors", "chunk_terms", "term_frequencies", "index_statistics"):
        assert await world.counted(table, SPACE) == 0, table
    async with world.database.transaction(world.writer) as session:
        counts = await session.execute(text("select sum(chunks) from documents where id = any (:ids)"), {"ids": ids})
        assert counts.scalar_one() == state.chunks
    await world.check()


@pytest.mark.anyio
async def test_what_is_asked_for_again_goes_on_and_what_is_there_already_is_not_done(world: ReindexWorld) -> None:
    assert (await world.reindexing.start(world.writer)).status is ReindexStatus.NONE
    first = await world.reindexing.start(world.writer, model="recut")
    again = await world.reindexing.start(world.writer, model="recut")
    assert first.started_at == again.started_at
    with pytest.raises(Conflict):
        await world.reindexing.start(world.writer, model="other")
    await world.finish_reindex()
    assert (await world.reindexing.start(world.writer, model="recut")).status is ReindexStatus.DONE


@pytest.mark.anyio
async def test_a_cancelled_reindexing_leaves_nothing_behind(world: ReindexWorld) -> None:
    await world.upload(3, Access.WORKSPACE, Priority.NORMAL)
    await world.work(3)
    await world.reindexing.start(world.writer, model="other")
    await world.reindex_step()
    await world.reindex_step()
    assert await world.counted("chunks", OTHER) > 0
    await world.reindexing.cancel(world.writer)
    with pytest.raises(Conflict):
        await world.reindexing.cancel(world.writer)
    await world.finish_reindex()
    assert await world.counted("chunks", OTHER) == 0
    assert (await world.state()).own == SPACE
    await world.check()


@pytest.mark.anyio
async def test_an_upload_does_not_fail_for_the_next_space_and_the_reindexing_says_why_it_does(
    world: ReindexWorld,
) -> None:
    await world.upload(1, Access.WORKSPACE, Priority.NORMAL)
    await world.work(1)
    await world.reindexing.start(world.writer, model="other")
    (document_id,) = await world.upload(1, Access.WORKSPACE, Priority.NORMAL)
    await world.reindex_step()
    world.other.is_dead = True
    await world.work(1)
    assert world.known[document_id].found
    await world.check()
    assert (await world.state()).status is ReindexStatus.FILLING
    await world.finish_reindex()
    state = await world.state()
    assert state.status is ReindexStatus.FAILED
    assert state.error is not None
    assert "provider is away" in state.error["message"]
    world.other.is_dead = False
    await world.reindexing.start(world.writer, model="other")
    await world.finish_reindex()
    assert (await world.state()).own == OTHER
    await world.check()


@pytest.mark.anyio
async def test_a_document_that_cannot_be_cut_fails_the_reindexing_after_some_passes(
    world: ReindexWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.upload(2, Access.WORKSPACE, Priority.NORMAL)
    await world.work(2)
    cut = type(world.reindex_work._pieces)._cut
    bad: list[DocumentId] = [next(iter(world.known))]

    def refusing(self: Any, space: EmbeddingSpace, embedder: Embedder, read: Any) -> Any:
        if read.version.document_id in bad and space == OTHER:
            raise ValueError("its words are too long")
        return cut(self, space, embedder, read)

    monkeypatch.setattr(type(world.reindex_work._pieces), "_cut", refusing)
    await world.reindexing.start(world.writer, model="other")
    await world.finish_reindex()
    state = await world.state()
    assert (state.status, state.own) == (ReindexStatus.FAILED, SPACE)
    assert state.error is not None
    assert state.error["document_id"] == str(bad[0])
    assert "1 documents" in state.error["message"]
    assert await world.counted("chunks", OTHER) == 0
    await world.check()


@pytest.mark.anyio
async def test_a_part_of_a_reindexing_is_not_cancelled_alone(world: ReindexWorld) -> None:
    await world.upload(2, Access.WORKSPACE, Priority.NORMAL)
    await world.work(2)
    await world.reindexing.start(world.writer, model="recut")
    async with world.database.transaction(world.writer) as session:
        found = await session.execute(text("select id from jobs where kind = 'reindex' and status = 'queued'"))
        job_id = JobId(found.scalars().first())
    with pytest.raises(Conflict, match="given up as a whole"):
        async with world.database.transaction(world.writer) as session:
            await job_acts.cancel_job(world.writer, session, job_id)
    await world.finish_reindex()
    assert (await world.state()).own == RECUT


@pytest.mark.anyio
async def test_what_a_worker_had_taken_up_when_it_died_is_found_by_the_next_pass(world: ReindexWorld) -> None:
    await world.upload(4, Access.WORKSPACE, Priority.NORMAL)
    await world.work(4)
    await world.reindexing.start(world.writer, model="recut")
    await world.reindex_step()
    await world.crash(1)
    assert await world.counted("chunks", RECUT) == 0
    await world.finish_reindex()
    assert (await world.state()).own == RECUT
    await world.check()


@pytest.mark.anyio
async def test_stored_words_are_not_parsed_again_and_lost_ones_are(world: ReindexWorld) -> None:
    ids = await world.upload(2, Access.WORKSPACE, Priority.NORMAL)
    await world.work(2)
    parsed: list[DocumentId] = []
    reparse = world.reindex_work._reparse

    async def noting(caller: Caller, version: Any) -> Any:
        parsed.append(version.document_id)
        return await reparse(caller, version)

    world.reindex_work._reparse = noting
    async with world.database.transaction(world.worker) as session:
        await session.execute(
            text("update document_versions set parsed = '{}' where document_id = :id"), {"id": ids[0]}
        )
    await world.reindexing.start(world.writer, model="recut")
    await world.finish_reindex()
    assert parsed == [ids[0]]
    assert (await world.state()).own == RECUT
    await world.check()


@pytest.mark.anyio
async def test_searches_during_a_reindexing_show_every_document_once_and_from_one_space(world: ReindexWorld) -> None:
    await world.upload(6, Access.WORKSPACE, Priority.NORMAL)
    await world.work(6)
    seen: list[tuple[set[Any], Any]] = []
    is_over = asyncio.Event()

    async def searching(mode: SearchMode) -> None:
        search = PassageSearch(world.database, world)
        while not is_over.is_set():
            found = await search.search(world.reader, query="stands here", k=500, mode=mode)
            words = [passage.text.split()[0] for passage in found.passages if "stands here" in passage.text]
            assert len(words) == 6 == len(set(words))
            assert found.space is not None
            seen.append(({len(found.passages)}, found.space.id))
            await asyncio.sleep(0)

    searches = [asyncio.create_task(searching(mode)) for mode in SearchMode]
    for model in ("other", "recut", None):
        await world.reindexing.start(world.writer, model=model)
        await world.finish_reindex()
        await asyncio.sleep(0.01)
    is_over.set()
    await asyncio.gather(*searches)
    assert {space for _, space in seen} == {SPACE.id, OTHER.id, RECUT.id}


@pytest.mark.anyio
async def test_a_result_that_was_kept_in_one_space_is_not_shown_in_another_or_after_coming_back(
    world: ReindexWorld,
) -> None:
    from ragecho.platform.cache.memory import MemoryCache

    search = PassageSearch(world.database, world, cache=MemoryCache(max_bytes=1 << 20))
    ids = await world.upload(2, Access.WORKSPACE, Priority.NORMAL)
    await world.work(2)

    async def shown() -> set[Any]:
        found = await search.search(world.reader, query="stands here", k=50)
        return {passage.document_id for passage in found.passages}

    assert await shown() == await shown() == set(ids)
    for model in ("other", None):
        await world.reindexing.start(world.writer, model=model)
        await world.finish_reindex()
        assert await shown() == set(ids)
    from ragecho.ingest.lifecycle import Selection

    await world.lifecycle.delete(world.writer, Selection((ids[0],)), expected_total=None)
    assert await shown() == {ids[1]}


@pytest.mark.anyio
async def test_passages_found_before_a_switch_may_be_quoted_after_it(world: ReindexWorld) -> None:
    await world.upload(1, Access.WORKSPACE, Priority.NORMAL)
    await world.work(1)
    caller = world.tenant.member()
    found = (await world.search.search(caller, query="stands here", k=5)).passages
    await world.reindexing.start(world.writer, model="other")
    await world.finish_reindex()
    assert await world.counted("chunks", SPACE) == 0
    assert await world.search.readable(caller, found) == {passage.chunk_id for passage in found} != set()


@pytest.mark.anyio
@pytest.mark.parametrize("dimensions", [96, 1024, 4000])
async def test_any_number_of_dimensions_has_a_graph_that_search_uses(
    database: Database, world: ReindexWorld, monkeypatch: pytest.MonkeyPatch, dimensions: int
) -> None:
    space = EmbeddingSpace(uuid7(), "other", "1", dimensions, f"blocks-1:64/0:{dimensions}")
    monkeypatch.setitem(TARGETS, "long", space)
    monkeypatch.setattr(store_chunks, "GRAPH_FROM_CHUNKS", 1)
    world.other = OtherEmbedder(dimensions=dimensions)
    await world.upload(4, Access.WORKSPACE, Priority.NORMAL)
    await world.work(4)
    await world.reindexing.start(world.writer, model="long")
    await world.finish_reindex()
    assert (await world.state()).own == space
    graph = PassageSearch(database, world, SearchTuning(exact_below_chunks=0, few_chunks=0))
    found = await graph.search(world.reader, query="stands here", k=50, mode=SearchMode.VECTOR)
    exact = await world.search.search(world.reader, query="stands here", k=50, mode=SearchMode.VECTOR)
    assert {one.chunk_id for one in found.passages} == {one.chunk_id for one in exact.passages} != set()
    async with database.transaction(world.reader) as session:
        await session.execute(text("set local enable_seqscan = off"))
        await session.execute(text("set local enable_sort = off"))
        graph_of_space = await session.execute(
            text("select graph from index_statistics where workspace_id = :workspace_id and space_id = :space_id"),
            {"workspace_id": world.tenant.workspace_id, "space_id": space.id},
        )
        assert graph_of_space.scalar_one() == "whole"
        plan = await session.execute(
            text(
                f"explain select chunk_id from chunk_vectors v where workspace_id = '{world.tenant.workspace_id}'"
                f" and space_id = '{space.id}' and in_graph and vector_dims(embedding) = {dimensions}"
                f" order by embedding::halfvec({dimensions}) <#> cast(:q as halfvec({dimensions})) limit 5"
            ),
            {"q": str([0.5] * dimensions)},
        )
        found_plan = "\n".join(plan.scalars())
        assert re.search(r"Index Scan using chunk_vectors_p\d+_embedding_idx\d* ", found_plan), found_plan
        assert f"Order By: ((embedding)::halfvec({dimensions}) <#>" in found_plan, found_plan


@pytest.mark.anyio
async def test_without_the_model_of_its_space_a_workspace_is_still_searched_by_words(world: ReindexWorld) -> None:
    (document_id,) = await world.upload(1, Access.WORKSPACE, Priority.NORMAL)
    await world.work(1)

    class Nothing:
        def of(self, space: EmbeddingSpace) -> Embedder:
            raise Unavailable(f"{space.model} is not installed.")

    search = PassageSearch(world.database, Nothing())
    found = await search.search(world.reader, query="stands here", k=5, mode=SearchMode.LEXICAL)
    assert [passage.document_id for passage in found.passages] == [document_id]
    with pytest.raises(Unavailable):
        await search.search(world.reader, query="stands here", k=5)


@pytest.mark.anyio
async def test_pieces_in_a_space_that_is_not_the_workspaces_are_found_and_removed(world: ReindexWorld) -> None:
    await world.upload(1, Access.WORKSPACE, Priority.NORMAL)
    await world.work(1)
    await world.reindexing.start(world.writer, model="recut")
    await world.finish_reindex()
    async with world.database.transaction(world.worker) as session:
        await session.execute(
            text("update chunk_vectors set space_id = :s where workspace_id = :w"),
            {"s": SPACE.id, "w": world.tenant.workspace_id},
        )
    health = await world.index.check(world.worker)
    assert {finding.check for finding in health.findings} == {"foreign_spaces", "mixed_spaces"}
    await world.index.rebuild(world.worker)
    assert await world.counted("chunk_vectors", SPACE) == 0
    for _ in range(3):
        await world.work(1)
    assert (await world.index.check(world.worker)).is_healthy
