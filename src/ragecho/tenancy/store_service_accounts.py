"""SQL of service accounts."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.kernel.ids import WorkspaceId
from ragecho.tenancy.model import ServiceAccount
from ragecho.tenancy.store import like, page

COLUMNS = "id, workspace_id, name, description, organization_role, workspace_role, is_disabled, created_at, updated_at"


async def list_page(
    session: AsyncConnection, *, workspace_id: WorkspaceId | None, text_in_name: str | None, limit: int, offset: int
) -> tuple[list[ServiceAccount], int]:
    """Return one page of service accounts, of one workspace when given, newest first, and how many there are."""
    source = """service_accounts where (cast(:text as text) is null or name ilike :text or description ilike :text)
        and (cast(:workspace_id as uuid) is null or workspace_id = :workspace_id)"""
    values = {"text": like(text_in_name), "workspace_id": workspace_id}
    rows, total = await page(
        session, COLUMNS, source, values, order="created_at desc, id desc", limit=limit, offset=offset
    )
    return [_account(row) for row in rows], total


async def find(session: AsyncConnection, account_id: UUID, *, for_update: bool = False) -> ServiceAccount | None:
    """Return one service account."""
    found = await session.execute(
        text(f"select {COLUMNS} from service_accounts where id = :id" + (" for update" if for_update else "")),
        {"id": account_id},
    )
    row = found.mappings().first()
    return _account(row) if row else None


async def insert(session: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """Store a service account; False when its name is taken."""
    made = await session.execute(
        text(
            "insert into service_accounts (organization_id, id, workspace_id, name, description, organization_role,"
            " workspace_role, created_by) values (:organization_id, :id, :workspace_id, :name, :description,"
            " :organization_role, :workspace_role, :created_by) on conflict do nothing"
        ),
        dict(values),
    )
    return bool(made.rowcount)


async def update(session: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """Write what may change; False when the name is taken."""
    taken = await session.execute(
        text("select 1 from service_accounts where lower(name) = lower(:name) and id <> :id"), dict(values)
    )
    if taken.first() is not None:
        return False
    await session.execute(
        text(
            "update service_accounts set name = :name, description = :description, organization_role = :organization_role,"
            " workspace_role = :workspace_role, is_disabled = :is_disabled, updated_at = now() where id = :id"
        ),
        dict(values),
    )
    return True


async def delete(session: AsyncConnection, account_id: UUID) -> None:
    """Remove a service account with its keys."""
    await session.execute(text("delete from service_accounts where id = :id"), {"id": account_id})


def _account(row: RowMapping) -> ServiceAccount:
    fields = {name: row[name] for name in COLUMNS.split(", ")}
    organization_role, workspace_role = row["organization_role"], row["workspace_role"]
    fields["organization_role"] = OrganizationRole(organization_role) if organization_role else None
    fields["workspace_role"] = WorkspaceRole(workspace_role) if workspace_role else None
    return ServiceAccount(**fields)
