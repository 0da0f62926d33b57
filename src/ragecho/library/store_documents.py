"""SQL of documents and their versions. Row-level security decides what is seen; the workspace is named all the same."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.ids import DocumentId, VersionId
from ragecho.library.model import Document, DocumentFilter, StoredChunk, Version

DOCUMENT_COLUMNS = (
    "id, filename, title, content_type, size_bytes, sha256, status, error, progress, pages, chunks, tags, metadata,"
    " access, owner_id, readers, version, current_version_id, created_at, updated_at,"
    " language, authors, written_at"
)
VERSION_COLUMNS = "id, document_id, number, filename, content_type, size_bytes, sha256, sealed"


async def insert_version(session: AsyncConnection, caller: Caller, version: Version) -> None:
    """Add a version that is not ready yet."""
    await session.execute(
        text(
            "insert into document_versions (workspace_id, id, document_id, number, filename, content_type, size_bytes, sha256)"
            " values (:workspace_id, :id, :document_id, :number, :filename, :content_type, :size_bytes, :sha256)"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": version.id,
            "document_id": version.document_id,
            "number": version.number,
            "filename": version.filename,
            "content_type": version.content_type,
            "size_bytes": version.size_bytes,
            "sha256": version.sha256,
        },
    )


async def next_version_number(session: AsyncConnection, caller: Caller, document_id: DocumentId) -> int:
    """Return the number of the version to come; the caller holds the document's row lock."""
    found = await session.execute(
        text(
            "select coalesce(max(number), 0) + 1 from document_versions"
            " where workspace_id = :workspace_id and document_id = :id"
        ),
        {"workspace_id": caller.workspace_id, "id": document_id},
    )
    return int(found.scalar_one())


async def get_document(
    session: AsyncConnection, caller: Caller, document_id: DocumentId, *, for_update: bool = False
) -> Document | None:
    """Return the document if the caller may read it, locked until the transaction ends when `for_update`."""
    found = await session.execute(
        text(
            f"select {DOCUMENT_COLUMNS} from documents where workspace_id = :workspace_id and id = :id"
            + (" for update" if for_update else "")
        ),
        {"workspace_id": caller.workspace_id, "id": document_id},
    )
    row = found.mappings().first()
    return _document(row) if row else None


async def list_documents(
    session: AsyncConnection, caller: Caller, wanted: DocumentFilter, *, limit: int, offset: int
) -> tuple[list[Document], int]:
    """Return one page, newest first, and how many match."""
    found = await session.execute(
        text(
            f"select {DOCUMENT_COLUMNS}, count(*) over () as total from documents where workspace_id = :workspace_id"
            " and (cast(:status as text) is null or status = :status)"
            " and (cast(:tag as text) is null or tags @> array[cast(:tag as text)])"
            " and (cast(:access as text) is null or access = :access)"
            " and (cast(:text as text) is null or filename ilike :text or title ilike :text)"
            " order by created_at desc, id desc limit :limit offset :offset"
        ),
        {
            "workspace_id": caller.workspace_id,
            "status": wanted.status,
            "tag": wanted.tag,
            "access": str(wanted.access) if wanted.access else None,
            "text": f"%{escape_like(wanted.text)}%" if wanted.text else None,
            "limit": limit,
            "offset": offset,
        },
    )
    rows = found.mappings().all()
    if not rows and offset:
        return [], await count_documents(session, caller, wanted)
    return [_document(row) for row in rows], (rows[0]["total"] if rows else 0)


async def count_documents(session: AsyncConnection, caller: Caller, wanted: DocumentFilter) -> int:
    """Return how many match, for a page past the end."""
    _, total = await list_documents(session, caller, wanted, limit=1, offset=0)
    return total


async def update_document(
    session: AsyncConnection,
    caller: Caller,
    document_id: DocumentId,
    *,
    title: str | None,
    tags: Sequence[str],
    metadata: dict[str, Any],
    access: Access,
    readers: Sequence[str],
) -> None:
    """Write what people may change; the chunks' readers follow by `relabel_chunks` in the same transaction."""
    await session.execute(
        text(
            "update documents set title = :title, tags = :tags, metadata = cast(:metadata as jsonb), access = :access,"
            " readers = :readers, updated_at = now() where workspace_id = :workspace_id and id = :id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": document_id,
            "title": title,
            "tags": list(tags),
            "metadata": _json(metadata),
            "access": str(access),
            "readers": list(readers),
        },
    )


