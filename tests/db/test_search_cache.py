"""A result that is kept is never older than the index, and never somebody else's."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.caller import Access, Caller, group_principal, user_principal
from ragecho.kernel.errors import NotFound
from ragecho.kernel.ids import DocumentId, GroupId, UserId, uuid7
from ragecho.library import service, store_chunks, store_index
from ragecho.library.model import SearchFilter
from ragecho.library.search import Found, PassageSearch, SearchMode
from ragecho.platform.cache import MemoryCache
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio
WORDS = "the heron stood at the weir"


class Counting(FakeEmbedder):
    """Counts the questions that were embedded, and holds them at a gate."""

    def __init__(self) -> None:
        super().__init__(dimensions=384)
        self.questions = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed_query(self, text: str):  # type: ignore[no-untyped-def]  # as its parent
        self.questions += 1
        await self.gate.wait()
        return await super().embed_query(text)


@pytest.fixture
def counting(anyio_backend: str) -> Counting:
    return Counting()


@pytest.fixture
def search(database: Database, counting: Counting) -> PassageSearch:
    return PassageSearch(database, counting, cache=MemoryCache(max_bytes=1 << 20))


async def ask(search: PassageSearch, caller: Caller, query: str = WORDS, wanted: SearchFilter | None = None) -> Found:
    return await search.search(caller, query=query, k=5, wanted=wanted)


async def until(condition: Callable[[], bool]) -> None:
    """Let the others run until it is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is other tasks' own counting, which tells nobody
            await asyncio.sleep(0)


def documents(found: Found) -> set[DocumentId]:
    return {passage.document_id for passage in found.passages}


async def test_the_same_question_is_answered_from_the_cache_in_full(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting
) -> None:
    await add_document(database, tenant, counting, WORDS, "cranes are no herons")
    first, second = await ask(search, tenant.member()), await ask(search, tenant.member())
    assert (first.is_cached, second.is_cached) == (False, True)
    assert second.passages == first.passages
    assert counting.questions == 1
    assert set(second.timings_ms) == {"total"}


@pytest.mark.parametrize("change", ["words", "number", "mode", "filter", "groups", "person", "all", "workspace"])
async def test_whatever_a_result_depends_on_is_asked_anew(
    database: Database, tenant: Tenant, other_tenant: Tenant, search: PassageSearch, counting: Counting, change: str
) -> None:
    await add_document(database, tenant, counting, WORDS)
    member = tenant.member()
    await ask(search, member)
    callers = {
        "groups": replace(member, principals=(*member.principals, group_principal(GroupId(uuid7())))),
        "person": tenant.member(UserId(uuid7())),
        "all": tenant.worker(),
        "workspace": replace(other_tenant.member(), principals=member.principals),
    }
    found = await search.search(
        callers.get(change, member),
        query=f"{WORDS}?" if change == "words" else WORDS,
        k=4 if change == "number" else 5,
        mode=SearchMode.LEXICAL if change == "mode" else SearchMode.HYBRID,
        wanted=SearchFilter(tags=("none",)) if change == "filter" else None,
    )
    assert not found.is_cached
    assert bool(found.passages) is (change not in {"filter", "workspace"})


Change = Callable[[Database, Tenant, DocumentId], Awaitable[None]]


async def deleted(database: Database, tenant: Tenant, document: DocumentId) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await service.delete_document(worker, session, document)


async def made_private(database: Database, tenant: Tenant, document: DocumentId) -> None:
    await _changed(database, tenant, document, service.DocumentChange(access=Access.PRIVATE))


async def tagged(database: Database, tenant: Tenant, document: DocumentId) -> None:
    await _changed(database, tenant, document, service.DocumentChange(tags=("secret",)))


async def described(database: Database, tenant: Tenant, document: DocumentId) -> None:
    await _changed(database, tenant, document, service.DocumentChange(metadata={"year": 1999}))


async def _changed(database: Database, tenant: Tenant, document: DocumentId, change: service.DocumentChange) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await service.change_document(worker, session, document, change)


async def relabelled(database: Database, tenant: Tenant, document: DocumentId) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await store_chunks.relabel_chunks(session, worker, document, ["user:somebody"])


async def repaired(database: Database, tenant: Tenant, document: DocumentId) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await session.execute(text("update documents set readers = '{user:somebody}' where id = :id"), {"id": document})
        await store_index.copy_readers(session, worker)


async def forgotten(database: Database, tenant: Tenant, document: DocumentId) -> None:
    """Whatever writes to documents, an operator at the database included."""
    async with database.transaction(tenant.worker()) as session:
        await session.execute(text("delete from documents where id = :id"), {"id": document})


@pytest.mark.parametrize("change", [deleted, made_private, relabelled, repaired, forgotten])
async def test_what_may_not_be_seen_any_more_is_absent_from_the_very_next_query(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting, change: Change
) -> None:
    document = await add_document(database, tenant, counting, WORDS)
    other = await add_document(database, tenant, counting, "the crane stood at the weir")
    assert documents(await ask(search, tenant.member())) == {document, other}
    assert (await ask(search, tenant.member())).is_cached
    await change(database, tenant, document)
    now = await ask(search, tenant.member())
    assert not now.is_cached
    assert documents(now) == {other}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (tagged, SearchFilter(tags=("secret",))),
        (described, SearchFilter(metadata={"year": 1999})),
    ],
)
async def test_what_a_filter_matches_now_is_in_the_very_next_query(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting, change: Change, wanted: SearchFilter
) -> None:
    document = await add_document(database, tenant, counting, WORDS)
    for _ in range(2):
        assert not documents(await ask(search, tenant.member(), wanted=wanted))
    await change(database, tenant, document)
    assert documents(await ask(search, tenant.member(), wanted=wanted)) == {document}


