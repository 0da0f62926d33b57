"""SQL of organisations, workspaces, people and keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.authorization import Scope
from ragecho.kernel.ids import ApiKeyId, OrganizationId, UserId, WorkspaceId
from ragecho.tenancy.model import ApiKey, Workspace

WORKSPACE_COLUMNS = "id, organization_id, slug, name, description, status, space_id, created_at, updated_at"
KEY_COLUMNS = "id, workspace_id, user_id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at"


async def insert_organization(
    session: AsyncConnection, organization_id: OrganizationId, *, slug: str, name: str
) -> None:
    """Create the organisation unless it exists."""
    await session.execute(
        text("insert into organizations (id, slug, name) values (:id, :slug, :name) on conflict do nothing"),
        {"id": organization_id, "slug": slug, "name": name},
    )


async def insert_space(session: AsyncConnection, space: Mapping[str, Any]) -> None:
    """Create the embedding space unless it exists."""
    await session.execute(
        text(
            "insert into embedding_spaces (id, model, revision, dimensions, chunking)"
            " values (:id, :model, :revision, :dimensions, :chunking) on conflict do nothing"
        ),
        space,
    )


async def insert_workspace(
    session: AsyncConnection,
    workspace_id: WorkspaceId,
    organization_id: OrganizationId,
    *,
    slug: str,
    name: str,
    description: str,
    space_id: UUID,
) -> bool:
    """Create the workspace; False when its slug (or id) is taken."""
    made = await session.execute(
        text(
            "insert into workspaces (id, organization_id, slug, name, description, space_id)"
            " values (:id, :organization_id, :slug, :name, :description, :space_id) on conflict do nothing"
        ),
        {
            "id": workspace_id,
            "organization_id": organization_id,
            "slug": slug,
            "name": name,
            "description": description,
            "space_id": space_id,
        },
    )
    return bool(made.rowcount)


async def find_workspace(session: AsyncConnection, name: str) -> Workspace | None:
    """Return the workspace with this id or slug among those the caller's organisation has."""
    found = await session.execute(
        text(f"select {WORKSPACE_COLUMNS} from workspaces where slug = :name or id::text = :name"),
        {"name": name.lower()},
    )
    row = found.mappings().first()
    return _workspace(row) if row else None


async def list_workspaces(
    session: AsyncConnection, *, only: WorkspaceId | None, limit: int, offset: int
) -> tuple[list[Workspace], int]:
    """Return one page of workspaces, newest first, and how many there are."""
    found = await session.execute(
        text(
            f"select {WORKSPACE_COLUMNS}, count(*) over () as total from workspaces"
            " where cast(:only as uuid) is null or id = :only order by created_at desc, id desc limit :limit offset :offset"
        ),
        {"only": only, "limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    return [_workspace(row) for row in rows], (rows[0]["total"] if rows else 0)


async def insert_owner(
    session: AsyncConnection, user_id: UserId, organization_id: OrganizationId, *, email: str, password_hash: str | None
) -> bool:
    """Create a person who owns the organisation; False when the e-mail address is taken."""
    made = await session.execute(
        text(
            "insert into users (id, email, password_hash) values (:id, :email, :password_hash) on conflict do nothing"
        ),
        {"id": user_id, "email": email, "password_hash": password_hash},
    )
    if not made.rowcount:
        return False
    await session.execute(
        text(
            "insert into organization_members (organization_id, user_id, role) values (:organization, :user, 'owner')"
        ),
        {"organization": organization_id, "user": user_id},
    )
    return True


async def first_owner(session: AsyncConnection) -> UserId | None:
    """Return the longest-standing owner of the caller's organisation."""
    found = await session.execute(
        text("select user_id from organization_members where role = 'owner' order by created_at, user_id limit 1")
    )
    return found.scalar_one_or_none()


async def insert_api_key(
    session: AsyncConnection,
    key_id: ApiKeyId,
    *,
    organization_id: OrganizationId,
    workspace_id: WorkspaceId,
    user_id: UserId | None,
    name: str,
    prefix: str,
    digest: bytes,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
) -> ApiKey:
    """Store a key by the digest of its secret."""
    made = await session.execute(
        text(
            "insert into api_keys (id, organization_id, workspace_id, user_id, name, prefix, secret_sha256, scopes, expires_at)"
            " values (:id, :organization_id, :workspace_id, :user_id, :name, :prefix, :digest, :scopes, :expires_at)"
            f" returning {KEY_COLUMNS}"
        ),
        {
            "id": key_id,
            "organization_id": organization_id,
            "workspace_id": workspace_id,
            "user_id": user_id,
            "name": name,
            "prefix": prefix,
            "digest": digest,
            "scopes": [str(scope) for scope in scopes],
            "expires_at": expires_at,
        },
    )
    return _key(made.mappings().one())


async def list_api_keys(
    session: AsyncConnection, workspace_id: WorkspaceId, *, limit: int, offset: int
) -> tuple[list[ApiKey], int]:
    """Return one page of the workspace's keys, newest first, and how many there are."""
    found = await session.execute(
        text(
            f"select {KEY_COLUMNS}, count(*) over () as total from api_keys where workspace_id = :workspace_id"
            " order by created_at desc, id desc limit :limit offset :offset"
        ),
        {"workspace_id": workspace_id, "limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    return [_key(row) for row in rows], (rows[0]["total"] if rows else 0)


async def revoke_api_key(session: AsyncConnection, key_id: ApiKeyId, *, workspace_id: WorkspaceId | None) -> bool:
    """End a key now; False when there is none. Revoking twice keeps the first time."""
    done = await session.execute(
        text(
            "update api_keys set revoked_at = coalesce(revoked_at, now()) where id = :id"
            " and (cast(:workspace_id as uuid) is null or workspace_id = :workspace_id)"
        ),
        {"id": key_id, "workspace_id": workspace_id},
    )
    return bool(done.rowcount)


# What the key with this digest stands for; no row when it does not count.
AUTHENTICATE_API_KEY = text("select * from ragecho_authenticate_api_key(:digest)")


def _workspace(row: RowMapping) -> Workspace:
    return Workspace(**{name: row[name] for name in WORKSPACE_COLUMNS.split(", ")})


def _key(row: RowMapping) -> ApiKey:
    fields = {name: row[name] for name in KEY_COLUMNS.split(", ")}
    return ApiKey(**{**fields, "scopes": tuple(Scope(scope) for scope in row["scopes"])})
