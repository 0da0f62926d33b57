"""Who a credential stands for: live roles, groups and level, and nobody where the person may not be here any more."""

from uuid import UUID

import pytest
from sqlalchemy import create_engine, text
from tests.db.conftest import SPACE, Tenant, make_tenant
from tests.db.people import add_domain, add_group, add_key, add_person, join, run, run_as_identity

from ragecho.kernel.authorization import OrganizationRole, Permission, Scope, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import InvalidInput, NotFound, Unauthenticated
from ragecho.kernel.ids import UserId, WorkspaceId, uuid7
from ragecho.platform.database import Database, driver_url
from ragecho.tenancy import store
from ragecho.tenancy.callers import Callers, caller_of_key, caller_of_subject

pytestmark = pytest.mark.anyio

ALL = frozenset(Scope)


async def of_key(database: Database, digest: bytes, workspace: str | None = None) -> Caller:
    """Return the caller by both ways of asking, which must agree."""
    async with database.anonymous() as session:
        found = await caller_of_key(session, digest, workspace)
    assert await Callers(database).of_key(digest, workspace) == found
    return found


async def of_person(
    database: Database, user_id: UserId | None, workspace: str | None = None, grant_id: UUID | None = None
) -> Caller:
    async with database.anonymous() as session:
        return await caller_of_subject(
            session, user_id=user_id, client_id="web", grant_id=grant_id, workspace=workspace, scopes=ALL
        )


async def test_a_key_acts_with_its_owners_live_role(database: Database, tenant: Tenant) -> None:
    person = await add_person(database, tenant, workspace_role="editor")
    key_id, digest = await add_key(database, tenant, user_id=person)
    caller = await of_key(database, digest)
    assert (caller.user_id, caller.api_key_id, caller.workspace_role) == (person, key_id, WorkspaceRole.EDITOR)
    assert caller.organization_role is None
    assert caller.may(Permission.DOCUMENTS_WRITE)
    assert not caller.may(Permission.API_KEYS_ADMINISTER)  # its scope 'admin' does not make an editor an administrator
    await run(database, tenant, "update workspace_members set role = 'reader' where user_id = :user", user=person)
    assert not (await of_key(database, digest)).may(Permission.DOCUMENTS_WRITE)


async def test_a_keys_scopes_narrow_an_owners_role(database: Database, tenant: Tenant) -> None:
    owner = await add_person(database, tenant, role="owner", workspace_role=None)
    _, digest = await add_key(database, tenant, user_id=owner, scopes=("read",))
    caller = await of_key(database, digest)
    assert caller.workspace_role is WorkspaceRole.ADMIN
    assert not caller.may(Permission.DOCUMENTS_WRITE)


@pytest.mark.parametrize(
    ("cap", "role", "expected"),
    [
        (None, "owner", None),
        ("member", "owner", OrganizationRole.MEMBER),
        ("owner", "owner", OrganizationRole.OWNER),
        ("owner", "member", OrganizationRole.MEMBER),
        ("admin", "member", OrganizationRole.MEMBER),
        (None, "member", None),
    ],
)
async def test_a_key_acts_in_the_organisation_up_to_its_cap_and_never_above_its_owner(
    database: Database, tenant: Tenant, cap: str | None, role: str, expected: OrganizationRole | None
) -> None:
    person = await add_person(database, tenant, role=role)
    _, digest = await add_key(database, tenant, user_id=person, organization_role=cap)
    assert (await of_key(database, digest)).organization_role is expected


