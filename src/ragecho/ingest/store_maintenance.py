"""SQL of maintenance: whose turn it is, and what is over."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId


async def take(session: AsyncConnection, name: str, *, every_seconds: float) -> bool:
    """Take up a task that nobody took up for so long; one of many workers that ask gets it.

    A row rather than an advisory lock of the session: it also says when the task was done last, holds behind a proxy that pools
    transactions, and a worker that dies leaves nothing locked.
    """
    done = await session.execute(
        text(
            "update maintenance_tasks set taken_at = now() where name = :name"
            " and (taken_at is null or taken_at < now() - make_interval(secs => :every))"
        ),
        {"name": name, "every": every_seconds},
    )
    return bool(done.rowcount)


async def keep(session: AsyncConnection, name: str) -> None:
    """Say that the task is still being done."""
    await session.execute(text("update maintenance_tasks set taken_at = now() where name = :name"), {"name": name})


async def finish(session: AsyncConnection, name: str) -> None:
    """Say that the task is done."""
    await session.execute(text("update maintenance_tasks set finished_at = now() where name = :name"), {"name": name})


async def documents_past(session: AsyncConnection, caller: Caller, *, days: int, limit: int) -> list[DocumentId]:
    """Return documents of which nothing was uploaded for `days`. For a caller that sees all."""
    found = await session.execute(
        text(
            "select d.id from documents d where d.workspace_id = :workspace_id"
            " and d.created_at < now() - make_interval(days => :days) and not exists (select from document_versions v"
            " where v.workspace_id = :workspace_id and v.document_id = d.id"
            " and v.created_at >= now() - make_interval(days => :days)) order by d.created_at, d.id limit :limit"
        ),
        {"workspace_id": caller.workspace_id, "days": days, "limit": limit},
    )
    return list(found.scalars())