async def granted_principals(session: AsyncConnection, caller: Caller, document_id: DocumentId) -> set[str]:
    """Return whom a readable document was granted to by name."""
    found = await session.execute(
        text("select principal from document_grants where workspace_id = :workspace_id and document_id = :id"),
        {"workspace_id": caller.workspace_id, "id": document_id},
    )
    return set(found.scalars())


async def replace_grants(
    session: AsyncConnection, caller: Caller, document_id: DocumentId, principals: Collection[str]
) -> None:
    """Let exactly these be granted; those who were already keep their row. Readers follow in the same transaction."""
    of_document = {"workspace_id": caller.workspace_id, "document_id": document_id, "principals": sorted(principals)}
    await session.execute(
        text(
            "delete from document_grants where workspace_id = :workspace_id and document_id = :document_id"
            " and principal <> all (cast(:principals as text[]))"
        ),
        of_document,
    )
    await session.execute(
        text(
            "insert into document_grants (organization_id, workspace_id, document_id, principal, granted_by)"
            " select :organization_id, :workspace_id, :document_id, p, :granted_by from unnest(cast(:principals as text[])) p"
            " on conflict do nothing"
        ),
        of_document | {"organization_id": caller.organization_id, "granted_by": caller.own_principal},
    )


async def set_status(
    session: AsyncConnection,
    caller: Caller,
    document_id: DocumentId,
    *,
    status: str,
    progress: float,
    error: dict[str, Any] | None,
) -> None:
    """Write where processing stands. A document with a version that answers stays `ready` while the next one is made."""
    await session.execute(
        text(
            "update documents set progress = :progress, error = cast(:error as jsonb), updated_at = now(),"
            " status = case when current_version_id is not null then 'ready' else :status end"
            " where workspace_id = :workspace_id and id = :id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": document_id,
            "status": status,
            "progress": progress,
            "error": _json(error) if error is not None else None,
        },
    )


async def set_progress(session: AsyncConnection, caller: Caller, shares: Mapping[DocumentId, float]) -> None:
    """Write how far the processing of documents is, 0 to 1."""
    ordered = sorted(shares.items())
    await session.execute(
        text(
            "with locked as (select d.id, r.share from unnest(cast(:ids as uuid[]), cast(:shares as real[])) r (id, share)"
            "   join documents d on d.workspace_id = :workspace_id and d.id = r.id order by d.id for update of d)"
            " update documents d set progress = locked.share from locked"
            " where d.workspace_id = :workspace_id and d.id = locked.id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "ids": [document_id for document_id, _ in ordered],
            "shares": [share for _, share in ordered],
        },
    )


async def get_version(session: AsyncConnection, caller: Caller, version_id: VersionId) -> Version | None:
    """Return one version of a readable document."""
    found = await session.execute(
        text(f"select {VERSION_COLUMNS} from document_versions where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": version_id},
    )
    row = found.mappings().first()
    return Version(**row) if row else None


async def begin_versions(session: AsyncConnection, caller: Caller, version_ids: Sequence[VersionId]) -> list[Version]:
    """Return the versions that still exist and mark their documents as being processed."""
    found = await session.execute(
        text(
            f"with begun as (select {VERSION_COLUMNS} from document_versions"
            "   where workspace_id = :workspace_id and id = any (:ids)),"
            " marked as (update documents d set progress = 0.01, error = null, updated_at = now(),"
            "   status = case when d.current_version_id is not null then 'ready' else 'processing' end"
            "   from begun where d.workspace_id = :workspace_id and d.id = begun.document_id)"
            f" select {VERSION_COLUMNS} from begun"
        ),
        {"workspace_id": caller.workspace_id, "ids": list(version_ids)},
    )
    return [Version(**row) for row in found.mappings()]


async def lock_documents(
    session: AsyncConnection, caller: Caller, document_ids: Sequence[DocumentId]
) -> dict[DocumentId, Document]:
    """Return the documents that still exist, locked until the transaction ends."""
    found = await session.execute(
        text(
            f"select {DOCUMENT_COLUMNS} from documents where workspace_id = :workspace_id and id = any (:ids)"
            " order by id for update"
        ),
        {"workspace_id": caller.workspace_id, "ids": list(document_ids)},
    )
    return {row["id"]: _document(row) for row in found.mappings()}


async def latest_version(session: AsyncConnection, caller: Caller, document_id: DocumentId) -> Version:
    """Return the newest version of a readable document."""
    found = await session.execute(
        text(
            f"select {VERSION_COLUMNS} from document_versions where workspace_id = :workspace_id and document_id = :id"
            " order by number desc limit 1"
        ),
        {"workspace_id": caller.workspace_id, "id": document_id},
    )
    return Version(**found.mappings().one())