@pytest.mark.parametrize(
    "end",
    [
        "update users set is_disabled = true where id = :user",
        "update users set deleted_at = now() where id = :user",
        "update organization_members set suspended_at = now() where user_id = :user",
        "delete from organization_members where user_id = :user",
        "delete from workspace_members where user_id = :user",
    ],
)
async def test_a_key_ends_with_its_owners_right_to_be_here(database: Database, tenant: Tenant, end: str) -> None:
    await add_person(database, tenant, role="owner")
    person = await add_person(database, tenant)
    _, digest = await add_key(database, tenant, user_id=person)
    await of_key(database, digest)
    change = run_as_identity if end.startswith("update users") else run
    await change(database, tenant, end, user=person)
    with pytest.raises(Unauthenticated):
        await of_key(database, digest)
    with pytest.raises((Unauthenticated, NotFound)):
        await of_person(database, person)


async def test_keys_that_expired_or_were_revoked_or_never_were_do_not_count(database: Database, tenant: Tenant) -> None:
    _, expired = await add_key(database, tenant, expires="-1 second")
    key_id, revoked = await add_key(database, tenant)
    await of_key(database, revoked)
    await run(database, tenant, "update api_keys set revoked_at = now() where id = :id", id=key_id)
    for digest in (expired, revoked, b"\0" * 32):
        with pytest.raises(Unauthenticated):
            await of_key(database, digest)


async def test_a_key_of_nobody_acts_by_its_scopes(database: Database, tenant: Tenant) -> None:
    for scopes, role in ((("read",), "reader"), (("read", "write"), "editor"), (("admin",), "admin")):
        key_id, digest = await add_key(database, tenant, scopes=scopes)
        caller = await of_key(database, digest)
        assert caller.workspace_role == role
        assert caller.principals == ("workspace", "level:internal", f"key:{key_id}")


async def test_a_key_enters_its_own_workspace_only(database: Database, tenant: Tenant, other_tenant: Tenant) -> None:
    _, digest = await add_key(database, tenant)
    for name in (None, "main", "MAIN", str(tenant.workspace_id)):
        assert (await of_key(database, digest, name)).workspace_id == tenant.workspace_id
    for name in (str(other_tenant.workspace_id), "other", ""):
        with pytest.raises(NotFound):
            await of_key(database, digest, name)


async def test_a_service_account_acts_in_its_workspace_while_it_is_enabled(database: Database, tenant: Tenant) -> None:
    account = uuid7()
    await run(
        database,
        tenant,
        "insert into service_accounts (organization_id, id, workspace_id, name, workspace_role)"
        " values (:organization, :id, :workspace, 'robot', 'editor')",
        id=account,
    )
    _, digest = await add_key(database, tenant, service_account_id=account, organization_role="admin")
    caller = await of_key(database, digest)
    assert (caller.service_account_id, caller.workspace_role, caller.organization_role) == (account, "editor", None)
    assert caller.principals == ("workspace", "level:internal", f"service:{account}")
    await run(database, tenant, "update service_accounts set is_disabled = true where id = :id", id=account)
    with pytest.raises(Unauthenticated):
        await of_key(database, digest)


async def test_a_program_of_the_organisation_reads_nothing_in_a_workspace_without_a_role_there(
    database: Database, tenant: Tenant
) -> None:
    account = uuid7()
    await run(
        database,
        tenant,
        "insert into service_accounts (organization_id, id, name, organization_role)"
        " values (:organization, :id, 'directory', 'member')",
        id=account,
    )
    _, digest = await add_key(database, tenant, service_account_id=account, organization_role="member")
    caller = await of_key(database, digest)
    assert caller.may(Permission.ORGANIZATION_READ)
    assert not caller.may(Permission.DOCUMENTS_READ)
    assert caller.principals == (f"service:{account}",)


async def test_an_archived_workspace_is_known_as_such(database: Database, tenant: Tenant) -> None:
    person = await add_person(database, tenant)
    _, digest = await add_key(database, tenant, user_id=person)
    assert not (await of_key(database, digest)).is_archived
    await run(database, tenant, "update workspaces set status = 'archived', archived_at = now() where id = :workspace")
    assert (await of_key(database, digest)).is_archived
    assert (await of_person(database, person)).is_archived


