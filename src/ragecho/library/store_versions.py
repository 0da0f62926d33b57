"""SQL of a document's versions: as people list them, and what opens their files."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId, VersionId


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """One uploaded state of a document. `ready_at` is when it began to answer, None for one that never did."""

    id: VersionId
    number: int
    filename: str
    content_type: str | None
    size_bytes: int
    sha256: str
    created_at: datetime
    ready_at: datetime | None
    is_current: bool


async def list_versions(
    session: AsyncConnection, caller: Caller, document_id: DocumentId, *, limit: int, offset: int
) -> tuple[list[ListedVersion], int]:
    """Return one page of the versions of a readable document, newest first, and how many there are; 0 for no document."""
    found = await session.execute(
        text(
            "select v.id, v.number, v.filename, v.content_type, v.size_bytes, v.sha256, v.created_at, v.ready_at,"
            " v.id is not distinct from d.current_version_id as is_current from document_versions v join documents d"
            " on d.workspace_id = v.workspace_id and d.id = v.document_id where v.workspace_id = :workspace_id"
            " and v.document_id = :id order by v.number desc limit :limit offset :offset"
        ),
        {"workspace_id": caller.workspace_id, "id": document_id, "limit": limit, "offset": offset},
    )
    total = await session.execute(
        text("select count(*) from document_versions where workspace_id = :workspace_id and document_id = :id"),
        {"workspace_id": caller.workspace_id, "id": document_id},
    )
    return [ListedVersion(**row) for row in found.mappings()], int(total.scalar_one())


async def keep_passwords(session: AsyncConnection, caller: Caller, sealed: Mapping[VersionId, str | None]) -> None:
    """Keep the encrypted passwords that opened versions: their files are opened again for pictures, and to be read anew."""
    if sealed:
        await session.execute(
            text(
                "update document_versions v set sealed = r.sealed"
                " from unnest(cast(:ids as uuid[]), cast(:sealed as text[])) as r (id, sealed)"
                " where v.workspace_id = :workspace_id and v.id = r.id"
            ),
            {"workspace_id": caller.workspace_id, "ids": list(sealed), "sealed": list(sealed.values())},
        )
