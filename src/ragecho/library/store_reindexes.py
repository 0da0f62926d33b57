"""SQL of re-indexings: the newest one of each workspace, and how far it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import uuid7

_COLUMNS = (
    "id, from_space_id, to_space_id, status, is_open, position, missing, stale_passes, documents_done, error,"
    " started_at, opened_at, switched_at, finished_at"
)


class ReindexStatus(StrEnum):
    """Where a re-indexing is. `none`: there was never one."""

    NONE = "none"
    FILLING = "filling"
    SWITCHING = "switching"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Reindex:
    """A re-indexing. `is_open`: the new space is clean and written to; `position` is the document that the pass has come to.

    `missing` documents were left when the pass began, and `stale_passes` passes in a row left as many as they found.
    """

    id: UUID
    from_space_id: UUID
    to_space_id: UUID
    status: ReindexStatus
    is_open: bool
    position: UUID | None
    missing: int | None
    stale_passes: int
    documents_done: int
    error: dict[str, Any] | None
    started_at: datetime
    opened_at: datetime | None
    switched_at: datetime | None
    finished_at: datetime | None


async def get(session: AsyncConnection, caller: Caller, *, for_update: bool = False) -> Reindex | None:
    """Return the newest re-indexing of the caller's workspace."""
    found = await session.execute(
        text(
            f"select {_COLUMNS} from reindexes where workspace_id = :workspace_id"
            + (" for update" if for_update else "")
        ),
        {"workspace_id": caller.workspace_id},
    )
    row = found.mappings().first()
    return Reindex(**{**row, "status": ReindexStatus(row["status"])}) if row else None


async def begin(session: AsyncConnection, caller: Caller, *, from_space_id: UUID, to_space_id: UUID) -> UUID:
    """Write a new re-indexing over the one before and return its id."""
    reindex_id = uuid7()
    await session.execute(text("delete from reindexes where workspace_id = :id"), {"id": caller.workspace_id})
    await session.execute(
        text(
            "insert into reindexes (workspace_id, id, from_space_id, to_space_id, started_by)"
            " values (:workspace_id, :id, :from_space_id, :to_space_id, :started_by)"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": reindex_id,
            "from_space_id": from_space_id,
            "to_space_id": to_space_id,
            "started_by": caller.own_principal,
        },
    )
    return reindex_id


async def open_target(session: AsyncConnection, caller: Caller) -> None:
    """Let every change of a document be written to the new space, too, from the commit on."""
    await session.execute(
        text("update reindexes set is_open = true, opened_at = now(), position = null where workspace_id = :id"),
        {"id": caller.workspace_id},
    )


async def move(session: AsyncConnection, caller: Caller, position: UUID | None) -> None:
    """Write how far the pass is."""
    await session.execute(
        text("update reindexes set position = :position where workspace_id = :id"),
        {"id": caller.workspace_id, "position": position},
    )


async def note_filled(session: AsyncConnection, caller: Caller, documents: int) -> None:
    """Count documents that the new space now has: a measure of progress, and no more than that."""
    await session.execute(
        text("update reindexes set documents_done = documents_done + :documents where workspace_id = :id"),
        {"id": caller.workspace_id, "documents": documents},
    )


async def note_failure(session: AsyncConnection, caller: Caller, error: dict[str, Any]) -> None:
    """Keep why a document could not be filled; it is told if the re-indexing fails for it."""
    await session.execute(
        text("update reindexes set error = cast(:error as jsonb) where workspace_id = :id"),
        {"id": caller.workspace_id, "error": orjson.dumps(error).decode()},
    )


async def begin_pass(
    session: AsyncConnection, caller: Caller, *, missing: int, stale_passes: int, documents_done: int
) -> None:
    """Start over from the first document, with what is known now."""
    await session.execute(
        text(
            "update reindexes set position = null, missing = :missing, stale_passes = :stale_passes,"
            " documents_done = :documents_done where workspace_id = :id"
        ),
        {
            "id": caller.workspace_id,
            "missing": missing,
            "stale_passes": stale_passes,
            "documents_done": documents_done,
        },
    )


async def set_status(
    session: AsyncConnection, caller: Caller, status: ReindexStatus, *, error: dict[str, Any] | None = None
) -> None:
    """Write the status; times follow from it. What is left in other spaces is to be removed from the first document on."""
    await session.execute(
        text(
            "update reindexes set status = :status, position = null, error = cast(:error as jsonb),"
            " switched_at = case when :status = 'switching' then now() else switched_at end,"
            " finished_at = case when :status in ('done', 'failed', 'cancelled') then now() end where workspace_id = :id"
        ),
        {
            "id": caller.workspace_id,
            "status": str(status),
            "error": orjson.dumps(error).decode() if error else None,
        },
    )


async def open_jobs(session: AsyncConnection, caller: Caller, reindex_id: UUID) -> int:
    """Return how many jobs of a re-indexing wait or run."""
    found = await session.execute(
        text(
            "select count(*) from jobs where workspace_id = :workspace_id and batch_id = :id"
            " and status in ('queued', 'running')"
        ),
        {"workspace_id": caller.workspace_id, "id": reindex_id},
    )
    return int(found.scalar_one())
