"""SQL of groups."""

from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.ids import GroupId, OrganizationId, UserId
from ragecho.tenancy.model import Group, GroupMember
from ragecho.tenancy.store import like, page

COLUMNS = (
    "g.id, g.name, g.description, g.external_id, (select count(*) from group_members m where m.group_id = g.id) as members,"
    " g.created_at, g.updated_at"
)


async def list_page(
    session: AsyncConnection, *, text_in_name: str | None, limit: int, offset: int
) -> tuple[list[Group], int]:
    """Return one page of the organisation's groups, newest first, and how many there are."""
    rows, total = await page(
        session,
        COLUMNS,
        "groups g where (cast(:text as text) is null or g.name ilike :text or g.description ilike :text)",
        {"text": like(text_in_name)},
        order="g.created_at desc, g.id desc",
        limit=limit,
        offset=offset,
    )
    return [_group(row) for row in rows], total


async def find(session: AsyncConnection, group_id: GroupId, *, for_update: bool = False) -> Group | None:
    """Return one group."""
    found = await session.execute(
        text(f"select {COLUMNS} from groups g where g.id = :id" + (" for update of g" if for_update else "")),
        {"id": group_id},
    )
    row = found.mappings().first()
    return _group(row) if row else None


async def insert(
    session: AsyncConnection, organization_id: OrganizationId, group_id: GroupId, *, name: str, description: str
) -> bool:
    """Create a group; False when its name is taken."""
    made = await session.execute(
        text(
            "insert into groups (organization_id, id, name, description) values (:organization_id, :id, :name, :description)"
            " on conflict do nothing"
        ),
        {"organization_id": organization_id, "id": group_id, "name": name, "description": description},
    )
    return bool(made.rowcount)


async def update(session: AsyncConnection, group_id: GroupId, *, name: str, description: str) -> bool:
    """Rename and describe a group; False when the name is taken."""
    values: dict[str, Any] = {"id": group_id, "name": name, "description": description}
    taken = await session.execute(text("select 1 from groups where lower(name) = lower(:name) and id <> :id"), values)
    if taken.first() is not None:
        return False
    await session.execute(
        text("update groups set name = :name, description = :description, updated_at = now() where id = :id"), values
    )
    return True


async def delete(session: AsyncConnection, group_id: GroupId) -> None:
    """Remove a group with its memberships."""
    await session.execute(text("delete from groups where id = :id"), {"id": group_id})


async def list_members(
    session: AsyncConnection, group_id: GroupId, *, limit: int, offset: int
) -> tuple[list[GroupMember], int]:
    """Return one page of a group's people, newest first, and how many they are."""
    rows, total = await page(
        session,
        "u.id as user_id, u.email, u.name, m.created_at",
        "group_members m join users u on u.id = m.user_id where m.group_id = :id",
        {"id": group_id},
        order="m.created_at desc, m.user_id desc",
        limit=limit,
        offset=offset,
    )
    return [GroupMember(row["user_id"], row["email"], row["name"], row["created_at"]) for row in rows], total


async def add_member(
    session: AsyncConnection, organization_id: OrganizationId, group_id: GroupId, user_id: UserId
) -> bool:
    """Put a member of the organisation into a group; False when they are in it already."""
    made = await session.execute(
        text(
            "insert into group_members (organization_id, group_id, user_id) values (:organization_id, :group_id, :user_id)"
            " on conflict do nothing"
        ),
        {"organization_id": organization_id, "group_id": group_id, "user_id": user_id},
    )
    return bool(made.rowcount)


async def remove_member(session: AsyncConnection, group_id: GroupId, user_id: UserId) -> bool:
    """Take a person out of a group; False when they are not in it."""
    done = await session.execute(
        text("delete from group_members where group_id = :group_id and user_id = :user_id"),
        {"group_id": group_id, "user_id": user_id},
    )
    return bool(done.rowcount)


def _group(row: RowMapping) -> Group:
    return Group(
        row["id"],
        row["name"],
        row["description"],
        row["external_id"],
        row["members"],
        row["created_at"],
        row["updated_at"],
    )
