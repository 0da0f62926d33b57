"""SQL of documents that come from elsewhere: their bytes, names and where they are from change without a person's doing."""

from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId, VersionId
from ragecho.library.model import Version


async def fill_version(session: AsyncConnection, caller: Caller, version: Version) -> None:
    """Give a version that stands for content to come that content; its document takes over the name until it is ready."""
    values = {
        "workspace_id": caller.workspace_id,
        "id": version.id,
        "document_id": version.document_id,
        "filename": version.filename,
        "content_type": version.content_type,
        "size_bytes": version.size_bytes,
        "sha256": version.sha256,
    }
    await session.execute(
        text(
            "with filled as (update document_versions set filename = :filename, content_type = :content_type,"
            "   size_bytes = :size_bytes, sha256 = :sha256 where workspace_id = :workspace_id and id = :id)"
            " update documents set filename = :filename, content_type = :content_type, size_bytes = :size_bytes,"
            "   sha256 = :sha256, updated_at = now() where workspace_id = :workspace_id and id = :document_id"
            "   and current_version_id is null"
        ),
        values,
    )


async def merge_metadata(
    session: AsyncConnection, caller: Caller, document_id: DocumentId, metadata: dict[str, Any]
) -> None:
    """Add what is known of where a document is from; keys that are None are taken away."""
    await session.execute(
        text(
            "update documents set metadata = jsonb_strip_nulls(metadata || cast(:metadata as jsonb)), updated_at = now()"
            " where workspace_id = :workspace_id and id = :id"
        ),
        {"workspace_id": caller.workspace_id, "id": document_id, "metadata": orjson.dumps(metadata).decode()},
    )


async def drop_version(session: AsyncConnection, caller: Caller, version_id: VersionId) -> None:
    """Remove a version that never became ready."""
    await session.execute(
        text("delete from document_versions where workspace_id = :workspace_id and id = :id and ready_at is null"),
        {"workspace_id": caller.workspace_id, "id": version_id},
    )
