"""The audit log: written with the act or not at all, read within the organisation, changed by nobody."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from tests.db.conftest import Tenant
from tests.db.people import add_person

from ragecho.audit import trail_store
from ragecho.audit.trail import AuditEvent, AuditFilter
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ApiKeyId, uuid7
from ragecho.platform.audit_log import Target, client_address, record
from ragecho.platform.database import IDENTITY_ROLE, Database

pytestmark = pytest.mark.anyio


async def read(database: Database, caller: Caller, **wanted: Any) -> list[AuditEvent]:
    async with database.transaction(caller) as session:
        found, total = await trail_store.list_page(session, AuditFilter(**wanted), limit=50, offset=0)
    assert total == len(found)
    return found


async def write(database: Database, caller: Caller, action: str = "thing.done", **facts: Any) -> None:
    async with database.transaction(caller) as session:
        await record(session, caller, action, Target("thing", "1"), **facts)


async def test_a_line_says_who_did_what_to_what_why_and_from_where(database: Database, tenant: Tenant) -> None:
    email = f"{uuid7()}@north.example"
    person = await add_person(database, tenant, email=email)
    key = ApiKeyId(uuid7())
    caller = replace(tenant.member(person), api_key_id=key)
    token = client_address.set("203.0.113.7")
    try:
        with structlog.contextvars.bound_contextvars(request_id="req-1"):
            await write(
                database, caller, workspace_id=tenant.workspace_id, reason="because", details={"after": {"name": "x"}}
            )
    finally:
        client_address.reset(token)
    (line,) = await read(database, caller)
    assert (line.actor_kind, line.actor_id, line.actor_user_id, line.actor_email) == (
        "api_key",
        str(key),
        person,
        email,
    )
    assert (line.action, line.target_kind, line.target_id, line.reason) == ("thing.done", "thing", "1", "because")
    assert (line.request_id, line.ip, line.workspace_id) == ("req-1", "203.0.113.7", tenant.workspace_id)
    assert line.details == {"after": {"name": "x"}}


async def test_it_is_written_in_the_transaction_of_the_act(database: Database, tenant: Tenant) -> None:
    caller = tenant.member()
    with pytest.raises(RuntimeError):
        async with database.transaction(caller) as session:
            await record(session, caller, "thing.done", Target("thing", "1"))
            raise RuntimeError("the act fails after all")
    assert await read(database, caller) == []


async def test_nobody_changes_or_removes_a_line(database: Database, tenant: Tenant, owner_url: str) -> None:
    await write(database, tenant.member())
    identity = Database(owner_url, role=IDENTITY_ROLE, pool_size=1)
    try:
        for statement in ("update audit_events set reason = 'no'", "delete from audit_events", "truncate audit_events"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                async with database.transaction(tenant.member()) as session:
                    await session.execute(text(statement))
            with pytest.raises(ProgrammingError, match="permission denied"):
                async with identity.anonymous() as session:
                    await session.execute(text(statement))
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with identity.anonymous() as session:
                await session.execute(text("select * from audit_events"))
    finally:
        await identity.close()
    assert len(await read(database, tenant.member())) == 1


async def test_one_organisation_neither_reads_nor_writes_anothers(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    await write(database, tenant.member())
    assert await read(database, other_tenant.member()) == []
    forged = other_tenant.member()
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with database.transaction(tenant.member()) as session:
            await record(session, forged, "thing.done", Target("thing", "1"))
    async with database.anonymous() as session:
        assert (await session.execute(text("select count(*) from audit_events"))).scalar_one() == 0


async def test_lines_are_found_by_action_workspace_request_actor_and_time(database: Database, tenant: Tenant) -> None:
    person = await add_person(database, tenant)
    by_person, by_system = tenant.member(person), tenant.member()
    with structlog.contextvars.bound_contextvars(request_id="req-7"):
        await write(database, by_person, "workspace.archived", workspace_id=tenant.workspace_id)
    await write(database, by_system, "workspaces.counted")
    await write(database, by_system, "member.removed")
    now = datetime.now(UTC)
    for wanted, actions in (
        ({}, ["member.removed", "workspaces.counted", "workspace.archived"]),
        ({"action": "workspace"}, ["workspace.archived"]),
        ({"action": "workspace.archived"}, ["workspace.archived"]),
        ({"action": "workspace.arch"}, []),
        ({"workspace_id": tenant.workspace_id}, ["workspace.archived"]),
        ({"is_of_workspaces": True}, ["workspace.archived"]),
        ({"request_id": "req-7"}, ["workspace.archived"]),
        ({"actor": str(person)}, ["workspace.archived"]),
        ({"target_kind": "thing", "target_id": "1"}, ["member.removed", "workspaces.counted", "workspace.archived"]),
        ({"target_id": "2"}, []),
        ({"after": now + timedelta(hours=1)}, []),
        ({"before": now - timedelta(hours=1)}, []),
        ({"after": now - timedelta(hours=1), "action": "member"}, ["member.removed"]),
    ):
        assert [line.action for line in await read(database, by_system, **wanted)] == actions, wanted


async def test_pages_do_not_overlap_and_end(database: Database, tenant: Tenant) -> None:
    caller = tenant.member()
    for number in range(5):
        await write(database, caller, details={"n": number})
    seen = []
    for offset in (0, 2, 4, 6):
        async with database.transaction(caller) as session:
            found, total = await trail_store.list_page(session, AuditFilter(), limit=2, offset=offset)
        assert total == 5
        seen += [line.details["n"] for line in found]
    assert seen == [4, 3, 2, 1, 0]