async def test_what_is_added_and_a_new_title_are_in_the_very_next_query(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting
) -> None:
    first = await add_document(database, tenant, counting, WORDS)
    await ask(search, tenant.member())
    second = await add_document(database, tenant, counting, WORDS)
    assert documents(await ask(search, tenant.member())) == {first, second}
    await _changed(database, tenant, second, service.DocumentChange(title="Herons"))
    titles = {passage.document_id: passage.title for passage in (await ask(search, tenant.member())).passages}
    assert titles[second] == "Herons"


async def test_progress_of_processing_costs_no_result(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting
) -> None:
    document = await add_document(database, tenant, counting, WORDS)
    await ask(search, tenant.member())
    async with database.transaction(tenant.worker()) as session:
        await session.execute(
            text("update documents set progress = 0.5, updated_at = now() where id = :id"), {"id": document}
        )
    assert (await ask(search, tenant.member())).is_cached


async def test_who_loses_a_group_gets_nothing_of_it(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting
) -> None:
    user = UserId(uuid7())
    document = await add_document(database, tenant, counting, WORDS, access=Access.PRIVATE, owner_id=user)
    owner = tenant.member(user)
    for _ in range(2):
        assert documents(await ask(search, owner)) == {document}
    without = replace(owner, principals=tuple(p for p in owner.principals if p != user_principal(user)))
    assert not documents(await ask(search, without))


async def test_the_same_question_at_the_same_moment_is_searched_once(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting
) -> None:
    document = await add_document(database, tenant, counting, WORDS)
    counting.gate.clear()
    asked = [asyncio.ensure_future(ask(search, tenant.member())) for _ in range(8)]
    assert search._results is not None
    await until(lambda: set(search._results._flights._waiting.values()) == {8})
    counting.gate.set()
    found = await asyncio.gather(*asked)
    assert counting.questions == 1
    assert all(documents(one) == {document} for one in found)
    assert [one.is_cached for one in found].count(False) == 1


async def test_who_joins_a_search_that_began_before_a_deletion_does_not_see_what_was_deleted(
    database: Database, tenant: Tenant, counting: Counting
) -> None:
    """The leader has read the index and has not answered yet; then the document goes, then the second one asks."""
    document = await add_document(database, tenant, counting, WORDS)
    has_read, may_answer = asyncio.Event(), asyncio.Event()

    class Slow(PassageSearch):
        async def _find(self, *args, **options):  # type: ignore[no-untyped-def]  # passes everything on
            kept = await super()._find(*args, **options)
            has_read.set()
            await may_answer.wait()
            return kept

    search = Slow(database, counting, cache=MemoryCache(max_bytes=1 << 20))
    first = asyncio.ensure_future(ask(search, tenant.member()))
    await has_read.wait()
    await deleted(database, tenant, document)
    second = asyncio.ensure_future(ask(search, tenant.member()))
    assert search._results is not None
    await until(lambda: set(search._results._flights._waiting.values()) == {2})
    may_answer.set()
    assert documents(await first) == {document}, "it was asked before"
    assert not documents(await second)
    assert not documents(await ask(search, tenant.member()))


async def test_questions_of_different_people_are_embedded_once_at_the_same_moment(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting
) -> None:
    await add_document(database, tenant, counting, WORDS)
    counting.gate.clear()
    people = [tenant.member(UserId(uuid7())) for _ in range(5)]
    asked = [asyncio.ensure_future(ask(search, person)) for person in people]
    await until(lambda: list(search._vectors._flights._waiting.values()) == [len(people)])
    counting.gate.set()
    await asyncio.gather(*asked)
    assert counting.questions == 1


async def test_a_workspace_that_is_gone_is_not_found(
    database: Database, tenant: Tenant, search: PassageSearch, counting: Counting, owner_url: str
) -> None:
    from sqlalchemy import create_engine

    from ragecho.platform.database import driver_url

    await add_document(database, tenant, counting, WORDS)
    await ask(search, tenant.member())
    engine = create_engine(driver_url(owner_url))
    with engine.begin() as connection:
        connection.execute(text("delete from workspaces where id = :id"), {"id": tenant.workspace_id})
    engine.dispose()
    with pytest.raises(NotFound):
        await ask(search, tenant.member())


async def test_readers_are_counted_as_documents_come_change_and_go(
    database: Database, tenant: Tenant, counting: Counting
) -> None:
    async def counts() -> dict[str, int]:
        async with database.transaction(tenant.worker()) as session:
            rows = await session.execute(
                text("select principal, chunks from reader_counts where workspace_id = :w and chunks <> 0"),
                {"w": tenant.workspace_id},
            )
            return {row.principal: row.chunks for row in rows}

    user = UserId(uuid7())
    first = await add_document(database, tenant, counting, WORDS, "second passage")
    private = await add_document(database, tenant, counting, WORDS, access=Access.PRIVATE, owner_id=user)
    assert await counts() == {"workspace": 2, user_principal(user): 1}
    await _changed(database, tenant, first, service.DocumentChange(access=Access.EXTERNAL))
    assert await counts() == {"level:external": 2, "level:internal": 2, user_principal(user): 1}
    await deleted(database, tenant, private)
    assert await counts() == {"level:external": 2, "level:internal": 2}
    async with database.transaction(tenant.member()) as session:
        seen = await session.execute(text("select principal from reader_counts"))
        assert set(seen.scalars()) <= set(tenant.member().principals), "others' labels are nobody's business"
