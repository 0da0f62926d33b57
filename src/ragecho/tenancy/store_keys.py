"""SQL of API keys."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.authorization import OrganizationRole, Scope
from ragecho.kernel.ids import ApiKeyId, UserId, WorkspaceId
from ragecho.tenancy.model import ApiKey
from ragecho.tenancy.store import page

COLUMNS = (
    "id, workspace_id, user_id, service_account_id, name, prefix, scopes, organization_role, replaces, created_at,"
    " expires_at, revoked_at, rotated_at, last_used_at"
)


async def insert(session: AsyncConnection, values: Mapping[str, Any]) -> ApiKey:
    """Store a key by the digest of its secret. `values` has the columns below by their names."""
    made = await session.execute(
        text(
            "insert into api_keys (id, organization_id, workspace_id, user_id, service_account_id, name, prefix,"
            " secret_sha256, scopes, organization_role, created_by, replaces, expires_at) values (:id, :organization_id,"
            " :workspace_id, :user_id, :service_account_id, :name, :prefix, :digest, :scopes, :organization_role,"
            f" :created_by, :replaces, :expires_at) returning {COLUMNS}"
        ),
        dict(values),
    )
    return _key(made.mappings().one())


async def find(session: AsyncConnection, key_id: ApiKeyId, *, for_update: bool = False) -> ApiKey | None:
    """Return a key of the organisation."""
    found = await session.execute(
        text(f"select {COLUMNS} from api_keys where id = :id" + (" for update" if for_update else "")), {"id": key_id}
    )
    row = found.mappings().first()
    return _key(row) if row else None


async def list_page(
    session: AsyncConnection,
    workspace_id: WorkspaceId,
    *,
    user_id: UserId | None,
    service_account_id: UUID | None,
    limit: int,
    offset: int,
) -> tuple[list[ApiKey], int]:
    """Return one page of a workspace's keys, of one owner when given, newest first, and how many there are."""
    source = (
        "api_keys where workspace_id = :workspace_id and (cast(:user_id as uuid) is null or user_id = :user_id)"
        " and (cast(:service_account_id as uuid) is null or service_account_id = :service_account_id)"
    )
    values = {"workspace_id": workspace_id, "user_id": user_id, "service_account_id": service_account_id}
    rows, total = await page(
        session, COLUMNS, source, values, order="created_at desc, id desc", limit=limit, offset=offset
    )
    return [_key(row) for row in rows], total


async def revoke(session: AsyncConnection, key_id: ApiKeyId) -> None:
    """End a key now. Revoking twice keeps the first time."""
    await session.execute(
        text("update api_keys set revoked_at = coalesce(revoked_at, now()) where id = :id"), {"id": key_id}
    )


async def revoke_of_user(session: AsyncConnection, user_id: UserId) -> int:
    """End the keys that act for a person in this organisation; return how many were alive."""
    done = await session.execute(
        text("update api_keys set revoked_at = now() where user_id = :user_id and revoked_at is null"),
        {"user_id": user_id},
    )
    return int(done.rowcount)


async def retire(session: AsyncConnection, key_id: ApiKeyId, *, ends_at: datetime) -> None:
    """Let a rotated key end at a time, or earlier where it would have ended anyway."""
    await session.execute(
        text(
            "update api_keys set rotated_at = now(), expires_at = least(expires_at, cast(:ends_at as timestamptz))"
            " where id = :id"
        ),
        {"id": key_id, "ends_at": ends_at},
    )


def _key(row: RowMapping) -> ApiKey:
    fields = {name: row[name] for name in COLUMNS.split(", ")}
    role = row["organization_role"]
    fields["scopes"] = tuple(Scope(scope) for scope in row["scopes"])
    fields["organization_role"] = OrganizationRole(role) if role else None
    return ApiKey(**fields)
