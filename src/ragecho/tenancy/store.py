"""SQL of organisations, their first owner, embedding spaces, and what the other stores share."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.authorization import OrganizationRole
from ragecho.kernel.ids import OrganizationId, UserId, WorkspaceId
from ragecho.tenancy.model import Organization


async def page(
    session: AsyncConnection,
    columns: str,
    source: str,
    values: Mapping[str, Any],
    *,
    order: str,
    limit: int,
    offset: int,
) -> tuple[Sequence[RowMapping], int]:
    """Return one page of `select columns from source order by order`, and how many rows there are in all."""
    found = await session.execute(
        text(f"select {columns}, count(*) over () as total from {source} order by {order} limit :limit offset :offset"),
        {**values, "limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    if rows or not offset:
        return rows, (rows[0]["total"] if rows else 0)
    counted = await session.execute(text(f"select count(*) from {source}"), dict(values))
    return rows, int(counted.scalar_one())


def like(value: str | None) -> str | None:
    """Return the ILIKE pattern for text that holds `value`, or None for any text."""
    if not value:
        return None
    return "%" + value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


async def insert_organization(
    session: AsyncConnection, organization_id: OrganizationId, *, slug: str, name: str
) -> None:
    """Create the organisation unless it exists. The slug is for people who look into the database; it is not unique."""
    await session.execute(
        text("insert into organizations (id, slug, name) values (:id, :slug, :name) on conflict do nothing"),
        {"id": organization_id, "slug": slug, "name": name},
    )


async def list_organizations(session: AsyncConnection, user_id: UserId) -> list[Organization]:
    """Return the organisations of the person whom the transaction's settings name, oldest membership first."""
    found = await session.execute(
        text("select * from ragecho_organizations_of(:person)"),
        {"person": user_id},
    )
    return [
        Organization(
            row["organization_id"],
            row["name"],
            OrganizationRole(row["role"]),
            row["suspended_at"] is not None,
            row["created_at"],
            row["require_second_factor"],
        )
        for row in found.mappings()
    ]


async def find_organization(session: AsyncConnection) -> RowMapping | None:
    """Return the caller's organisation."""
    found = await session.execute(text("select id, name, created_at, require_second_factor from organizations"))
    return found.mappings().first()


async def rename_organization(session: AsyncConnection, organization_id: OrganizationId, name: str) -> None:
    """Write the organisation's name."""
    await session.execute(
        text("update organizations set name = :name, updated_at = now() where id = :id"),
        {"id": organization_id, "name": name},
    )


async def require_second_factor(
    session: AsyncConnection, organization_id: OrganizationId, *, is_required: bool
) -> None:
    """Write whether the organisation's members need a second factor."""
    await session.execute(
        text("update organizations set require_second_factor = :required, updated_at = now() where id = :id"),
        {"id": organization_id, "required": is_required},
    )


async def insert_space(session: AsyncConnection, space: Mapping[str, Any]) -> None:
    """Create the embedding space unless it exists, and the graph that serves vectors of its length."""
    await session.execute(
        text(
            "insert into embedding_spaces (id, model, revision, dimensions, chunking)"
            " values (:id, :model, :revision, :dimensions, :chunking) on conflict do nothing"
        ),
        space,
    )
    await session.execute(text("select ragecho_make_graph(:dimensions)"), {"dimensions": space["dimensions"]})


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


async def insert_member(
    session: AsyncConnection, organization_id: OrganizationId, user_id: UserId, role: OrganizationRole
) -> None:
    """Make a person a member of the organisation."""
    await session.execute(
        text("insert into organization_members (organization_id, user_id, role) values (:organization, :user, :role)"),
        {"organization": organization_id, "user": user_id, "role": str(role)},
    )


async def first_owner(session: AsyncConnection) -> UserId | None:
    """Return the longest-standing owner of the caller's organisation who can act."""
    found = await session.execute(
        text(
            "select m.user_id from organization_members m join users u on u.id = m.user_id"
            " where m.role = 'owner' and m.suspended_at is null and not u.is_disabled"
            " order by m.created_at, m.user_id limit 1"
        )
    )
    return found.scalar_one_or_none()