async def test_last_used_is_written_at_most_once_a_minute(database: Database, tenant: Tenant) -> None:
    key_id, digest = await add_key(database, tenant)

    async def last_used() -> object:
        async with database.transaction(tenant.member()) as session:
            found = await session.execute(
                text("select last_used_at, xmin from api_keys where id = :id"), {"id": key_id}
            )
            return tuple(found.one())

    await of_key(database, digest)
    first = await last_used()
    await of_key(database, digest)
    assert await last_used() == first
    await run(
        database, tenant, "update api_keys set last_used_at = now() - interval '61 seconds' where id = :id", id=key_id
    )
    await of_key(database, digest)
    async with database.transaction(tenant.member()) as session:
        age = await session.execute(
            text("select now() - last_used_at < interval '30 seconds' from api_keys where id = :id"), {"id": key_id}
        )
        assert age.scalar_one() is True


@pytest.mark.parametrize(
    ("domains", "email", "is_verified", "level"),
    [
        ((), "ann@example.com", False, "level:internal"),
        (("example.com",), "ann@example.com", True, "level:internal"),
        (("example.com",), "Ann@EXAMPLE.com", True, "level:internal"),
        (("example.com",), "ann@example.com", False, "level:external"),
        (("example.com",), "ann@eu.example.com", True, "level:external"),
        (("example.com",), "ann@notexample.com", True, "level:external"),
        (("example.com",), '"x@example.com"@evil.test', True, "level:external"),
        (("example.com", "example.org"), "ann@example.org", True, "level:internal"),
    ],
)
async def test_who_is_internal_is_decided_by_the_verified_address(
    database: Database, tenant: Tenant, domains: tuple[str, ...], email: str, is_verified: bool, level: str
) -> None:
    unique = (
        email.replace("ann", f"ann-{uuid7().hex}").replace("Ann", f"Ann-{uuid7().hex}").replace('"x', f'"{uuid7()}')
    )
    person = await add_person(database, tenant, email=unique, is_verified=is_verified)
    for domain in domains:
        await add_domain(database, tenant, domain)
    levels = [one for one in (await of_person(database, person)).principals if one.startswith("level:")]
    assert levels == [level]


