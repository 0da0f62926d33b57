"""Reading in one round trip: whose rows, of which moment, and what happens when others write or connections are lost."""

import asyncio

import psycopg
import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.people import add_key

from ragecho.kernel.ids import uuid7
from ragecho.platform.database import APP_ROLE, Database
from ragecho.tenancy.callers import Callers

pytestmark = pytest.mark.anyio

WHOSE = text("""
    select current_user::text as role, nullif(current_setting('ragecho.workspace_id', true), '') as workspace,
           current_setting('hnsw.ef_search') as list, current_setting('transaction_isolation') as isolation,
           txid_current_snapshot()::text as moment, pg_backend_pid() as backend
""")


@pytest.fixture
async def single(owner_url: str, anyio_backend: str) -> Database:
    """One connection that reads: whatever it keeps, the next reader gets."""
    return Database(owner_url, pool_size=2)


async def test_what_one_reader_is_told_ends_with_its_statements(single: Database, tenant: Tenant) -> None:
    (before,) = await single.read(None, (WHOSE, {}))
    first, second = await single.read(tenant.member(), (WHOSE, {}), (WHOSE, {}), settings={"hnsw.ef_search": "77"})
    (after,) = await single.read(None, (WHOSE, {}))
    assert {row["backend"] for row in (*before, *first, *second, *after)} == {before[0]["backend"]}
    assert {row["role"] for row in (*before, *first, *second, *after)} == {APP_ROLE}
    assert [row["workspace"] for row in (*first, *second)] == [str(tenant.workspace_id)] * 2
    assert [row["list"] for row in (*first, *second)] == ["77", "77"]
    for row in (*before, *after):
        assert (row["workspace"], row["list"]) == (None, "120")
    await single.close()


async def test_all_statements_see_one_moment(single: Database, tenant: Tenant) -> None:
    slow = text("select pg_sleep(0.3)::text as slept")
    count = text("select count(*) as n from groups")
    insert = text("insert into groups (organization_id, id, name) values (:organization, :id, 'herons')")

    async def add() -> None:
        await asyncio.sleep(0.1)
        async with single.transaction(tenant.member()) as session:
            await session.execute(insert, {"organization": tenant.organization_id, "id": uuid7()})

    found, _ = await asyncio.gather(
        single.read(tenant.member(), (count, {}), (slow, {}), (count, {}), (WHOSE, {})), add()
    )
    assert [found[0][0]["n"], found[2][0]["n"]] == [0, 0]
    assert found[3][0]["isolation"] == "repeatable read"
    assert (await single.read(tenant.member(), (count, {})))[0][0]["n"] == 1
    await single.close()


async def test_an_error_leaves_the_connection_as_it_was(single: Database, tenant: Tenant) -> None:
    with pytest.raises(Exception, match="division by zero"):
        await single.read(tenant.member(), (text("select 1 / 0"), {}), (WHOSE, {}))
    (after,) = await single.read(None, (WHOSE, {}))
    assert after[0]["workspace"] is None
    await single.close()


async def test_a_reader_that_gives_up_leaves_nothing_behind(single: Database, tenant: Tenant) -> None:
    reading = asyncio.create_task(single.read(tenant.member(), (text("select pg_sleep(30)::text as slept"), {})))
    await asyncio.sleep(0.2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    (after,) = await asyncio.wait_for(single.read(None, (WHOSE, {})), 10)
    assert after[0]["workspace"] is None
    await single.close()


async def test_lost_connections_are_replaced(database: Database, owner_url: str) -> None:
    many = [
        database.read(None, (text("select pg_sleep(0.1)::text, pg_backend_pid() as backend"), {})) for _ in range(2)
    ]
    backends = {rows[0]["backend"] for (rows,) in await asyncio.gather(*many)}
    assert len(backends) == 2
    async with await psycopg.AsyncConnection.connect(owner_url) as owner:
        await owner.execute("select pg_terminate_backend(backend) from unnest(%s::int[]) backend", (list(backends),))
    for _ in range(3):
        (rows,) = await database.read(None, (WHOSE, {}))
        assert rows[0]["backend"] not in backends


async def test_readers_who_note_the_same_use_of_a_key_all_get_their_answer(database: Database, tenant: Tenant) -> None:
    _, digest = await add_key(database, tenant)
    callers = Callers(database)
    found = await asyncio.gather(*(callers.of_key(digest, None) for _ in range(12)))
    assert {caller.workspace_id for caller in found} == {tenant.workspace_id}
