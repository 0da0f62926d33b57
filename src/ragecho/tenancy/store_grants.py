"""SQL of whom something can be granted to."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller


async def known_users(session: AsyncConnection, caller: Caller, ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these are members of the caller's organisation; they stay so until the transaction ends."""
    found = await session.execute(
        text(
            "select user_id from organization_members where organization_id = :organization_id and user_id = any (:ids)"
            " order by user_id for key share"
        ),
        {"organization_id": caller.organization_id, "ids": list(ids)},
    )
    return set(found.scalars())


async def known_groups(session: AsyncConnection, caller: Caller, ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these are groups of the caller's organisation; they stay so until the transaction ends."""
    found = await session.execute(
        text(
            "select id from groups where organization_id = :organization_id and id = any (:ids) order by id for key share"
        ),
        {"organization_id": caller.organization_id, "ids": list(ids)},
    )
    return set(found.scalars())