async def test_groups_are_the_ones_of_this_moment_and_of_this_organisation(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    person = await add_person(database, tenant)
    await join(database, other_tenant, person)
    group = await add_group(database, tenant, person)
    elsewhere = await add_group(database, other_tenant, person)
    caller = await of_person(database, person, str(tenant.workspace_id))
    assert caller.principals == ("workspace", "level:internal", f"user:{person}", f"group:{group}")
    there = await of_person(database, person, str(other_tenant.workspace_id))
    assert f"group:{elsewhere}" in there.principals
    assert f"group:{group}" not in there.principals
    await run(database, tenant, "delete from group_members where user_id = :user", user=person)
    assert f"group:{group}" not in (await of_person(database, person, str(tenant.workspace_id))).principals


@pytest.fixture
async def second_workspace(database: Database, tenant: Tenant) -> WorkspaceId:
    workspace = WorkspaceId(uuid7())
    async with database.transaction(tenant.member()) as session:
        await store.insert_workspace(
            session, workspace, tenant.organization_id, slug="second", name="Second", description="", space_id=SPACE.id
        )
    return workspace


async def test_a_person_enters_the_workspaces_they_are_in_by_id_or_slug(
    database: Database, tenant: Tenant, other_tenant: Tenant, second_workspace: WorkspaceId
) -> None:
    person = await add_person(database, tenant)
    assert (await of_person(database, person)).workspace_id == tenant.workspace_id
    assert (await of_person(database, person, "Main")).workspace_id == tenant.workspace_id
    for name in ("second", str(second_workspace), str(other_tenant.workspace_id), "nowhere", "", "' or true --"):
        with pytest.raises(NotFound):
            await of_person(database, person, name)
    administrator = await add_person(database, tenant, role="admin", workspace_role=None)
    found = await of_person(database, administrator, "second")
    assert (found.workspace_id, found.workspace_role, found.organization_role) == (second_workspace, "admin", "admin")
    assert (await of_person(database, administrator)).workspace_id == tenant.workspace_id


async def test_a_slug_that_two_of_the_persons_organisations_have_must_be_given_as_an_id(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    person = await add_person(database, tenant)
    await join(database, other_tenant, person)
    with pytest.raises(InvalidInput, match="id"):
        await of_person(database, person, "main")
    assert (await of_person(database, person)).workspace_id == tenant.workspace_id


async def test_the_default_workspace_is_rather_one_in_use(
    database: Database, tenant: Tenant, second_workspace: WorkspaceId
) -> None:
    person = await add_person(database, tenant)
    owner = await add_person(database, tenant, role="owner", workspace_role=None)
    await run(
        database,
        tenant,
        "insert into workspace_members (organization_id, workspace_id, user_id, role)"
        " values (:organization, :second, :user, 'admin')",
        second=second_workspace,
        user=person,
    )
    await run(database, tenant, "update workspaces set status = 'archived', archived_at = now() where id = :workspace")
    assert (await of_person(database, person)).workspace_id == second_workspace
    assert (await of_person(database, owner)).workspace_id == second_workspace


async def test_who_is_suspended_everywhere_is_nobody_and_elsewhere_just_not_there(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    person = await add_person(database, tenant)
    suspend = "update organization_members set suspended_at = now() where user_id = :user"
    await run(database, tenant, suspend, user=person)
    with pytest.raises(Unauthenticated):
        await of_person(database, person)
    await join(database, other_tenant, person)
    assert (await of_person(database, person)).workspace_id == other_tenant.workspace_id
    with pytest.raises(NotFound):
        await of_person(database, person, str(tenant.workspace_id))
    with pytest.raises(Unauthenticated):
        await of_person(database, UserId(uuid7()))


def grant_rows(owner_url: str, user_id: UserId, tenant: Tenant) -> tuple[UUID, str]:
    """Add a client and a grant of the person, as the identity service would."""
    grant_id, client_id = uuid7(), f"client-{uuid7()}"
    engine = create_engine(driver_url(owner_url))
    with engine.begin() as connection:
        connection.execute(
            text(
                "insert into identity_clients (id, name, kind, auth_method, grant_types, scopes, organization_id, workspace_id)"
                " values (:id, 'app', 'managed', 'none', '{}', '{}', :organization, :workspace)"
            ),
            {"id": client_id, "organization": tenant.organization_id, "workspace": tenant.workspace_id},
        )
        connection.execute(
            text(
                "insert into identity_grants (id, client_id, user_id, scopes, auth_time, expires_at)"
                " values (:id, :client, :user, '{}', now(), now() + interval '1 hour')"
            ),
            {"id": grant_id, "client": client_id, "user": user_id},
        )
    engine.dispose()
    return grant_id, client_id


def as_owner(owner_url: str, statement: str, **parameters: object) -> None:
    engine = create_engine(driver_url(owner_url))
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)
    engine.dispose()


async def test_a_token_ends_with_its_grant_and_serves_its_own_person_only(
    database: Database, tenant: Tenant, owner_url: str
) -> None:
    person, another = await add_person(database, tenant), await add_person(database, tenant)
    grant_id, client_id = grant_rows(owner_url, person, tenant)
    caller = await of_person(database, person, grant_id=grant_id)
    assert (caller.user_id, caller.grant_id, caller.client_id) == (person, grant_id, "web")
    for user_id, grant in ((another, grant_id), (person, uuid7())):
        with pytest.raises(Unauthenticated):
            await of_person(database, user_id, grant_id=grant)
    as_owner(owner_url, "update identity_clients set disabled_at = now() where id = :id", id=client_id)
    with pytest.raises(Unauthenticated):
        await of_person(database, person, grant_id=grant_id)
    as_owner(owner_url, "update identity_clients set disabled_at = null where id = :id", id=client_id)
    as_owner(owner_url, "update identity_grants set revoked_at = now() where id = :id", id=grant_id)
    with pytest.raises(Unauthenticated):
        await of_person(database, person, grant_id=grant_id)


async def test_a_service_client_acts_in_its_workspace_by_its_scopes(
    database: Database, tenant: Tenant, other_tenant: Tenant, owner_url: str
) -> None:
    person = await add_person(database, tenant)
    _, client_id = grant_rows(owner_url, person, tenant)

    async def of_client(workspace: str | None = None) -> Caller:
        return await Callers(database).of_subject(
            user_id=None, client_id=client_id, grant_id=None, workspace=workspace, scopes=frozenset({Scope.READ})
        )

    caller = await of_client()
    assert (caller.workspace_id, caller.workspace_role) == (tenant.workspace_id, WorkspaceRole.READER)
    assert caller.principals == ("workspace", "level:internal", f"service:{client_id}")
    with pytest.raises(NotFound):
        await of_client(str(other_tenant.workspace_id))
    as_owner(owner_url, "update identity_clients set disabled_at = now() where id = :id", id=client_id)
    with pytest.raises(Unauthenticated):
        await of_client()


async def test_finding_the_caller_reads_a_handful_of_pages_however_many_there_are(
    database: Database, tenant: Tenant, owner_url: str
) -> None:
    """Every request does this: with thousands of other people, groups and keys it must still be index look-ups."""
    person = await add_person(database, tenant)
    for _ in range(20):
        await add_group(database, tenant, person)
    _, digest = await add_key(database, tenant, user_id=person)
    crowd = await make_tenant(database)
    engine = create_engine(driver_url(owner_url))
    with engine.begin() as connection:
        for statement in (
            "insert into users (id, email) select gen_random_uuid(), 'crowd-' || n || '@' || :organization from"
            " generate_series(1, 5000) n",
            "insert into organization_members (organization_id, user_id, role) select :organization, id, 'member' from users"
            " where email like '%@' || :organization",
            "insert into workspace_members (organization_id, workspace_id, user_id, role) select organization_id, :workspace,"
            " user_id, 'reader' from organization_members where organization_id = :organization",
            "insert into groups (organization_id, id, name) select :organization, gen_random_uuid(), 'g' || n from"
            " generate_series(1, 200) n",
            "insert into group_members (organization_id, group_id, user_id) select g.organization_id, g.id, m.user_id from"
            " groups g join organization_members m using (organization_id) where g.organization_id = :organization"
            " and ('x' || substr(md5(g.id::text || m.user_id::text), 1, 2))::bit(8)::int < 8",
            "insert into api_keys (id, organization_id, workspace_id, name, prefix, secret_sha256, scopes) select"
            " gen_random_uuid(), :organization, :workspace, 'k', 'p', sha256(n::text::bytea), '{read}' from"
            " generate_series(1, 5000) n",
        ):
            named = statement.replace(":organization", f"'{crowd.organization_id}'").replace(
                ":workspace", f"'{crowd.workspace_id}'"
            )
            connection.exec_driver_sql(named.replace("%", "%%"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))
    engine.dispose()
    await of_key(database, digest)
    async with database.anonymous() as session:
        for statement in (
            "select * from ragecho_caller_of_key(:digest)",
            "select * from ragecho_caller_of_subject(:person, 'web', null, null)",
            "select * from ragecho_caller_of_subject(:person, 'web', null, 'main')",
        ):
            for _ in range(8):  # the first run of a session reads the catalogue and plans
                plan = await session.execute(
                    text(f"explain (analyze, buffers, format json) {statement}"), {"digest": digest, "person": person}
                )
            (top,) = plan.scalar_one()
            pages = top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"]
            assert pages < 50, (statement, pages)
