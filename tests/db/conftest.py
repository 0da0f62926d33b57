"""A real PostgreSQL for the session, a fresh tenant for each test."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.authorization import OrganizationRole, Scope, WorkspaceRole
from ragecho.kernel.caller import Caller, user_principal
from ragecho.kernel.ids import OrganizationId, UserId, WorkspaceId, uuid7
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.database import APP_ROLE, Database
from ragecho.platform.database.migrate import allow_login, upgrade
from ragecho.platform.embedded import EmbeddedPostgres
from ragecho.tenancy import store

SPACE = EmbeddingSpace(uuid7(at_ms=1, entropy=b"0123456789"), "fake", "1", 384, "test")


@pytest.fixture(scope="session")
def owner_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database; RAGECHO_TEST_DATABASE_URL names an external one."""
    external = os.environ.get("RAGECHO_TEST_DATABASE_URL")
    if external:
        upgrade(external)
        yield external
        return
    with EmbeddedPostgres(tmp_path_factory.mktemp("db")) as postgres:
        url = postgres.address.owner_url
        upgrade(url)
        allow_login(url, APP_ROLE)
        yield url


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def database(owner_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(owner_url, pool_size=5)
    yield database
    await database.close()


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder(dimensions=384)


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organisation with one workspace and three callers in it."""

    organization_id: OrganizationId
    workspace_id: WorkspaceId
    space: EmbeddingSpace

    def member(self, user_id: UserId | None = None) -> Caller:
        own = (user_principal(user_id),) if user_id else ()
        return Caller(
            self.organization_id,
            self.workspace_id,
            ("workspace", "level:internal", *own),
            frozenset(Scope),
            user_id=user_id,
            workspace_role=WorkspaceRole.ADMIN,
            organization_role=OrganizationRole.OWNER,
        )

    def stranger(self) -> Caller:
        return Caller(self.organization_id, self.workspace_id, ("user:nobody",), frozenset(Scope))

    def worker(self) -> Caller:
        return Caller.worker(self.organization_id, self.workspace_id)


async def make_tenant(database: Database) -> Tenant:
    tenant = Tenant(OrganizationId(uuid7()), WorkspaceId(uuid7()), SPACE)
    async with database.transaction(tenant.member()) as session:
        await store.insert_space(
            session,
            {"id": SPACE.id, "model": "fake", "revision": "1", "dimensions": 384, "chunking": "test"},
        )
        await store.insert_organization(
            session, tenant.organization_id, slug=str(tenant.organization_id), name="Tenant"
        )
        await store.insert_workspace(
            session,
            tenant.workspace_id,
            tenant.organization_id,
            slug="main",
            name="Main",
            description="",
            space_id=SPACE.id,
        )
    return tenant


@pytest.fixture
async def tenant(database: Database) -> Tenant:
    return await make_tenant(database)


@pytest.fixture
async def other_tenant(database: Database) -> Tenant:
    return await make_tenant(database)
