"""People, groups, domains and keys of a tenant, as rows."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import text
from tests.db.conftest import Tenant

from ragecho.kernel.ids import ApiKeyId, GroupId, UserId, uuid7
from ragecho.platform.database import Database


async def run(database: Database, tenant: Tenant, statement: str, **parameters: Any) -> int:
    """Run a statement as the application in the tenant; return how many rows it changed."""
    async with database.transaction(tenant.member()) as session:
        done = await session.execute(
            text(statement),
            {"organization": tenant.organization_id, "workspace": tenant.workspace_id, **parameters},
        )
        return int(done.rowcount)


async def run_as_identity(database: Database, tenant: Tenant, statement: str, **parameters: Any) -> None:
    """Run a statement as the identity service, which alone may change people."""
    async with database.transaction(tenant.member()) as session:
        await session.execute(text("set local role ragecho_identity"))
        await session.execute(text(statement), parameters)


async def add_person(
    database: Database,
    tenant: Tenant,
    *,
    role: str = "member",
    workspace_role: str | None = "reader",
    email: str | None = None,
    is_verified: bool = True,
) -> UserId:
    """Add a person to the tenant, in its workspace unless `workspace_role` is None."""
    user_id = UserId(uuid7())
    await run_as_identity(
        database,
        tenant,
        "insert into users (id, email, email_verified_at) values (:id, :email, case when :verified then now() end)",
        id=user_id,
        email=email or f"{user_id}@example.org",
        verified=is_verified,
    )
    await join(database, tenant, user_id, role=role, workspace_role=workspace_role)
    return user_id


async def join(
    database: Database, tenant: Tenant, user_id: UserId, *, role: str = "member", workspace_role: str | None = "reader"
) -> None:
    """Make an existing person a member."""
    await run(
        database,
        tenant,
        "insert into organization_members (organization_id, user_id, role) values (:organization, :user, :role)",
        user=user_id,
        role=role,
    )
    if workspace_role is not None:
        await run(
            database,
            tenant,
            "insert into workspace_members (organization_id, workspace_id, user_id, role)"
            " values (:organization, :workspace, :user, :role)",
            user=user_id,
            role=workspace_role,
        )


async def add_group(database: Database, tenant: Tenant, *members: UserId) -> GroupId:
    """Add a group with members."""
    group_id = GroupId(uuid7())
    await run(
        database,
        tenant,
        "insert into groups (organization_id, id, name) values (:organization, :id, :name)",
        id=group_id,
        name=str(group_id),
    )
    for member in members:
        await run(
            database,
            tenant,
            "insert into group_members (organization_id, group_id, user_id) values (:organization, :group, :user)",
            group=group_id,
            user=member,
        )
    return group_id


async def add_domain(database: Database, tenant: Tenant, domain: str) -> None:
    """List a domain as the organisation's own."""
    await run(
        database,
        tenant,
        "insert into organization_domains (organization_id, domain) values (:organization, :domain)",
        domain=domain,
    )


async def add_key(
    database: Database,
    tenant: Tenant,
    *,
    user_id: UserId | None = None,
    service_account_id: object = None,
    scopes: Sequence[str] = ("read", "write", "admin"),
    organization_role: str | None = None,
    expires: str = "1 hour",
) -> tuple[ApiKeyId, bytes]:
    """Add a key; return its id and digest."""
    key_id = ApiKeyId(uuid7())
    digest = sha256(key_id.bytes).digest()
    await run(
        database,
        tenant,
        "insert into api_keys (id, organization_id, workspace_id, user_id, service_account_id, name, prefix, secret_sha256,"
        " scopes, organization_role, expires_at) values (:id, :organization, :workspace, :user, :service, 'key', 'echo_x',"
        " :digest, :scopes, :role, now() + cast(:expires as text)::interval)",
        id=key_id,
        user=user_id,
        service=service_account_id,
        digest=digest,
        scopes=list(scopes),
        role=organization_role,
        expires=expires,
    )
    return key_id, digest
