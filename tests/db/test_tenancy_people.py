"""Members and groups: nobody gives more than they have, and an organisation keeps an owner who can act."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.people import add_key, add_person, join, run, run_as_identity

from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.kernel.caller import Caller, user_principal
from ragecho.kernel.errors import Conflict, Forbidden, LastOwner, NotFound, Unauthenticated
from ragecho.kernel.ids import UserId, WorkspaceId, uuid7
from ragecho.platform.database import Database
from ragecho.tenancy import groups, members, organizations, store
from ragecho.tenancy.callers import caller_of_key

pytestmark = pytest.mark.anyio

OWNER, ADMIN, MEMBER = OrganizationRole.OWNER, OrganizationRole.ADMIN, OrganizationRole.MEMBER


def acting(tenant: Tenant, user_id: UserId, role: OrganizationRole) -> Caller:
    return replace(
        tenant.member(user_id),
        organization_role=role,
        workspace_role=WorkspaceRole.READER if role is MEMBER else WorkspaceRole.ADMIN,
    )


@pytest.mark.parametrize("act", ["demote", "suspend", "remove"])
async def test_the_last_owner_stays(database: Database, tenant: Tenant, act: str) -> None:
    only = await add_person(database, tenant, role="owner")
    caller = tenant.member()
    with pytest.raises(LastOwner):
        await end(database, caller, only, act)
    await add_person(database, tenant, role="owner")
    await end(database, caller, only, act)


@pytest.mark.parametrize("act", ["demote", "suspend", "remove"])
async def test_two_owners_who_leave_at_once_do_not_leave_nobody(database: Database, tenant: Tenant, act: str) -> None:
    owners = [await add_person(database, tenant, role="owner") for _ in range(2)]
    caller = tenant.member()
    outcomes = await asyncio.gather(*(end(database, caller, owner, act) for owner in owners), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["LastOwner", "NoneType"]


async def test_an_owner_who_is_disabled_does_not_count(database: Database, tenant: Tenant) -> None:
    first = await add_person(database, tenant, role="owner")
    second = await add_person(database, tenant, role="owner")
    await run_as_identity(database, tenant, "update users set is_disabled = true where id = :user", user=second)
    with pytest.raises(LastOwner):
        await end(database, tenant.member(), first, "demote")


async def test_the_database_keeps_the_last_owner_whoever_asks(database: Database, tenant: Tenant) -> None:
    await add_person(database, tenant, role="owner")
    for statement in (
        "delete from organization_members where role = 'owner'",
        "update organization_members set role = 'member'",
        "update organization_members set suspended_at = now()",
    ):
        with pytest.raises(LastOwner):
            await run(database, tenant, statement)


async def end(database: Database, caller: Caller, user_id: UserId, act: str) -> None:
    async with database.transaction(caller) as session:
        if act == "demote":
            await members.change_role(caller, session, user_id, MEMBER)
        elif act == "suspend":
            await members.set_suspended(caller, session, user_id, is_suspended=True)
        else:
            await members.remove_member(caller, session, user_id)


async def test_an_admin_neither_makes_nor_touches_an_owner(database: Database, tenant: Tenant) -> None:
    owner = await add_person(database, tenant, role="owner")
    other = await add_person(database, tenant, role="owner")
    admin = await add_person(database, tenant, role="admin")
    plain = await add_person(database, tenant)
    caller = acting(tenant, admin, ADMIN)
    for act in ("demote", "suspend", "remove"):
        with pytest.raises(Forbidden):
            await end(database, caller, owner, act)
    async with database.transaction(caller) as session:
        with pytest.raises(Forbidden):
            await members.change_role(caller, session, plain, OWNER)
    async with database.transaction(caller) as session:
        assert (await members.change_role(caller, session, plain, ADMIN)).role is ADMIN
    by_owner = acting(tenant, other, OWNER)
    async with database.transaction(by_owner) as session:
        assert (await members.change_role(by_owner, session, owner, MEMBER)).role is MEMBER


async def test_nobody_suspends_themselves(database: Database, tenant: Tenant) -> None:
    admin = await add_person(database, tenant, role="admin")
    with pytest.raises(Conflict):
        await end(database, acting(tenant, admin, ADMIN), admin, "suspend")


async def test_suspending_ends_keys_at_once_and_only_here(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    person = await add_person(database, tenant)
    await join(database, other_tenant, person)
    _, here = await add_key(database, tenant, user_id=person)
    _, there = await add_key(database, other_tenant, user_id=person)
    await end(database, tenant.member(), person, "suspend")
    async with database.anonymous() as session:
        with pytest.raises(Unauthenticated):
            await caller_of_key(session, here, None)
        assert (await caller_of_key(session, there, None)).user_id == person
    caller = tenant.member()
    async with database.transaction(caller) as session:
        again = await members.set_suspended(caller, session, person, is_suspended=False)
    assert again.suspended_at is None
    async with database.anonymous() as session:
        assert (await caller_of_key(session, here, None)).user_id == person


async def test_a_removed_members_keys_stay_dead_when_they_come_back(database: Database, tenant: Tenant) -> None:
    person = await add_person(database, tenant)
    _, digest = await add_key(database, tenant, user_id=person)
    await end(database, tenant.member(), person, "remove")
    await join_again(database, tenant, person)
    async with database.anonymous() as session:
        with pytest.raises(Unauthenticated):
            await caller_of_key(session, digest, None)


async def join_again(database: Database, tenant: Tenant, person: UserId) -> None:
    await join(database, tenant, person)
    caller = tenant.member()
    async with database.transaction(caller) as session:
        found, _ = await members.list_workspace_members(caller, session, "main", limit=10, offset=0)
    assert [one.user_id for one in found] == [person]


async def test_members_are_found_by_name_role_and_state(database: Database, tenant: Tenant) -> None:
    north, south = f"{uuid7()}@north.example", f"{uuid7()}@south.example"
    ada = await add_person(database, tenant, email=north)
    await add_person(database, tenant, role="admin", email=south)
    await end(database, tenant.member(), ada, "suspend")
    caller = tenant.member()
    async with database.transaction(caller) as session:
        for wanted, emails in (
            ({"text": "@NORTH"}, [north]),
            ({"role": ADMIN}, [south]),
            ({"is_suspended": True}, [north]),
            ({}, [south, north]),
        ):
            found, total = await members.list_members(caller, session, **wanted, limit=10, offset=0)
            assert ([one.email for one in found], total) == (emails, len(emails))


async def test_people_of_another_organisation_do_not_exist(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    stranger = await add_person(database, other_tenant)
    caller = tenant.member()
    async with database.transaction(caller) as session:
        for attempt in (
            members.get_member(caller, session, stranger),
            members.change_role(caller, session, stranger, ADMIN),
            members.put_workspace_member(caller, session, "main", stranger, WorkspaceRole.READER),
        ):
            with pytest.raises(NotFound):
                await attempt


async def test_a_workspace_lists_its_members_and_the_administrators_of_all(database: Database, tenant: Tenant) -> None:
    admin = await add_person(database, tenant, role="admin", workspace_role=None)
    reader = await add_person(database, tenant, workspace_role=None)
    caller = tenant.member()
    async with database.transaction(caller) as session:
        await members.put_workspace_member(caller, session, "main", reader, WorkspaceRole.READER)
        changed = await members.put_workspace_member(caller, session, "main", reader, WorkspaceRole.EDITOR)
        assert (changed.role, changed.is_inherited) == (WorkspaceRole.EDITOR, False)
        found, total = await members.list_workspace_members(caller, session, "main", limit=10, offset=0)
        assert total == 2
        assert {(one.user_id, one.role, one.is_inherited) for one in found} == {
            (admin, WorkspaceRole.ADMIN, True),
            (reader, WorkspaceRole.EDITOR, False),
        }
        with pytest.raises(Conflict):
            await members.remove_workspace_member(caller, session, "main", admin)
        await members.remove_workspace_member(caller, session, "main", reader)
        with pytest.raises(NotFound):
            await members.remove_workspace_member(caller, session, "main", reader)


async def test_a_workspace_admin_administers_that_workspace_only(database: Database, tenant: Tenant) -> None:
    admin = await add_person(database, tenant, workspace_role="admin")
    plain = await add_person(database, tenant, workspace_role=None)
    caller = replace(acting(tenant, admin, MEMBER), workspace_role=WorkspaceRole.ADMIN)
    async with database.transaction(tenant.member()) as session:
        await store.insert_workspace(
            session,
            WorkspaceId(uuid7()),
            tenant.organization_id,
            slug="other",
            name="Other",
            description="",
            space_id=tenant.space.id,
        )
    async with database.transaction(caller) as session:
        await members.put_workspace_member(caller, session, "main", plain, WorkspaceRole.READER)
        with pytest.raises(NotFound):
            await members.put_workspace_member(caller, session, "other", plain, WorkspaceRole.READER)
        await session.execute(
            text(
                "insert into workspace_members (organization_id, workspace_id, user_id, role)"
                " select organization_id, id, :user, 'reader' from workspaces where slug = 'other'"
            ),
            {"user": admin},
        )
        with pytest.raises(Forbidden):
            await members.put_workspace_member(caller, session, "other", plain, WorkspaceRole.READER)


async def test_groups_hold_members_of_the_organisation(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    person, stranger = await add_person(database, tenant), await add_person(database, other_tenant)
    caller = tenant.member()
    async with database.transaction(caller) as session:
        group = await groups.create_group(caller, session, name="Board", description="")
        with pytest.raises(Conflict):
            await groups.create_group(caller, session, name="bOARD", description="")
    async with database.transaction(caller) as session:
        await groups.add_group_member(caller, session, group.id, person)
        await groups.add_group_member(caller, session, group.id, person)
        with pytest.raises(NotFound):
            await groups.add_group_member(caller, session, group.id, stranger)
        found, total = await groups.list_group_members(caller, session, group.id, limit=10, offset=0)
        assert ([one.user_id for one in found], total) == ([person], 1)
        renamed = await groups.change_group(caller, session, group.id, name="The board", description=None)
        assert (renamed.name, renamed.members) == ("The board", 1)
    await end(database, caller, person, "remove")
    async with database.transaction(caller) as session:
        assert (await groups.get_group(caller, session, group.id)).members == 0
        await groups.delete_group(caller, session, group.id)
        with pytest.raises(NotFound):
            await groups.get_group(caller, session, group.id)
    other = other_tenant.member()
    async with database.transaction(other) as session:
        assert await groups.list_groups(other, session, limit=10, offset=0) == ([], 0)


async def test_a_person_sees_the_organisations_they_are_in_and_no_one_elses(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    person = await add_person(database, tenant)
    await join(database, other_tenant, person, role="admin")
    caller = acting(tenant, person, MEMBER)
    async with database.transaction(caller) as session:
        found = await organizations.list_organizations(caller, session)
        assert [(one.id, one.role) for one in found] == [
            (tenant.organization_id, MEMBER),
            (other_tenant.organization_id, ADMIN),
        ]
        # Asked for somebody else, the database says nothing.
        assert await store.list_organizations(session, UserId(uuid7())) == []
    nosy = replace(caller, principals=("workspace", user_principal(UserId(uuid7()))))
    async with database.transaction(nosy) as session:
        assert await store.list_organizations(session, person) == []


async def test_an_organisation_is_made_where_that_is_allowed_and_belongs_to_who_made_it(
    database: Database, tenant: Tenant
) -> None:
    person = await add_person(database, tenant)
    caller = acting(tenant, person, MEMBER)
    with pytest.raises(Forbidden):
        await organizations.create_organization(caller, database, tenant.space, name="Mine", is_allowed=False)
    made = await organizations.create_organization(caller, database, tenant.space, name="Mine", is_allowed=True)
    assert (made.name, made.role) == ("Mine", OWNER)
    async with database.transaction(caller) as session:
        assert [one.name for one in await organizations.list_organizations(caller, session)] == ["Tenant", "Mine"]
        with pytest.raises(NotFound):
            await organizations.rename_organization(caller, session, made.id, name="Not from here")