async def forget_parsed(session: AsyncConnection, caller: Caller, version_id: VersionId) -> None:
    """Let a version be parsed anew."""
    await session.execute(
        text("update document_versions set parser_version = null where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": version_id},
    )


async def load_parsed(
    session: AsyncConnection, caller: Caller, version_ids: Sequence[VersionId]
) -> dict[VersionId, tuple[str, bytes]]:
    """Return text and structure (JSON) of those versions that are parsed already."""
    found = await session.execute(
        text(
            "select id, text, cast(parsed as text) as parsed from document_versions"
            " where workspace_id = :workspace_id and id = any (:ids) and parser_version is not null"
        ),
        {"workspace_id": caller.workspace_id, "ids": list(version_ids)},
    )
    return {row["id"]: (row["text"], row["parsed"].encode()) for row in found.mappings()}


async def list_contents(session: AsyncConnection, caller: Caller, document_id: DocumentId) -> set[str]:
    """Return the digests of all versions of a document."""
    found = await session.execute(
        text("select distinct sha256 from document_versions where workspace_id = :workspace_id and document_id = :id"),
        {"workspace_id": caller.workspace_id, "id": document_id},
    )
    return set(found.scalars())


async def unreferenced_contents(session: AsyncConnection, caller: Caller, digests: Sequence[str]) -> set[str]:
    """Return those of `digests` that no version and no unfinished upload in the workspace holds. For a caller that sees all."""
    found = await session.execute(
        text(
            "select d from unnest(cast(:digests as text[])) d where not exists (select from document_versions v"
            " where v.workspace_id = :workspace_id and v.sha256 = d) and not exists (select from upload_parts p"
            " where p.workspace_id = :workspace_id and p.sha256 = d)"
        ),
        {"workspace_id": caller.workspace_id, "digests": list(digests)},
    )
    return set(found.scalars())


async def delete_document(session: AsyncConnection, caller: Caller, document_id: DocumentId) -> None:
    """Remove the document's row; versions and jobs go with it. The chunks must be gone by then (store_chunks)."""
    await session.execute(
        text("delete from documents where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": document_id},
    )


async def version_text(
    session: AsyncConnection, caller: Caller, version_id: VersionId, *, start: int = 0, end: int | None = None
) -> str | None:
    """Return code points `start` to `end` of a version's text, or None when it is not readable or not parsed yet."""
    found = await session.execute(
        text(
            "select substr(text, cast(:start as int) + 1, coalesce(cast(:end as int), length(text)) - cast(:start as int))"
            " from document_versions where workspace_id = :workspace_id and id = :id"
        ),
        {"workspace_id": caller.workspace_id, "id": version_id, "start": start, "end": end},
    )
    return found.scalar_one_or_none()


async def list_chunks(
    session: AsyncConnection, caller: Caller, document_id: DocumentId, *, limit: int, offset: int
) -> tuple[list[StoredChunk], int]:
    """Return one page of a document's live chunks in reading order, and how many there are."""
    found = await session.execute(
        text(
            'select id, version_id, ordinal, start_offset as start, end_offset as "end", page, heading_path, tokens, text,'
            " count(*) over () as total from chunks where workspace_id = :workspace_id and document_id = :id"
            " and space_id = (select w.space_id from workspaces w where w.id = :workspace_id)"
            " order by ordinal limit :limit offset :offset"
        ),
        {"workspace_id": caller.workspace_id, "id": document_id, "limit": limit, "offset": offset},
    )
    rows = [dict(row) for row in found.mappings()]
    total = rows[0]["total"] if rows else 0
    for row in rows:
        del row["total"]
        row["heading_path"] = tuple(row["heading_path"])
    return [StoredChunk(**row) for row in rows], total


def _document(row: RowMapping) -> Document:
    fields = {name.strip(): row[name.strip()] for name in DOCUMENT_COLUMNS.split(",")}
    fields.update(
        tags=tuple(row["tags"]),
        authors=tuple(row["authors"]),
        readers=tuple(row["readers"]),
        access=Access(row["access"]),
    )
    return Document(**fields)


def escape_like(value: str) -> str:
    """Return `value` as a pattern of LIKE that matches just these characters."""
    return value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _json(value: object) -> str:
    import orjson

    return orjson.dumps(value).decode()
