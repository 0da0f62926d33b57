"""Row-level security proved on a real server: what a forgotten filter, setting or role would show."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import NotFound
from ragecho.kernel.ids import UserId, uuid7
from ragecho.library.search import PassageSearch, SearchMode
from ragecho.platform.database import Database
from ragecho.platform.database.engine import driver_url

pytestmark = pytest.mark.anyio

TENANT_TABLES = (
    "workspaces",
    "documents",
    "document_versions",
    "jobs",
    "chunks",
    "chunk_vectors",
    "chunk_terms",
    "term_frequencies",
    "index_statistics",
    "answers",
    "api_keys",
    "organization_members",
    "organizations",
)


async def test_without_a_caller_no_tenant_row_is_visible(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "the heron stands in the river")
    async with database.anonymous() as session:
        for table in TENANT_TABLES:
            count = (await session.execute(text(f"select count(*) from {table}"))).scalar_one()
            assert count == 0, table
        candidates = await session.execute(
            text(
                "select * from ragecho_lexical_candidates(:space, array[1], array[1.0]::real[], null, null, 100, 100)"
            ),
            {"space": tenant.space.id},
        )
        assert candidates.all() == []


async def test_a_query_that_forgets_its_filter_sees_only_its_own_workspace(
    database: Database, tenant: Tenant, other_tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "the heron stands in the river")
    await add_document(database, other_tenant, embedder, "the heron flies over the lake", "and another one")
    async with database.transaction(tenant.member()) as session:
        for table in ("documents", "chunks", "chunk_vectors", "chunk_terms"):
            count = (await session.execute(text(f"select count(*) from {table}"))).scalar_one()
            assert count == 1, table


async def test_a_partition_named_directly_shows_nothing(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "the heron stands in the river")
    for number in range(16):
        for table in ("chunks", "chunk_vectors", "chunk_terms"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                async with database.transaction(tenant.member()) as session:
                    await session.execute(text(f"select count(*) from {table}_p{number}"))


async def test_the_same_words_in_two_workspaces_never_meet(
    database: Database, tenant: Tenant, other_tenant: Tenant, embedder: FakeEmbedder
) -> None:
    mine = await add_document(database, tenant, embedder, "the heron stands in the river")
    await add_document(database, other_tenant, embedder, "the heron stands in the river")
    search = PassageSearch(database, embedder)
    for mode in SearchMode:
        found = await search.search(tenant.member(), query="heron in the river", k=10, mode=mode)
        assert [passage.document_id for passage in found.passages] == [mine]


async def test_a_workspace_of_another_organisation_does_not_exist(
    database: Database, tenant: Tenant, other_tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, other_tenant, embedder, "the heron stands in the river")
    trespasser = tenant.member().in_workspace(other_tenant.workspace_id)
    with pytest.raises(NotFound):
        await PassageSearch(database, embedder).search(trespasser, query="heron", k=10)


@pytest.mark.parametrize("mode", list(SearchMode))
async def test_private_documents_are_found_by_their_owner_only(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, mode: SearchMode
) -> None:
    owner = UserId(uuid7())
    private = await add_document(
        database, tenant, embedder, "salary of the heron keeper", access=Access.PRIVATE, owner_id=owner
    )
    search = PassageSearch(database, embedder)
    seen = await search.search(tenant.member(owner), query="salary of the heron keeper", k=5, mode=mode)
    assert [passage.document_id for passage in seen.passages] == [private]
    for caller in (tenant.member(), tenant.stranger(), tenant.member(UserId(uuid7()))):
        hidden = await search.search(caller, query="salary of the heron keeper", k=5, mode=mode)
        assert hidden.passages == []


async def test_a_pooled_connection_forgets_the_last_caller(
    owner_url: str, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    single = Database(owner_url, pool_size=1)
    try:
        await add_document(single, tenant, embedder, "the heron stands in the river")
        async with single.transaction(tenant.member()) as session:
            assert (await session.execute(text("select count(*) from documents"))).scalar_one() == 1
        async with single.anonymous() as session:
            assert (await session.execute(text("select count(*) from documents"))).scalar_one() == 0
    finally:
        await single.close()


async def test_the_application_role_owns_nothing_and_cannot_bypass(database: Database) -> None:
    async with database.anonymous() as session:
        role = (
            await session.execute(
                text("select current_user, rolsuper, rolbypassrls from pg_roles where rolname = current_user")
            )
        ).one()
        assert tuple(role) == ("ragecho_app", False, False)
        owned = await session.execute(
            text(
                "select count(*) from pg_class where relowner = (select oid from pg_roles where rolname = current_user)"
            )
        )
        assert owned.scalar_one() == 0
        definers = await session.execute(
            text(
                "select distinct r.rolname, r.rolsuper or r.rolbypassrls from pg_proc p join pg_roles r on r.oid = p.proowner"
                " where p.prosecdef and p.proname like 'ragecho%' and p.proname <> 'ragecho_make_graph' order by 1"
            )
        )
        expected = [("ragecho_lexical", False), ("ragecho_login", False), ("ragecho_relabel", False)]
        assert [tuple(row) for row in definers] == expected
        # Only a table's owner may make an index on it: this one takes a number, and says whether it made one.
        maker = await session.execute(
            text(
                "select pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid), p.proconfig,"
                " p.proowner = (select relowner from pg_class where relname = 'chunk_vectors')"
                " from pg_proc p where p.proname = 'ragecho_make_graph'"
            )
        )
        assert tuple(maker.one()) == ("dimensions integer", "boolean", ["search_path=pg_catalog, public"], True)


def test_every_tenant_table_forces_row_level_security(owner_url: str) -> None:
    """A table that is added without a policy fails here, not in production."""
    shared = {"alembic_version", "embedding_spaces", "maintenance_tasks", "step_leases"}
    engine = create_engine(driver_url(owner_url))
    with engine.connect() as connection:
        unprotected = connection.execute(
            text(
                "select relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname = 'public' and c.relkind in ('r', 'p') and relname not like 'procrastinate%'"
                " and not (relrowsecurity and relforcerowsecurity)"
            )
        )
        assert set(unprotected.scalars()) == shared
    engine.dispose()


async def test_a_caller_cannot_write_into_another_workspace(
    database: Database, tenant: Tenant, other_tenant: Tenant, embedder: FakeEmbedder
) -> None:
    confused = Caller.worker(tenant.organization_id, tenant.workspace_id)
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with database.transaction(confused) as session:
            await session.execute(
                text(
                    "insert into documents (workspace_id, id, filename, size_bytes, sha256, access, readers)"
                    " values (:workspace, :id, 'x', 1, 'x', 'workspace', array['workspace'])"
                ),
                {"workspace": other_tenant.workspace_id, "id": uuid7()},
            )
