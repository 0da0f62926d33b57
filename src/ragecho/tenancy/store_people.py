"""SQL of members of the organisation and of its workspaces."""

from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.kernel.ids import OrganizationId, UserId, WorkspaceId
from ragecho.tenancy.model import Member, WorkspaceMember
from ragecho.tenancy.store import like, page

MEMBER_COLUMNS = "u.id as user_id, u.email, u.name, m.role, u.is_disabled, m.suspended_at, m.created_at"
MEMBERS = "organization_members m join users u on u.id = m.user_id"

# Administrators of the organisation are in each of its workspaces; a row of their own says nothing more.
WORKSPACE_MEMBERS = """(
    select u.id as user_id, u.email, u.name, m.created_at, m.role in ('owner', 'admin') as is_inherited,
           case when m.role in ('owner', 'admin') then 'admin' else wm.role end as role
    from organization_members m
    join users u on u.id = m.user_id
    left join workspace_members wm on wm.organization_id = m.organization_id and wm.workspace_id = :workspace_id
      and wm.user_id = m.user_id
    where m.suspended_at is null and not u.is_disabled and (m.role in ('owner', 'admin') or wm.user_id is not null)
    ) as present where (cast(:text as text) is null or email ilike :text or name ilike :text)"""


async def list_members(
    session: AsyncConnection,
    *,
    text_in_name: str | None,
    role: OrganizationRole | None,
    is_suspended: bool | None,
    limit: int,
    offset: int,
) -> tuple[list[Member], int]:
    """Return one page of the organisation's people, newest first, and how many there are."""
    source = f"""{MEMBERS}
        where (cast(:text as text) is null or u.email ilike :text or u.name ilike :text)
        and (cast(:role as text) is null or m.role = :role)
        and (cast(:is_suspended as boolean) is null or (m.suspended_at is not null) = :is_suspended)"""
    values = {"text": like(text_in_name), "role": str(role) if role else None, "is_suspended": is_suspended}
    rows, total = await page(
        session, MEMBER_COLUMNS, source, values, order="m.created_at desc, m.user_id desc", limit=limit, offset=offset
    )
    return [_member(row) for row in rows], total


async def find_member(session: AsyncConnection, user_id: UserId, *, for_update: bool = False) -> Member | None:
    """Return a person of the organisation."""
    found = await session.execute(
        text(
            f"select {MEMBER_COLUMNS} from {MEMBERS} where m.user_id = :user_id"
            + (" for no key update of m" if for_update else "")
        ),
        {"user_id": user_id},
    )
    row = found.mappings().first()
    return _member(row) if row else None


async def find_member_by_email(session: AsyncConnection, email: str) -> Member | None:
    """Return the person of the organisation with this address."""
    found = await session.execute(
        text(f"select {MEMBER_COLUMNS} from {MEMBERS} where lower(u.email) = lower(:email)"), {"email": email}
    )
    row = found.mappings().first()
    return _member(row) if row else None


async def set_role(session: AsyncConnection, user_id: UserId, role: OrganizationRole) -> None:
    """Write a member's role; the database keeps an owner (EC002)."""
    await session.execute(
        text("update organization_members set role = :role, updated_at = now() where user_id = :user_id"),
        {"user_id": user_id, "role": str(role)},
    )


async def set_suspended(session: AsyncConnection, user_id: UserId, *, is_suspended: bool) -> None:
    """Suspend or reactivate a membership; the database keeps an owner (EC002)."""
    await session.execute(
        text(
            "update organization_members set suspended_at = case when :is_suspended then now() end, updated_at = now()"
            " where user_id = :user_id"
        ),
        {"user_id": user_id, "is_suspended": is_suspended},
    )


async def remove_member(session: AsyncConnection, user_id: UserId) -> None:
    """End a membership, and with it those in groups and workspaces; the database keeps an owner (EC002)."""
    await session.execute(text("delete from organization_members where user_id = :user_id"), {"user_id": user_id})


async def list_workspace_members(
    session: AsyncConnection, workspace_id: WorkspaceId, *, text_in_name: str | None, limit: int, offset: int
) -> tuple[list[WorkspaceMember], int]:
    """Return one page of who may enter a workspace now, newest first, and how many they are."""
    rows, total = await page(
        session,
        "user_id, email, name, role, is_inherited, created_at",
        WORKSPACE_MEMBERS,
        {"workspace_id": workspace_id, "text": like(text_in_name)},
        order="created_at desc, user_id desc",
        limit=limit,
        offset=offset,
    )
    return [_workspace_member(row) for row in rows], total


async def find_workspace_member(
    session: AsyncConnection, workspace_id: WorkspaceId, user_id: UserId
) -> WorkspaceMember | None:
    """Return one person of a workspace."""
    found = await session.execute(
        text(
            f"select user_id, email, name, role, is_inherited, created_at from {WORKSPACE_MEMBERS} and user_id = :user_id"
        ),
        {"workspace_id": workspace_id, "user_id": user_id, "text": None},
    )
    row = found.mappings().first()
    return _workspace_member(row) if row else None


async def put_workspace_member(
    session: AsyncConnection,
    organization_id: OrganizationId,
    workspace_id: WorkspaceId,
    user_id: UserId,
    role: WorkspaceRole,
) -> str | None:
    """Give a member of the organisation a role in a workspace; return the role they had there."""
    values: dict[str, Any] = {
        "organization_id": organization_id,
        "workspace_id": workspace_id,
        "user_id": user_id,
        "role": str(role),
    }
    had = await session.execute(
        text("select role from workspace_members where workspace_id = :workspace_id and user_id = :user_id for update"),
        {"workspace_id": workspace_id, "user_id": user_id},
    )
    before: str | None = had.scalar_one_or_none()
    await session.execute(
        text(
            "insert into workspace_members (organization_id, workspace_id, user_id, role)"
            " values (:organization_id, :workspace_id, :user_id, :role)"
            " on conflict (organization_id, workspace_id, user_id) do update set role = excluded.role, updated_at = now()"
        ),
        values,
    )
    return before


async def remove_workspace_member(session: AsyncConnection, workspace_id: WorkspaceId, user_id: UserId) -> str | None:
    """Take a person's role in a workspace; return it, or None when they had none."""
    done = await session.execute(
        text("delete from workspace_members where workspace_id = :workspace_id and user_id = :user_id returning role"),
        {"workspace_id": workspace_id, "user_id": user_id},
    )
    role: str | None = done.scalar_one_or_none()
    return role


def _member(row: RowMapping) -> Member:
    return Member(
        row["user_id"],
        row["email"],
        row["name"],
        OrganizationRole(row["role"]),
        row["is_disabled"],
        row["suspended_at"],
        row["created_at"],
    )


def _workspace_member(row: RowMapping) -> WorkspaceMember:
    return WorkspaceMember(
        row["user_id"],
        row["email"],
        row["name"],
        WorkspaceRole(row["role"]),
        row["is_inherited"],
        row["created_at"],
    )
