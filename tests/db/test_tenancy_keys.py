"""API keys and service accounts: no key gets more than its maker has, and whatever ends ends at once."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.db.conftest import Tenant
from tests.db.people import add_person, run

from ragecho.kernel.authorization import OrganizationRole, Scope, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from ragecho.kernel.ids import ApiKeyId, UserId, WorkspaceId, uuid7
from ragecho.platform.database import Database
from ragecho.tenancy import keys, secrets, service_accounts
from ragecho.tenancy.callers import caller_of_key
from ragecho.tenancy.keys import KeyRequest
from ragecho.tenancy.model import NewApiKey, ServiceAccount
from ragecho.tenancy.service_accounts import AccountChange

pytestmark = pytest.mark.anyio

ALL = frozenset(Scope)


async def make(database: Database, caller: Caller, *, scopes: frozenset[Scope] = ALL, **wanted: Any) -> NewApiKey:
    request = KeyRequest("k", scopes, **({"user_id": caller.user_id} | wanted))
    async with database.transaction(caller) as session:
        return await keys.create_api_key(caller, session, str(caller.workspace_id), request)


async def use(database: Database, secret: str) -> Caller:
    async with database.anonymous() as session:
        return await caller_of_key(session, secrets.digest(secret), None)


async def owner_of(database: Database, tenant: Tenant) -> Caller:
    return tenant.member(await add_person(database, tenant, role="owner"))


async def reader_of(database: Database, tenant: Tenant) -> Caller:
    person = await add_person(database, tenant, workspace_role="reader")
    return replace(
        tenant.member(person), organization_role=OrganizationRole.MEMBER, workspace_role=WorkspaceRole.READER
    )


async def test_a_key_acts_as_its_maker_and_never_as_more(database: Database, tenant: Tenant) -> None:
    owner, reader = await owner_of(database, tenant), await reader_of(database, tenant)
    full = await use(database, (await make(database, owner)).secret)
    assert (full.organization_role, full.workspace_role) == (OrganizationRole.OWNER, WorkspaceRole.ADMIN)
    reading = await use(database, (await make(database, owner, scopes=frozenset({Scope.READ}))).secret)
    assert (reading.organization_role, reading.scopes) == (OrganizationRole.MEMBER, {Scope.READ})
    bound = await use(database, (await make(database, owner, is_workspace_only=True)).secret)
    assert (bound.organization_role, bound.workspace_role) == (None, WorkspaceRole.ADMIN)
    theirs = await use(database, (await make(database, reader)).secret)
    assert (theirs.organization_role, theirs.workspace_role) == (OrganizationRole.MEMBER, WorkspaceRole.READER)
    with pytest.raises(InvalidInput, match="lacks: 'read'"):
        await make(database, replace(owner, scopes=frozenset({Scope.ADMIN})))
    # Demoted, the owner's key administers nothing any more.
    await add_person(database, tenant, role="owner")
    await run(
        database, tenant, "update organization_members set role = 'member' where user_id = :user", user=owner.user_id
    )
    assert (await use(database, (await make(database, owner)).secret)).organization_role is OrganizationRole.MEMBER


async def test_a_key_is_made_for_oneself_unless_one_administers_keys(database: Database, tenant: Tenant) -> None:
    reader, other = await reader_of(database, tenant), await add_person(database, tenant)
    for wanted in ({"user_id": other}, {"user_id": None}):
        with pytest.raises(Forbidden):
            await make(database, reader, **wanted)
    with pytest.raises(NotFound):
        await make(database, await owner_of(database, tenant), user_id=UserId(uuid7()))


async def test_who_does_not_administer_keys_sees_their_own(database: Database, tenant: Tenant) -> None:
    owner, reader = await owner_of(database, tenant), await reader_of(database, tenant)
    theirs = await make(database, owner)
    mine = await make(database, reader)
    for caller, only_own, expected in (
        (owner, False, [mine.key.id, theirs.key.id]),
        (owner, True, [theirs.key.id]),
        (reader, False, [mine.key.id]),
    ):
        async with database.transaction(caller) as session:
            found, total = await keys.list_api_keys(
                caller, session, workspace="main", only_own=only_own, limit=9, offset=0
            )
        assert ([key.id for key in found], total) == (expected, len(expected))
    async with database.transaction(reader) as session:
        with pytest.raises(Forbidden):
            await keys.revoke_api_key(reader, session, theirs.key.id)
    async with database.transaction(owner) as session:
        await keys.revoke_api_key(owner, session, mine.key.id)
    with pytest.raises(Unauthenticated):
        await use(database, mine.secret)


async def test_a_rotated_key_answers_during_the_overlap_only(database: Database, tenant: Tenant) -> None:
    owner = await owner_of(database, tenant)
    first = await make(database, owner, expires_in_days=30)
    async with database.transaction(owner) as session:
        second = await keys.rotate_api_key(owner, session, first.key.id, overlap_seconds=600)
    assert (second.key.replaces, second.key.scopes, second.key.name) == (first.key.id, first.key.scopes, "k")
    assert first.key.expires_at is not None
    assert second.key.expires_at is not None
    assert abs((second.key.expires_at - second.key.created_at) - timedelta(days=30)) < timedelta(minutes=1)
    assert (await use(database, first.secret)).user_id == (await use(database, second.secret)).user_id
    async with database.transaction(owner) as session:
        with pytest.raises(Conflict):
            await keys.rotate_api_key(owner, session, first.key.id)
        third = await keys.rotate_api_key(owner, session, second.key.id)
    with pytest.raises(Unauthenticated):
        await use(database, second.secret)
    assert (await use(database, third.secret)).api_key_id == third.key.id
    await run(database, tenant, "update api_keys set expires_at = now() where id = :id", id=first.key.id)
    with pytest.raises(Unauthenticated):
        await use(database, first.secret)


async def test_nobody_rotates_anothers_key_or_one_that_may_do_more(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    owner, second = await owner_of(database, tenant), await owner_of(database, tenant)
    theirs = await make(database, owner)
    async with database.transaction(second) as session:
        with pytest.raises(Forbidden, match="that person only"):
            await keys.rotate_api_key(second, session, theirs.key.id)
    ownerless = await make(database, owner, user_id=None)
    admin = replace(second, organization_role=OrganizationRole.ADMIN)
    for weaker, refusal in ((admin, Forbidden), (replace(second, scopes=frozenset({Scope.ADMIN})), InvalidInput)):
        async with database.transaction(weaker) as session:
            with pytest.raises(refusal):
                await keys.rotate_api_key(weaker, session, ownerless.key.id)
    stranger = other_tenant.member()
    async with database.transaction(stranger) as session:
        for attempt in (
            keys.rotate_api_key(stranger, session, theirs.key.id),
            keys.revoke_api_key(stranger, session, theirs.key.id),
        ):
            with pytest.raises(NotFound):
                await attempt


async def test_a_key_bound_to_a_workspace_manages_no_keys_of_another(database: Database, tenant: Tenant) -> None:
    owner = await owner_of(database, tenant)
    made = await make(database, owner)
    elsewhere = replace(
        owner, user_id=None, workspace_id=WorkspaceId(uuid7()), api_key_id=ApiKeyId(uuid7()), organization_role=None
    )
    async with database.transaction(elsewhere) as session:
        with pytest.raises(NotFound):
            await keys.revoke_api_key(elsewhere, session, made.key.id)


async def create_account(database: Database, caller: Caller, **wanted: Any) -> ServiceAccount:
    options: dict[str, Any] = {
        "name": "robot",
        "description": "",
        "workspace": "main",
        "organization_role": None,
        "workspace_role": WorkspaceRole.EDITOR,
    }
    async with database.transaction(caller) as session:
        return await service_accounts.create_service_account(caller, session, **(options | wanted))


async def test_a_service_accounts_key_follows_the_account(database: Database, tenant: Tenant) -> None:
    owner = await owner_of(database, tenant)
    account = await create_account(database, owner)
    made = await make(database, owner, user_id=None, service_account_id=account.id)
    caller = await use(database, made.secret)
    assert (caller.workspace_role, caller.organization_role, caller.service_account_id) == (
        WorkspaceRole.EDITOR,
        None,
        account.id,
    )

    async def change(**changes: Any) -> None:
        async with database.transaction(owner) as session:
            await service_accounts.change_service_account(owner, session, account.id, AccountChange(**changes))

    await change(workspace_role=WorkspaceRole.READER)
    assert (await use(database, made.secret)).workspace_role is WorkspaceRole.READER
    await change(is_disabled=True)
    with pytest.raises(Unauthenticated):
        await use(database, made.secret)
    await change(is_disabled=False)
    await use(database, made.secret)
    async with database.transaction(owner) as session:
        await service_accounts.delete_service_account(owner, session, account.id)
    with pytest.raises(Unauthenticated):
        await use(database, made.secret)


async def test_a_workspace_admin_cannot_reach_the_organisation_through_its_programs(
    database: Database, tenant: Tenant
) -> None:
    owner = await owner_of(database, tenant)
    everywhere = await create_account(
        database, owner, workspace=None, organization_role=OrganizationRole.ADMIN, workspace_role=None
    )
    person = await add_person(database, tenant, workspace_role="admin")
    local = replace(tenant.member(person), organization_role=OrganizationRole.MEMBER)
    made = await make(database, local, user_id=None, service_account_id=everywhere.id)
    assert (await use(database, made.secret)).organization_role is OrganizationRole.MEMBER
    with pytest.raises(Forbidden):
        await create_account(
            database,
            local,
            name="mine",
            workspace=None,
            organization_role=OrganizationRole.ADMIN,
            workspace_role=None,
        )
    async with database.transaction(local) as session:
        with pytest.raises(NotFound):
            await service_accounts.get_service_account(local, session, everywhere.id)
        found, total = await service_accounts.list_service_accounts(local, session, limit=9, offset=0)
        assert (found, total) == ([], 0)
    own = await create_account(database, local, name="own")
    assert own.workspace_id == tenant.workspace_id


@pytest.mark.parametrize(
    "roles",
    [
        {"workspace": None, "organization_role": OrganizationRole.OWNER},
        {"workspace": None, "organization_role": None},
        {"workspace_role": None},
        {"organization_role": OrganizationRole.MEMBER},
        {"name": "  "},
    ],
)
async def test_a_service_accounts_roles_must_fit(database: Database, tenant: Tenant, roles: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await create_account(database, tenant.member(), **roles)
