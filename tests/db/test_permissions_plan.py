"""Searching as somebody with hundreds of groups takes the same way through the database as with none."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.caller import Caller, group_principal
from ragecho.kernel.ids import GroupId, uuid7
from ragecho.library.search import PassageSearch, SearchMode, SearchTuning, vector_literal
from ragecho.library.search_route import Among, Route
from ragecho.library.search_sql import search_statement
from ragecho.platform.database import Database, driver_url

pytestmark = pytest.mark.anyio

GROUPS = 200
CHUNKS = 1500


def steps(plan: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    """Return the plan's steps: what is done, by which index, on which table."""
    found = [(plan["Node Type"], plan.get("Index Name"), plan.get("Relation Name"))]
    for inner in plan.get("Plans", []):
        found += steps(inner)
    return found


async def plan_of(
    database: Database, caller: Caller, tenant: Tenant, embedder: FakeEmbedder, *, is_exact: bool
) -> list[tuple[str, str | None, str | None]]:
    statement, _ = search_statement(
        "hybrid",
        Route(not is_exact, Among.ALL, Among.ALL, 5000),
        dimensions=384,
        filters=frozenset(),
        share=0.5,
    )
    parameters = {
        "workspace_id": caller.workspace_id,
        "space_id": tenant.space.id,
        "limit": 10,
        "depth": 100,
        "vector": vector_literal(await embedder.embed_query("heron")),
        "terms": [1, 2],
        "weights": [1.0, 1.0],
        "tags": None,
        "documents": None,
        "candidate_cap": 5000,
        "sees_all": False,
        "principals": list(caller.principals),
    }
    async with database.transaction(caller) as session:
        found = await session.execute(text(f"explain (format json) {statement.text}"), parameters)
        (top,) = found.scalar_one()
    return steps(top["Plan"])


@pytest.fixture
async def filled(database: Database, tenant: Tenant, embedder: FakeEmbedder, owner_url: str) -> Tenant:
    """A tenant with enough chunks that the graph is worth taking."""
    for first in range(0, CHUNKS, 500):
        await add_document(
            database, tenant, embedder, *(f"passage {n} about herons" for n in range(first, first + 500))
        )
    engine = create_engine(driver_url(owner_url)).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("analyze"))
    engine.dispose()
    return tenant


def in_groups(tenant: Tenant, count: int = GROUPS) -> Caller:
    caller = tenant.member()
    groups = tuple(group_principal(GroupId(uuid7())) for _ in range(count))
    return replace(caller, principals=(*caller.principals, *groups))


@pytest.mark.parametrize("is_exact", [True, False])
async def test_two_hundred_groups_do_not_change_the_plan(
    database: Database, filled: Tenant, embedder: FakeEmbedder, is_exact: bool
) -> None:
    few = await plan_of(database, filled.member(), filled, embedder, is_exact=is_exact)
    many = await plan_of(database, in_groups(filled), filled, embedder, is_exact=is_exact)
    assert many == few
    vectors = [step for step in many if step[2] is not None and step[2].startswith("chunk_vectors")]
    assert len({table for _, _, table in vectors}) == 1, "one partition, the workspace's own"
    used_graph = any(index is not None and "_embedding_idx" in index for _, index, _ in many)
    assert used_graph is not is_exact, "\n".join(map(str, many))
    for kind, _, table in many:
        assert not (kind == "Seq Scan" and table is not None and table.startswith("chunks")), "pieces are joined by key"


async def test_a_caller_with_two_hundred_groups_finds_what_one_of_them_may_read(
    database: Database, filled: Tenant, embedder: FakeEmbedder
) -> None:
    caller = in_groups(filled)
    shared = await add_document(database, filled, embedder, "a crane, not a heron, stood at the weir")
    worker = filled.worker()
    async with database.transaction(worker) as session:
        for table, column in (
            ("documents", "id"),
            *((t, "document_id") for t in ("chunks", "chunk_vectors", "chunk_terms")),
        ):
            await session.execute(
                text(f"update {table} set readers = :readers where {column} = :id"),
                {"readers": [caller.principals[-1]], "id": shared},
            )
    for tuning in (SearchTuning(), SearchTuning(exact_below_chunks=0, few_chunks=0)):
        search = PassageSearch(database, embedder, tuning)
        for mode in SearchMode:
            found = await search.search(caller, query="a crane, not a heron, stood at the weir", k=5, mode=mode)
            assert found.passages[0].document_id == shared, (tuning, mode)
            others = await search.search(filled.member(), query="a crane stood at the weir", k=5, mode=mode)
            assert shared not in [passage.document_id for passage in others.passages]


async def test_the_search_statement_refuses_by_itself_where_no_policy_stands(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, owner_url: str
) -> None:
    """Run by a superuser, whom row-level security does not concern: the second of the two locks, alone."""
    words = "the heron keeper earns nineteen coins"
    await add_document(database, tenant, embedder, words)
    statement, names = search_statement(
        "vector",
        Route(False, Among.ALL, Among.ALL, 5000),
        dimensions=384,
        filters=frozenset(),
        share=0.5,
    )
    engine = create_engine(driver_url(owner_url))
    with engine.connect() as connection:
        bypasses = connection.execute(
            text("select rolsuper or rolbypassrls from pg_roles where rolname = current_user")
        )
        if not bypasses.scalar_one():
            pytest.skip("the tests' owner is under row-level security itself")
        for caller, expected in ((tenant.member(), 1), (tenant.stranger(), 0), (tenant.worker(), 1)):
            values: dict[str, Any] = {
                "workspace_id": caller.workspace_id,
                "space_id": tenant.space.id,
                "limit": 10,
                "depth": 100,
                "vector": vector_literal(await embedder.embed_query(words)),
                "sees_all": caller.sees_all,
                "principals": list(caller.principals),
            }
            found = connection.execute(statement, {name: values[name] for name in names}).all()
            assert len(found) == expected
    engine.dispose()
