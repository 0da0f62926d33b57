"""The lifecycle of documents against a real database, in any order, with searches and crashes in between.

Rules are what people and machines do: upload, replace, delete, retag, reclassify, reindex, cancel, a worker that works, one that
dies before it writes, one that dies while it writes. After each, the index check finds nothing, and a search shows exactly
the newest version that became ready of every document that the reader may read.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import text
from tests.conftest import examples
from tests.db.conftest import Tenant, make_tenant

from ragecho.engines.blobs import MemoryBlobStore
from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest import jobs as acts
from ragecho.ingest.flow import IngestFlow
from ragecho.ingest.index_repair import Index
from ragecho.ingest.lifecycle import Lifecycle, Selection
from ragecho.ingest.model import Handling, Incoming, Labels
from ragecho.ingest.service import Uploads
from ragecho.ingest.settings import IngestSettings
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import Conflict, NotFound, ParseFailed
from ragecho.kernel.ids import DocumentId, JobId, UserId, WorkspaceId, uuid7
from ragecho.kernel.parsed import Block, BlockKind, ParsedDocument
from ragecho.library import service
from ragecho.library.search import PassageSearch, SearchMode
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs import store_overview as overview
from ragecho.platform.jobs.model import Job, Priority
from ragecho.ports.parser import ParseLimits, ParseRequest


class PlainParser:
    """Reads text as it is; a file that says `broken` cannot be read."""

    async def parse_many(
        self, files: Sequence[ParseRequest], *, limits: ParseLimits
    ) -> list[ParsedDocument | ParseFailed]:
        return [_parsed(file.path) for file in files]

    async def parse(self, path: Path, **_: Any) -> ParsedDocument:
        parsed = _parsed(path)
        if isinstance(parsed, ParseFailed):
            raise parsed
        return parsed


def _parsed(path: Path) -> ParsedDocument | ParseFailed:
    words = path.read_text()
    if "broken" in words:
        return ParseFailed("damaged", "The file is damaged.")
    block = Block(BlockKind.PARAGRAPH, 0, len(words))
    return ParsedDocument(words, (block,), (), "text/plain", "plain")


class English:
    """Every document is English."""

    def detect(self, text: str) -> str:
        return "en"


class DyingEmbedder(FakeEmbedder):
    """Dies with its worker when it is told to, and waits where `gate` is set until that is open."""

    is_dying = False
    gate: asyncio.Event | None = None

    async def embed_passages(self, texts: Sequence[str]) -> Any:
        if self.is_dying:
            raise asyncio.CancelledError
        if self.gate is not None:
            await self.gate.wait()
        return await super().embed_passages(texts)


@dataclass
class Known:
    """What must be true of a document: the word that is found (none before a version was ready) and what waits."""

    found: str | None = None
    waiting: str | None = None
    access: Access = Access.WORKSPACE
    tags: tuple[str, ...] = ()
    jobs: list[JobId] = field(default_factory=list)


class World:
    """One workspace, its parts, and what is known of it."""

    def __init__(self, database: Database, tenant: Tenant) -> None:
        self.database, self.tenant = database, tenant
        self.blobs, self.embedder = MemoryBlobStore(), DyingEmbedder(dimensions=384)
        self.uploads = Uploads(database, self.blobs, max_file_bytes=10_000)
        self.index = Index(database, self.blobs, self.uploads)
        self.flow = IngestFlow(
            database,
            self.blobs,
            PlainParser(),
            self.embedder,
            English(),
            settings=IngestSettings(_env_file=None),
        )
        self.search = PassageSearch(database, self.embedder)
        self.lifecycle = Lifecycle(database, self.blobs)
        self.worker = tenant.worker()
        self.owner = UserId(uuid7())
        self.writer, self.reader = tenant.member(self.owner), tenant.member(UserId(uuid7()))
        self.known: dict[DocumentId, Known] = {}
        self.words = 0

    async def start(self) -> None:
        async with self.database.transaction(self.writer) as session:
            await session.execute(
                text("insert into users (id, email) values (:id, :email)"),
                {"id": self.owner, "email": f"{self.owner}@x.test"},
            )

    def word(self) -> str:
        self.words += 1
        return f"wort{self.words}zq"

    def content(self, word: str) -> bytes:
        return f"{word} stands here.\n\nThe rest of {word} is filling.".encode()

    async def upload(
        self, count: int, access: Access, priority: Priority, *, is_broken: bool = False
    ) -> list[DocumentId]:
        words = [self.word() + ("broken" if is_broken else "") for _ in range(count)]
        files = [_incoming(f"{word}.txt", self.content(word)) for word in words]
        done = await self.uploads.accept_all(
            self.writer, files, labels=Labels(access, ("new",)), handling=Handling(priority)
        )
        for word, one in zip(words, done.documents, strict=True):
            assert one.job_id is not None
            self.known[one.id] = Known(None, word, access, ("new",), [one.job_id])
        return [one.id for one in done.documents]

    async def replace(self, document_id: DocumentId, *, is_broken: bool) -> None:
        word = self.word() + ("broken" if is_broken else "")
        done = await self.uploads.replace(
            self.writer, document_id, _bytes(self.content(word)), filename=f"{word}.txt", content_type=None
        )
        assert done.job_id is not None
        self.known[document_id].waiting = word
        self.known[document_id].jobs.append(done.job_id)

    async def reindex(self, document_id: DocumentId) -> None:
        async with self.database.transaction(self.writer) as session:
            found = await session.execute(
                text("select filename from document_versions where document_id = :id order by number desc limit 1"),
                {"id": document_id},
            )
            newest = str(found.scalar_one()).removesuffix(".txt")
        done = await self.uploads.reindex(self.writer, document_id)
        assert done.job_id is not None
        self.known[document_id].waiting = newest
        self.known[document_id].jobs.append(done.job_id)

    async def claimed(self, limit: int) -> list[Job]:
        """Take what the queue would hand out next."""
        async with self.database.anonymous() as session:
            found = await session.execute(
                text(
                    "update procrastinate_jobs set status = 'doing' where id = (select id from procrastinate_jobs"
                    " where status = 'todo' and args ->> 'workspace_id' = :w order by priority desc, id limit 1)"
                    " returning args ->> 'job_id'"
                ),
                {"w": str(self.tenant.workspace_id)},
            )
            job_id = found.scalar_one_or_none()
        if job_id is None:
            return []
        async with self.database.transaction(self.worker) as session:
            return await jobs.claim(session, self.worker, JobId(job_id), limit=limit)

    async def work(self, limit: int) -> None:
        """Process what a worker would take together, to the end."""
        batch = await self.claimed(limit)
        if not batch:
            return
        failures = await self.flow.run(self.worker, batch)
        await self._settle(batch, failures)

    async def _settle(self, batch: Sequence[Job], failures: Any) -> None:
        for job in batch:
            async with self.database.transaction(self.worker) as session:
                await jobs.drop_deliveries(session, [job])
                failure = failures.get(job.id)
                if failure is not None and await jobs.still_open(session, self.worker, job.id):
                    error = {"code": "x", "message": str(failure)}
                    await jobs.finish(session, self.worker, job.id, status="failed", error=error)
                    await self.flow.give_up(session, self.worker, job, error)
            known = self.known.get(job.document_id) if job.document_id else None
            if known is None or known.jobs[-1] != job.id or known.waiting is None:
                continue
            if failure is None:
                known.found = known.waiting
            known.waiting = None

    async def crash(self, limit: int) -> None:
        """A worker takes jobs and dies before it writes; what it held is handed out again."""
        batch = await self.claimed(limit)
        self.embedder.is_dying = True
        try:
            with pytest.raises(asyncio.CancelledError):
                if not batch:
                    raise asyncio.CancelledError
                await self.flow.run(self.worker, batch)
                raise asyncio.CancelledError
        finally:
            self.embedder.is_dying = False
        async with self.database.anonymous() as session:
            await session.execute(
                text("update procrastinate_jobs set status = 'todo', worker_id = null where id = any (:ids)"),
                {"ids": [job.queue_job_id for job in batch]},
            )

    async def outlived(self, act: Coroutine[Any, Any, None], limit: int) -> None:
        """A worker is at work while somebody does something else."""
        batch = await self.claimed(limit)
        if not batch:
            act.close()
            return
        self.embedder.gate = asyncio.Event()
        running = asyncio.create_task(self.flow.run(self.worker, batch))
        try:
            await act
        finally:
            self.embedder.gate.set()
            self.embedder.gate = None
        await self._settle(batch, await running)

    async def found(self, caller: Caller, word: str) -> set[str]:
        result = await self.search.search(caller, query=word, k=20, mode=SearchMode.LEXICAL)
        return {passage.text.split()[0] for passage in result.passages if word in passage.text}

    async def check(self) -> None:
        health = await self.index.check(self.worker)
        assert health.findings == ()
        words = {known.found: known for known in self.known.values() if known.found}
        for reader in (self.writer, self.reader):
            result = await self.search.search(reader, query="stands here", k=200, mode=SearchMode.LEXICAL)
            shown = {(passage.document_id, passage.text.split()[0]) for passage in result.passages}
            expected = {
                (document_id, known.found)
                for document_id, known in self.known.items()
                if known.found and (known.access is not Access.PRIVATE or reader is self.writer)
            }
            assert shown == expected
        assert len(words) == sum(1 for known in self.known.values() if known.found)


def _incoming(name: str, content: bytes) -> Incoming:
    return Incoming(name, "text/plain", lambda: _bytes(content))


async def _bytes(content: bytes) -> AsyncIterator[bytes]:
    yield content


ACCESS = st.sampled_from([Access.WORKSPACE, Access.PRIVATE, Access.INTERNAL])


class Lifetimes(RuleBasedStateMachine):
    """See above."""

    url = ""
    documents = Bundle("documents")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = self.runner.run(self._made())

    async def _made(self) -> World:
        database = Database(self.url, pool_size=4)
        world = World(database, await make_tenant(database))
        await world.start()
        return world

    def teardown(self) -> None:
        self.runner.run(self.world.database.close())
        self.runner.close()

    def run_(self, act: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(act)

    @rule(target=documents, count=st.integers(1, 4), access=ACCESS, priority=st.sampled_from(Priority))
    def upload(self, count: int, access: Access, priority: Priority) -> Any:
        return multiple(*self.run_(self.world.upload(count, access, priority)))

    @rule(target=documents)
    def upload_broken(self) -> Any:
        return multiple(*self.run_(self.world.upload(1, Access.WORKSPACE, Priority.NORMAL, is_broken=True)))

    @rule(document=documents, is_broken=st.booleans())
    def replace(self, document: DocumentId, is_broken: bool) -> None:
        self.run_(self.world.replace(document, is_broken=is_broken))

    @rule(document=documents)
    def reindex(self, document: DocumentId) -> None:
        self.run_(self.world.reindex(document))

    @rule(document=consumes(documents))
    def delete(self, document: DocumentId) -> None:
        async def act() -> None:
            done = await self.world.lifecycle.delete(self.world.writer, Selection((document,)), expected_total=None)
            assert done.ids == (document,)

        self.run_(act())
        del self.world.known[document]

    @rule(document=documents, access=ACCESS)
    def reclassify(self, document: DocumentId, access: Access) -> None:
        self.run_(self._change(document, service.DocumentChange(access=access)))
        self.world.known[document].access = access

    @rule(document=documents, tag=st.sampled_from(["a", "b"]))
    def retag(self, document: DocumentId, tag: str) -> None:
        self.run_(self._change(document, service.DocumentChange(tags=(tag,))))
        self.world.known[document].tags = (tag,)

    async def _change(self, document: DocumentId, change: service.DocumentChange) -> None:
        async with self.world.database.transaction(self.world.writer) as session:
            await service.change_document(self.world.writer, session, document, change)

    @rule(document=documents)
    def cancel(self, document: DocumentId) -> None:
        self._act_on_job(document, acts.cancel_job, is_waiting_after=False)

    @rule(document=documents)
    def retry(self, document: DocumentId) -> None:
        self._act_on_job(document, acts.retry_job, is_waiting_after=True)

    def _act_on_job(self, document: DocumentId, act: Any, *, is_waiting_after: bool) -> None:
        known, job_id = self.world.known[document], self.world.known[document].jobs[-1]

        async def run() -> Job | None:
            try:
                async with self.world.database.transaction(self.world.writer) as session:
                    done: Job = await act(self.world.writer, session, job_id)
            except (Conflict, NotFound):
                return None
            else:
                return done

        if self.run_(run()) is None:
            return
        known.waiting = self.run_(self._newest(document)) if is_waiting_after else None

    async def _newest(self, document: DocumentId) -> str:
        async with self.world.database.transaction(self.world.writer) as session:
            found = await session.execute(
                text("select filename from document_versions where document_id = :id order by number desc limit 1"),
                {"id": document},
            )
            return str(found.scalar_one()).removesuffix(".txt")

    @rule(limit=st.integers(1, 5))
    def work(self, limit: int) -> None:
        self.run_(self.world.work(limit))

    @rule(limit=st.integers(1, 5))
    def crash(self, limit: int) -> None:
        self.run_(self.world.crash(limit))

    @rule(document=documents, limit=st.integers(1, 5))
    def replace_while_a_worker_is_at_it(self, document: DocumentId, limit: int) -> None:
        self.run_(self.world.outlived(self.world.replace(document, is_broken=False), limit))

    @rule(document=documents, limit=st.integers(1, 5))
    def cancel_while_a_worker_is_at_it(self, document: DocumentId, limit: int) -> None:
        async def act() -> None:
            try:
                async with self.world.database.transaction(self.world.writer) as session:
                    await acts.cancel_job(self.world.writer, session, self.world.known[document].jobs[-1])
            except Conflict:
                return
            self.world.known[document].waiting = None

        self.run_(self.world.outlived(act(), limit))

    @rule(document=documents, limit=st.integers(1, 5), access=ACCESS)
    def reclassify_while_a_worker_is_at_it(self, document: DocumentId, limit: int, access: Access) -> None:
        async def act() -> None:
            await self._change(document, service.DocumentChange(access=access))
            self.world.known[document].access = access

        self.run_(self.world.outlived(act(), limit))

    @invariant()
    def everything_is_in_order(self) -> None:
        self.run_(self.world.check())


def test_documents_live_and_die_in_any_order(owner_url: str) -> None:
    Lifetimes.url = owner_url
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # not annotated upstream
        Lifetimes,
        settings=settings(
            max_examples=examples(6),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


@pytest.fixture
async def world(database: Database, tenant: Tenant) -> World:
    made = World(database, tenant)
    await made.start()
    return made


async def _searching(world: World, seen: list[set[tuple[str, str]]], is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        result = await world.search.search(world.reader, query="stands here", k=200, mode=SearchMode.LEXICAL)
        seen.append({(str(passage.version_id), passage.text.split()[0]) for passage in result.passages})
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_searches_during_replacements_see_one_version_or_the_other(world: World) -> None:
    (document_id,) = await world.upload(1, Access.WORKSPACE, Priority.NORMAL)
    await world.work(1)
    seen: list[set[tuple[str, str]]] = []
    is_over = asyncio.Event()
    searching = asyncio.create_task(_searching(world, seen, is_over))
    for _ in range(10):
        await world.replace(document_id, is_broken=False)
        await world.work(1)
        await world.reindex(document_id)
        await world.work(1)
    is_over.set()
    await searching
    assert len(seen) > 10
    assert {len(one) for one in seen} == {1}


@pytest.mark.anyio
async def test_searches_during_deletions_see_all_of_a_document_or_nothing(world: World) -> None:
    seen: list[set[tuple[str, str]]] = []
    is_over = asyncio.Event()
    searching = asyncio.create_task(_searching(world, seen, is_over))
    for _ in range(5):
        ids = await world.upload(4, Access.WORKSPACE, Priority.NORMAL)
        await world.work(4)
        done = await world.lifecycle.delete(world.writer, Selection(tuple(ids)), expected_total=None)
        assert set(done.ids) == set(ids)
    is_over.set()
    await searching
    # One transaction brought the four, one took them.
    assert {len(one) for one in seen} <= {0, 4}
    world.known.clear()
    await world.check()
    assert [one async for one in world.blobs.iterate(WorkspaceId(world.tenant.workspace_id))] == []


@pytest.mark.anyio
async def test_urgent_documents_come_first_within_their_workspace(world: World) -> None:
    await world.upload(3, Access.WORKSPACE, Priority.LOW)
    normal = await world.upload(2, Access.WORKSPACE, Priority.NORMAL)
    high = await world.upload(1, Access.WORKSPACE, Priority.HIGH)
    taken = []
    for _ in range(6):
        (job,) = await world.claimed(1)
        taken.append(job.document_id)
        async with world.database.transaction(world.worker) as session:
            await jobs.succeed(session, world.worker, [job.id])
            await jobs.drop_deliveries(session, [job])
    assert taken[:3] == [*high, *normal]
    async with world.database.transaction(world.worker) as session:
        _, still_open = await overview.list_jobs(session, world.worker, statuses=["queued"], limit=1, offset=0)
    assert still_open == 0
