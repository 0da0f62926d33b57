"""Clients that act as a service account: its roles, its suspension, its name on what they do."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.db.conftest import Tenant
from tests.db.identity_protocol_driver import BASE, World, provider
from tests.db.people import add_person

from ragecho.identity import clients
from ragecho.identity.verifier import AccessTokenVerifier
from ragecho.kernel.authorization import OrganizationRole, Permission, Scope, WorkspaceRole
from ragecho.kernel.caller import Caller, service_principal
from ragecho.kernel.errors import InvalidInput, NotFound, Unauthenticated
from ragecho.platform.database import Database
from ragecho.tenancy import service_accounts, workspaces
from ragecho.tenancy.model import ServiceAccount
from ragecho.tenancy.service_accounts import AccountChange

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(owner_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGECHO_IDENTITY_SECRET", hashlib.sha512(b"tests").hexdigest())
        async with provider(owner_url, tmp_path) as world:
            yield world


@pytest.fixture
def api(database: Database) -> AccessTokenVerifier:
    return AccessTokenVerifier(database, issuer=f"{BASE}/identity", audience=f"{BASE}/api")


@pytest.fixture
async def owner(database: Database, tenant: Tenant) -> Caller:
    return tenant.member(await add_person(database, tenant, role="owner"))


async def account(database: Database, owner: Caller, **wanted: Any) -> ServiceAccount:
    options: dict[str, Any] = {
        "name": "Robot",
        "description": "",
        "workspace": "main",
        "organization_role": None,
        "workspace_role": WorkspaceRole.EDITOR,
    }
    async with database.transaction(owner) as session:
        return await service_accounts.create_service_account(owner, session, **(options | wanted))


async def client(world: World, tenant: Tenant, **wanted: Any) -> clients.NewClient:
    options: dict[str, Any] = {"scopes": ["read", "write", "admin"], "workspace": str(tenant.workspace_id)}
    async with world.services.database.anonymous() as db:
        return await clients.create_service_client(db, name="Importer", **(options | wanted))


async def ask(world: World, made: clients.NewClient, **form: str) -> dict[str, Any]:
    world.services.provider.clients.forget(made.client.id)
    async with world.http() as http:
        answer = await http.post(
            "/identity/token",
            data={"grant_type": "client_credentials", **form},
            auth=(made.client.id, str(made.secret)),
        )
        return dict(answer.json())


async def test_a_client_acts_as_its_service_account_and_follows_it(
    world: World, database: Database, tenant: Tenant, owner: Caller, api: AccessTokenVerifier
) -> None:
    robot = await account(database, owner)
    made = await client(world, tenant, service_account="robot")
    token = (await ask(world, made))["access_token"]

    async def caller() -> Caller:
        found = await api.verify(token, workspace=None)
        assert found is not None
        return found

    async def change(**changes: Any) -> None:
        async with database.transaction(owner) as session:
            await service_accounts.change_service_account(owner, session, robot.id, AccountChange(**changes))

    now = await caller()
    assert (now.service_account_id, now.client_id) == (robot.id, made.client.id)
    assert (now.workspace_role, now.organization_role) == (WorkspaceRole.EDITOR, None)
    assert now.own_principal == service_principal(robot.id)
    assert now.own_principal in now.principals
    assert now.scopes == frozenset(Scope)
    assert not now.may(Permission.WORKSPACE_ADMINISTER), "the scope admin is not a role"
    await change(workspace_role=WorkspaceRole.READER)
    assert (await caller()).workspace_role is WorkspaceRole.READER
    await change(is_disabled=True)
    with pytest.raises(Unauthenticated):
        await caller()
    assert (await ask(world, made))["error"] == "invalid_client"
    async with world.services.database.anonymous() as db:
        assert (await clients.get_client(db, made.client.id)).service_account_id == robot.id
    await change(is_disabled=False)
    assert (await caller()).service_account_id == robot.id
    async with database.transaction(owner) as session:
        await service_accounts.delete_service_account(owner, session, robot.id)
    with pytest.raises(Unauthenticated):
        await caller()
    assert (await ask(world, made))["error"] == "invalid_client"


async def test_an_account_of_the_organisation_acts_with_its_role_there_within_the_scopes(
    world: World, database: Database, tenant: Tenant, owner: Caller, api: AccessTokenVerifier
) -> None:
    await account(database, owner, workspace=None, organization_role=OrganizationRole.ADMIN, workspace_role=None)
    made = await client(world, tenant, service_account="Robot")
    wide = await api.verify((await ask(world, made))["access_token"], workspace=None)
    assert wide is not None
    assert (wide.organization_role, wide.workspace_role) == (OrganizationRole.ADMIN, WorkspaceRole.ADMIN)
    narrow = await api.verify((await ask(world, made, scope="read"))["access_token"], workspace=None)
    assert narrow is not None
    assert not narrow.may(Permission.WORKSPACE_ADMINISTER)


async def test_a_client_acts_as_an_account_of_its_own_workspace_and_organisation_only(
    world: World, database: Database, tenant: Tenant, other_tenant: Tenant, owner: Caller
) -> None:
    await account(database, owner)
    with pytest.raises(NotFound):
        await client(world, other_tenant, service_account="Robot")
    async with database.transaction(owner) as session:
        second = await workspaces.create_workspace(
            owner, session, slug="second", name="Second", description="", space=tenant.space
        )
    with pytest.raises(InvalidInput, match="another workspace"):
        await client(world, tenant, service_account="Robot", workspace=str(second.id))
