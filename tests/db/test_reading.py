"""Reading in one round trip: whose rows, of which moment, and what happens when others write or connections are lost."""

import asyncio

import psycopg
import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.people import add_key

from ragecho.kernel.errors import Unavailable
from ragecho.kernel.ids import uuid7
from ragecho.platform.database import APP_ROLE, Database, reading, round_trip
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


BACKEND = text("select pg_backend_pid() as backend, pg_sleep(:seconds)::text as slept")
OPEN = text("select count(*) as n from pg_stat_activity where application_name = :name")


async def test_the_connection_used_last_is_used_next_and_others_are_closed_in_time(
    owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"readers-{uuid7()}"
    database = Database(owner_url, pool_size=8, application_name=name)
    together = await asyncio.gather(*(database.read(None, (BACKEND, {"seconds": 0.2})) for _ in range(6)))
    opened = {rows[0]["backend"] for (rows,) in together}
    assert 1 < len(opened) <= 4, "half of the pool is for readers; the others waited for them"
    in_turn = [await database.read(None, (BACKEND, {"seconds": 0})) for _ in range(5)]
    assert len({rows[0]["backend"] for (rows,) in in_turn}) == 1
    monkeypatch.setattr(reading, "_IDLE_SECONDS", 0.0)
    for _ in range(6):
        await database.read(None, (BACKEND, {"seconds": 0}))
    monkeypatch.undo()
    for _ in range(200):  # the server notices a little later
        ((left,),) = await database.read(None, (OPEN, {"name": name}))
        if left["n"] == 1:
            break
        await asyncio.sleep(0.05)
    assert left["n"] == 1
    monkeypatch.setattr(reading, "_OLDEST_SECONDS", 0.0)
    ((last,),) = await database.read(None, (BACKEND, {"seconds": 0}))
    ((new,),) = await database.read(None, (BACKEND, {"seconds": 0}))
    assert last["backend"] != new["backend"]
    await database.close()


async def test_who_finds_all_readers_at_work_for_too_long_is_told(owner_url: str) -> None:
    database = Database(owner_url, pool_size=2)
    database._readers._wait_seconds = 0.2  # ten seconds otherwise
    busy = asyncio.create_task(database.read(None, (BACKEND, {"seconds": 30})))
    await asyncio.sleep(0.1)
    with pytest.raises(Unavailable):
        await database.read(None, (WHOSE, {}))
    busy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await busy
    assert await database.read(None, (WHOSE, {}))
    await database.close()


@pytest.mark.parametrize("is_preparing", [True, False])
async def test_statements_and_values_of_many_kinds_are_told_apart(
    owner_url: str, monkeypatch: pytest.MonkeyPatch, is_preparing: bool
) -> None:
    """More of them than are prepared; some are asked twice in one reading, and one has the wrong value in between."""
    monkeypatch.setattr(round_trip, "_MOST_PREPARED", 3)
    echo = text("select :value as value, cast(:word as text) as word")
    values: list[object] = [1, 2**40, "word", [1, 2], 1.5, True, uuid7(), b"bytes", "100 %s %(x)s $1 :y"]
    database = Database(owner_url, pool_size=2, is_preparing=is_preparing)
    try:
        for _ in range(2):
            asked = [(echo, {"word": str(value), "value": value}) for value in values]
            found = await database.read(None, *asked, *asked)
            assert [(row["value"], row["word"]) for (row,) in found] == [(value, str(value)) for value in values] * 2
            with pytest.raises(psycopg.errors.InvalidTextRepresentation):
                await database.read(None, asked[0], (text("select cast(:n as int)"), {"n": "x"}))
            with pytest.raises(psycopg.errors.UndefinedColumn):
                await database.read(None, (text("select nothing_of_that_name"), {}), asked[0])
    finally:
        await database.close()
