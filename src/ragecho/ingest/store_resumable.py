"""SQL of uploads that come in pieces."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller

_COLUMNS = "id, filename, content_type, size_bytes, received_bytes, labels, sealed, answer, created_at, expires_at"


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """An upload in pieces. `answer` says what became of it once it is complete."""

    id: UUID
    filename: str
    content_type: str | None
    size_bytes: int
    received_bytes: int
    labels: dict[str, Any]
    sealed: str | None
    answer: dict[str, Any] | None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """One piece that has arrived; a blob."""

    first: int
    size_bytes: int
    sha256: str


async def count_open(session: AsyncConnection, caller: Caller) -> int:
    """Return how many uploads of the caller are not complete."""
    found = await session.execute(
        text(
            "select count(*) from uploads where workspace_id = :workspace_id and principal = :principal and answer is null"
            " and expires_at > now()"
        ),
        _of(caller),
    )
    return int(found.scalar_one())


async def insert(
    session: AsyncConnection,
    caller: Caller,
    upload_id: UUID,
    *,
    filename: str,
    content_type: str | None,
    size_bytes: int,
    labels: dict[str, Any],
    sealed: str | None,
    hours: float,
) -> StoredUpload:
    """Begin an upload."""
    found = await session.execute(
        text(
            "insert into uploads (workspace_id, id, principal, filename, content_type, size_bytes, labels, sealed, expires_at)"
            " values (:workspace_id, :id, :principal, :filename, :content_type, :size_bytes, cast(:labels as jsonb), :sealed,"
            f" now() + make_interval(secs => :hours * 3600)) returning {_COLUMNS}"
        ),
        _of(caller)
        | {
            "id": upload_id,
            "filename": filename,
            "content_type": content_type,
            "size_bytes": size_bytes,
            "labels": orjson.dumps(labels).decode(),
            "sealed": sealed,
            "hours": hours,
        },
    )
    return _upload(found.mappings().one())


async def get(
    session: AsyncConnection, caller: Caller, upload_id: UUID, *, for_update: bool = False
) -> StoredUpload | None:
    """Return an upload of the caller's own that has not expired."""
    found = await session.execute(
        text(
            f"select {_COLUMNS} from uploads where workspace_id = :workspace_id and id = :id and expires_at > now()"
            + (" for update" if for_update else "")
        ),
        {"workspace_id": caller.workspace_id, "id": upload_id},
    )
    row = found.mappings().first()
    return _upload(row) if row else None


async def add_part(session: AsyncConnection, caller: Caller, upload_id: UUID, part: Part, *, hours: float) -> bool:
    """Note a piece that begins where the last one ended, and let the upload rest that long from now; False elsewhere."""
    of_part = {
        "workspace_id": caller.workspace_id,
        "id": upload_id,
        "first": part.first,
        "size_bytes": part.size_bytes,
        "sha256": part.sha256,
    }
    done = await session.execute(
        text(
            "update uploads set received_bytes = received_bytes + :size_bytes,"
            " expires_at = now() + make_interval(secs => :hours * 3600)"
            " where workspace_id = :workspace_id and id = :id and received_bytes = :first and answer is null"
        ),
        {name: of_part[name] for name in ("workspace_id", "id", "first", "size_bytes")} | {"hours": hours},
    )
    if not done.rowcount:
        return False
    await session.execute(
        text(
            "insert into upload_parts (workspace_id, upload_id, first, size_bytes, sha256)"
            " values (:workspace_id, :id, :first, :size_bytes, :sha256)"
        ),
        of_part,
    )
    return True


async def list_parts(session: AsyncConnection, caller: Caller, upload_id: UUID) -> list[Part]:
    """Return the pieces in order."""
    found = await session.execute(
        text(
            "select first, size_bytes, sha256 from upload_parts where workspace_id = :workspace_id and upload_id = :id"
            " order by first"
        ),
        {"workspace_id": caller.workspace_id, "id": upload_id},
    )
    return [Part(**row) for row in found.mappings()]


async def complete(session: AsyncConnection, caller: Caller, upload_id: UUID, answer: dict[str, Any]) -> list[str]:
    """Note what became of an upload and forget its pieces; return their digests."""
    of_upload = {"workspace_id": caller.workspace_id, "id": upload_id}
    await session.execute(
        text(
            "update uploads set answer = cast(:answer as jsonb), sealed = null where workspace_id = :workspace_id and id = :id"
        ),
        of_upload | {"answer": orjson.dumps(answer).decode()},
    )
    gone = await session.execute(
        text("delete from upload_parts where workspace_id = :workspace_id and upload_id = :id returning sha256"),
        of_upload,
    )
    return list(gone.scalars())


async def remove(session: AsyncConnection, caller: Caller, upload_id: UUID) -> list[str]:
    """Remove an upload and its pieces; return their digests."""
    digests = [part.sha256 for part in await list_parts(session, caller, upload_id)]
    await session.execute(
        text("delete from uploads where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": upload_id},
    )
    return digests


async def list_expired(session: AsyncConnection, caller: Caller, *, limit: int) -> list[UUID]:
    """Return uploads of the workspace that rested too long. For a caller that sees all."""
    found = await session.execute(
        text(
            "select id from uploads where workspace_id = :workspace_id and expires_at <= now()"
            " order by expires_at limit :limit"
        ),
        {"workspace_id": caller.workspace_id, "limit": limit},
    )
    return list(found.scalars())


def _of(caller: Caller) -> dict[str, object]:
    return {"workspace_id": caller.workspace_id, "principal": caller.own_principal or "system"}


def _upload(row: RowMapping) -> StoredUpload:
    return StoredUpload(**row)
