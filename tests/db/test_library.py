"""Documents, chunks and their statistics change together or not at all."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document, index

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.caller import Access
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.kernel.ids import UserId, VersionId, uuid7
from ragecho.library import service, store_chunks, store_documents
from ragecho.library.model import SearchFilter, Version
from ragecho.library.search import PassageSearch, SearchMode, SearchTuning
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio


async def frequencies(database: Database, tenant: Tenant) -> dict[int, int]:
    async with database.transaction(tenant.worker()) as session:
        rows = await session.execute(text("select term, chunks from term_frequencies where chunks <> 0"))
        return dict(rows.all())


async def recounted(database: Database, tenant: Tenant) -> dict[int, int]:
    async with database.transaction(tenant.worker()) as session:
        rows = await session.execute(text("select t, count(*) from chunk_terms, unnest(terms) t group by t"))
        return dict(rows.all())


async def test_a_deleted_document_is_absent_from_the_next_query(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document_id = await add_document(database, tenant, embedder, "the heron stands in the river")
    search = PassageSearch(database, embedder)
    assert (await search.search(tenant.member(), query="heron", k=5)).passages
    async with database.transaction(tenant.member()) as session:
        await service.delete_document(tenant.member(), session, document_id)
    for mode in SearchMode:
        assert (await search.search(tenant.member(), query="heron", k=5, mode=mode)).passages == []
    async with database.transaction(tenant.worker()) as session:
        for table in ("documents", "document_versions", "chunks", "chunk_vectors", "chunk_terms"):
            assert (await session.execute(text(f"select count(*) from {table}"))).scalar_one() == 0, table
    assert await frequencies(database, tenant) == {}


async def test_term_statistics_stay_exact_through_adding_and_deleting(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    first = await add_document(database, tenant, embedder, "red fox and red deer", "a grey heron")
    await add_document(database, tenant, embedder, "the fox sleeps")
    assert await frequencies(database, tenant) == await recounted(database, tenant)
    async with database.transaction(tenant.member()) as session:
        await service.delete_document(tenant.member(), session, first)
    assert await frequencies(database, tenant) == await recounted(database, tenant) != {}


async def test_a_rolled_back_deletion_changes_nothing(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document_id = await add_document(database, tenant, embedder, "the heron stands in the river")
    before = await frequencies(database, tenant)

    async def delete_and_fail() -> None:
        async with database.transaction(tenant.member()) as session:
            await service.delete_document(tenant.member(), session, document_id)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        await delete_and_fail()
    assert await frequencies(database, tenant) == before
    found = await PassageSearch(database, embedder).search(tenant.member(), query="heron", k=5)
    assert [passage.document_id for passage in found.passages] == [document_id]


async def test_a_replaced_document_answers_from_its_new_version_only(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document_id = await add_document(database, tenant, embedder, "the tariff is ten euro")
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await store_chunks.lock_index(session, worker)
        version = Version(VersionId(uuid7()), document_id, 2, "note.txt", "text/plain", 1, "0" * 64)
        await store_documents.insert_version(session, worker, version)
        await index(session, worker, tenant, embedder, version, ("the tariff is twelve euro",), ("workspace",))
    found = await PassageSearch(database, embedder).search(tenant.member(), query="tariff", k=5)
    assert [passage.text for passage in found.passages] == ["the tariff is twelve euro"]
    assert await frequencies(database, tenant) == await recounted(database, tenant)


async def test_narrowed_access_hides_a_document_from_the_next_query(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    owner = UserId(uuid7())
    document_id = await add_document(database, tenant, embedder, "the heron nests here", owner_id=owner)
    search = PassageSearch(database, embedder)
    assert (await search.search(tenant.member(), query="heron", k=5)).passages
    async with database.transaction(tenant.worker()) as session:
        await session.execute(text("update documents set owner_id = null"))
    async with database.transaction(tenant.worker()) as session:
        await service.change_document(
            tenant.worker(), session, document_id, service.DocumentChange(access=Access.PRIVATE)
        )
    for mode in SearchMode:
        assert (await search.search(tenant.member(), query="heron", k=5, mode=mode)).passages == []


async def test_a_member_cannot_hide_a_document_from_themselves(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document_id = await add_document(database, tenant, embedder, "the heron nests here")
    with pytest.raises(InvalidInput):
        async with database.transaction(tenant.member()) as session:
            await service.change_document(
                tenant.member(), session, document_id, service.DocumentChange(access=Access.PRIVATE)
            )


async def test_search_is_limited_to_tags_and_documents(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    tagged = await add_document(database, tenant, embedder, "heron one", tags=("birds", "2026"))
    other = await add_document(database, tenant, embedder, "heron two", tags=("birds",))
    search = PassageSearch(database, embedder)

    async def ids(wanted: SearchFilter, mode: SearchMode) -> set[object]:
        found = await search.search(tenant.member(), query="heron", k=5, wanted=wanted, mode=mode)
        return {passage.document_id for passage in found.passages}

    for mode in SearchMode:
        assert await ids(SearchFilter(), mode) == {tagged, other}
        assert await ids(SearchFilter(tags=("birds", "2026")), mode) == {tagged}
        assert await ids(SearchFilter(documents=(other,)), mode) == {other}
        assert await ids(SearchFilter(documents=()), mode) == set()
        assert await ids(SearchFilter(any_tags=("2026", "2027")), mode) == {tagged}
        assert await ids(SearchFilter(tags=("birds",), documents=(other,)), mode) == {other}


async def test_search_is_limited_to_what_documents_say_of_themselves(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    one = await add_document(database, tenant, embedder, "heron one", filename="Report_100%.txt")
    two = await add_document(database, tenant, embedder, "heron two", filename="notes.md", access=Access.INTERNAL)
    async with database.transaction(tenant.worker()) as session:
        await session.execute(
            text('update documents set metadata = \'{"year": 2026, "by": {"name": "Ada"}}\' where id = :id'),
            {"id": one},
        )
        await session.execute(
            text(
                "update documents set created_at = '2020-01-01T00:00Z', content_type = 'text/markdown' where id = :id"
            ),
            {"id": two},
        )
    search = PassageSearch(database, embedder)
    then = datetime(2021, 1, 1, tzinfo=UTC)
    cases = [
        (SearchFilter(metadata={"year": 2026}), {one}),
        (SearchFilter(metadata={"by": {"name": "Ada"}}), {one}),
        (SearchFilter(metadata={"year": "2026"}), set()),
        (SearchFilter(created_from=then), {one}),
        (SearchFilter(created_before=then), {two}),
        (SearchFilter(content_types=("text/markdown",)), {two}),
        (SearchFilter(access=(Access.INTERNAL,)), {two}),
        (SearchFilter(filename="report_100%"), {one}),
        (SearchFilter(filename="report%"), set()),
        (SearchFilter(filename=".md", created_before=then), {two}),
    ]
    for mode in SearchMode:
        for wanted, expected in cases:
            found = await search.search(tenant.member(), query="heron", k=5, wanted=wanted, mode=mode)
            assert {passage.document_id for passage in found.passages} == expected, (mode, wanted)


async def test_the_graph_and_the_pruned_lexical_side_find_what_the_exact_ones_find(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    words = [
        "heron",
        "river",
        "lake",
        "fox",
        "deer",
        "wolf",
        "stone",
        "tree",
        "moss",
        "rain",
        "snow",
        "wind",
        "cloud",
        "sand",
    ]
    texts = [f"{a} {b} {c}" for a in words for b in words[:5] for c in words[5:8]]
    await add_document(database, tenant, embedder, *texts)
    exact = PassageSearch(database, embedder)
    graph = PassageSearch(database, embedder, SearchTuning(exact_below_chunks=0, few_chunks=0, candidate_cap=60))
    for query in ("heron river fox", "snow lake wolf", "moss deer"):
        best = await exact.search(tenant.member(), query=query, k=3)
        # Many passages have equally many of the words: which of them come first is chance.
        near = await graph.search(tenant.member(), query=query, k=20)
        assert {passage.text for passage in near.passages} & {passage.text for passage in best.passages}


async def test_a_recheck_returns_only_what_may_be_read_now(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document_id = await add_document(database, tenant, embedder, "the heron stands in the river")
    search = PassageSearch(database, embedder)
    found = (await search.search(tenant.member(), query="heron", k=5)).passages
    assert await search.readable(tenant.member(), found) == {passage.chunk_id for passage in found} != set()
    assert await search.readable(tenant.stranger(), found) == set()
    async with database.transaction(tenant.member()) as session:
        await service.delete_document(tenant.member(), session, document_id)
    assert await search.readable(tenant.member(), found) == set()


async def test_a_foreign_document_cannot_be_read_changed_or_deleted(
    database: Database, tenant: Tenant, other_tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document_id = await add_document(database, tenant, embedder, "the heron stands in the river")
    foreign = other_tenant.member()
    async with database.transaction(foreign) as session:
        for act in (
            service.get_document(foreign, session, document_id),
            service.change_document(foreign, session, document_id, service.DocumentChange(title="mine")),
            service.delete_document(foreign, session, document_id),
        ):
            with pytest.raises(NotFound):
                await act


async def test_stored_text_is_sliced_in_code_points(database: Database, tenant: Tenant, embedder: FakeEmbedder) -> None:
    content = "naïve 🦊 fox — 狐"
    document_id = await add_document(database, tenant, embedder, content)
    async with database.transaction(tenant.member()) as session:
        document = await service.get_document(tenant.member(), session, document_id)
        assert document.current_version_id is not None
        for start, end in ((0, 5), (6, 7), (8, len(content))):
            stored = await store_documents.version_text(
                session, tenant.member(), document.current_version_id, start=start, end=end
            )
            assert stored == content[start:end]


async def test_a_document_without_a_single_index_term_is_stored_and_found_by_meaning(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document_id = await add_document(database, tenant, embedder, "a", "… !?")
    found = await PassageSearch(database, embedder).search(tenant.member(), query="a", k=5)
    assert {passage.document_id for passage in found.passages} == {document_id}
    async with database.transaction(tenant.member()) as session:
        await service.delete_document(tenant.member(), session, document_id)


async def test_prepared_statements_can_be_switched_off(owner_url: str) -> None:
    plain = Database(owner_url, pool_size=1, is_preparing=False)
    try:
        async with plain.anonymous() as session:
            for _ in range(8):
                await session.execute(text("select 1"))
            prepared = await session.execute(text("select count(*) from pg_prepared_statements"))
            assert prepared.scalar_one() == 0
    finally:
        await plain.close()


async def test_every_connection_searches_the_graph_with_iterative_scan(database: Database, tenant: Tenant) -> None:
    async with database.transaction(tenant.member()) as session:
        shown = await session.execute(
            text("select current_setting('hnsw.iterative_scan'), current_setting('hnsw.ef_search')::int")
        )
        assert tuple(shown.one()) == ("relaxed_order", 120)
