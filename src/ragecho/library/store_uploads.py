"""SQL of what arrives: many documents at a time, because each statement costs as much as ten of its rows."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.ids import DocumentId, UserId
from ragecho.library.model import Version

# One order for everybody: two uploads of the same files never wait for each other in a ring.
_LOCK = text("""
    select pg_advisory_xact_lock(hashtextextended(w.key, 2))
    from (select key from unnest(cast(:keys as text[])) as k (key) order by key) w""")
_SAME = text("""
    select distinct on (sha256) sha256, id, status from documents
    where workspace_id = :workspace_id and sha256 = any (cast(:digests as text[])) and status <> 'failed'
    order by sha256, created_at, id""")
_INSERT = text("""
    with arrived as (
      select * from unnest(cast(:ids as uuid[]), cast(:version_ids as uuid[]), cast(:numbers as int[]),
                           cast(:filenames as text[]), cast(:content_types as text[]), cast(:sizes as bigint[]),
                           cast(:digests as text[]))
        as a (id, version_id, number, filename, content_type, size_bytes, sha256)
    ), document as (
      insert into documents (workspace_id, id, filename, content_type, size_bytes, sha256, tags, metadata, access, owner_id,
                             readers)
      select :workspace_id, id, filename, content_type, size_bytes, sha256, :tags, cast(:metadata as jsonb), :access,
             cast(:owner_id as uuid), :readers from arrived
    )
    insert into document_versions (workspace_id, id, document_id, number, filename, content_type, size_bytes, sha256)
    select :workspace_id, version_id, id, number, filename, content_type, size_bytes, sha256 from arrived""")


async def lock_contents(session: AsyncConnection, caller: Caller, digests: Sequence[str]) -> None:
    """Let uploads of the same bytes to one workspace follow one another until the transaction ends."""
    await session.execute(_LOCK, {"keys": [f"{caller.workspace_id}/{sha256}" for sha256 in digests]})


async def find_same_contents(
    session: AsyncConnection, caller: Caller, digests: Sequence[str]
) -> dict[str, tuple[DocumentId, str]]:
    """Return (id, status) of a readable document, not failed, for those of the digests whose bytes one holds already."""
    found = await session.execute(_SAME, {"workspace_id": caller.workspace_id, "digests": list(digests)})
    return {row["sha256"]: (row["id"], row["status"]) for row in found.mappings()}


async def insert_documents(
    session: AsyncConnection,
    caller: Caller,
    versions: Sequence[Version],
    *,
    tags: Sequence[str],
    metadata: dict[str, Any],
    access: Access,
    owner_id: UserId | None,
    readers: Sequence[str],
) -> None:
    """Create a queued document for each version, its first."""
    if not versions:
        return
    await session.execute(
        _INSERT,
        {
            "workspace_id": caller.workspace_id,
            "ids": [version.document_id for version in versions],
            "version_ids": [version.id for version in versions],
            "numbers": [version.number for version in versions],
            "filenames": [version.filename for version in versions],
            "content_types": [version.content_type for version in versions],
            "sizes": [version.size_bytes for version in versions],
            "digests": [version.sha256 for version in versions],
            "tags": list(tags),
            "metadata": orjson.dumps(metadata).decode(),
            "access": str(access),
            "owner_id": owner_id,
            "readers": list(readers),
        },
    )
