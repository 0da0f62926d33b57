"""SQL of the e-mail domains that make a member internal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller


async def list_domains(
    session: AsyncConnection, caller: Caller, *, limit: int, offset: int
) -> tuple[Sequence[tuple[str, datetime]], int]:
    """Return one page of the organisation's domains in order, each with when it was listed, and how many there are."""
    parameters: dict[str, Any] = {"organization_id": caller.organization_id, "limit": limit, "offset": offset}
    found = await session.execute(
        text(
            "select domain, created_at from organization_domains where organization_id = :organization_id"
            " order by domain limit :limit offset :offset"
        ),
        parameters,
    )
    total = await session.execute(
        text("select count(*) from organization_domains where organization_id = :organization_id"), parameters
    )
    return [(row.domain, row.created_at) for row in found], int(total.scalar_one())


async def insert_domain(session: AsyncConnection, caller: Caller, domain: str) -> datetime | None:
    """List a domain; return when, or None when it is listed already."""
    made = await session.execute(
        text(
            "insert into organization_domains (organization_id, domain, created_by)"
            " values (:organization_id, :domain, :user_id) on conflict do nothing returning created_at"
        ),
        {"organization_id": caller.organization_id, "domain": domain, "user_id": caller.user_id},
    )
    return made.scalar_one_or_none()


async def delete_domain(session: AsyncConnection, caller: Caller, domain: str) -> bool:
    """Take a domain off the list; False when it was not on it."""
    done = await session.execute(
        text("delete from organization_domains where organization_id = :organization_id and domain = :domain"),
        {"organization_id": caller.organization_id, "domain": domain},
    )
    return bool(done.rowcount)
