"""SQL of embedding spaces: which ones a workspace has, and what its next one lacks, holds and leaves behind."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId, VersionId
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.library.model import Version, WorkspaceSpaces
from ragecho.library.store_documents import VERSION_COLUMNS

_VERSION = ", ".join(f"v.{column}" for column in VERSION_COLUMNS.split(", "))
_PIECES = ("chunk_terms", "chunk_vectors", "chunks")
# Ready documents of which the space lacks the current version. Their pieces come in one transaction: one chunk stands for all.
_LACKING = """
    d.workspace_id = :workspace_id and d.current_version_id is not null and not exists (
      select from chunks c where c.workspace_id = d.workspace_id and c.document_id = d.id
        and c.space_id = :space_id and c.version_id = d.current_version_id)"""


async def get_space(session: AsyncConnection, space_id: UUID) -> EmbeddingSpace | None:
    """Return an embedding space; there is nothing of a tenant in it."""
    found = await session.execute(
        text("select id, model, revision, dimensions, chunking from embedding_spaces where id = :id"), {"id": space_id}
    )
    row = found.mappings().first()
    return _space(row) if row else None


async def workspace_spaces(session: AsyncConnection, caller: Caller) -> WorkspaceSpaces:
    """Return the space of the caller's workspace, and the one that is being filled, once it is written to."""
    found = await session.execute(
        text(
            "select s.id, s.model, s.revision, s.dimensions, s.chunking from workspaces w"
            " left join reindexes r on r.workspace_id = w.id and r.status = 'filling' and r.is_open"
            " join embedding_spaces s on s.id in (w.space_id, r.to_space_id)"
            " where w.id = :workspace_id order by s.id = w.space_id desc"
        ),
        {"workspace_id": caller.workspace_id},
    )
    own, *target = map(_space, found.mappings())
    return WorkspaceSpaces(own, target[0] if target else None)


async def lacking(
    session: AsyncConnection, caller: Caller, space_id: UUID, *, after: UUID | None, limit: int
) -> list[tuple[Version, int]]:
    """Return the current versions of some documents that a space lacks, in the order of the documents, and their chunks."""
    found = await session.execute(
        text(
            f"select {_VERSION}, d.chunks"
            " from documents d join document_versions v on v.workspace_id = d.workspace_id and v.id = d.current_version_id"
            f" where {_LACKING} and (cast(:after as uuid) is null or d.id > :after) order by d.id limit :limit"
        ),
        {"workspace_id": caller.workspace_id, "space_id": space_id, "after": after, "limit": limit},
    )
    return [
        (Version(**{name: value for name, value in row.items() if name != "chunks"}), row["chunks"])
        for row in found.mappings()
    ]


async def count_lacking(session: AsyncConnection, caller: Caller, space_id: UUID) -> int:
    """Return how many ready documents a space lacks."""
    found = await session.execute(
        text(f"select count(*) from documents d where {_LACKING}"),
        {"workspace_id": caller.workspace_id, "space_id": space_id},
    )
    return int(found.scalar_one())


async def versions_in(
    session: AsyncConnection, caller: Caller, space_id: UUID, version_ids: Sequence[VersionId]
) -> set[VersionId]:
    """Return which of the versions have their pieces in a space."""
    found = await session.execute(
        text(
            "select distinct version_id from chunks where workspace_id = :workspace_id and space_id = :space_id"
            " and document_id in (select document_id from document_versions where workspace_id = :workspace_id"
            " and id = any (:ids)) and version_id = any (:ids)"
        ),
        {"workspace_id": caller.workspace_id, "space_id": space_id, "ids": list(version_ids)},
    )
    return set(found.scalars())


async def count_documents(session: AsyncConnection, caller: Caller) -> int:
    """Return how many documents are ready."""
    found = await session.execute(
        text("select count(*) from documents where workspace_id = :workspace_id and current_version_id is not null"),
        {"workspace_id": caller.workspace_id},
    )
    return int(found.scalar_one())


async def chunks_in(session: AsyncConnection, caller: Caller, space_id: UUID) -> int:
    """Return how many chunks a space of the workspace has, by its statistics."""
    found = await session.execute(
        text("select chunks from index_statistics where workspace_id = :workspace_id and space_id = :space_id"),
        {"workspace_id": caller.workspace_id, "space_id": space_id},
    )
    return int(found.scalar_one_or_none() or 0)


async def sizes_of_pieces(session: AsyncConnection, caller: Caller, space_id: UUID) -> set[int]:
    """Return how many chunks, vectors, lexical entries and counted chunks a space has: one number where all is well."""
    found = await session.execute(
        text(
            " union ".join(
                f"select count(*) from {table} where workspace_id = :workspace_id and space_id = :space_id"
                for table in _PIECES
            )
        ),
        {"workspace_id": caller.workspace_id, "space_id": space_id},
    )
    return {int(size) for size in found.scalars()} | {await chunks_in(session, caller, space_id)}


async def use_space(session: AsyncConnection, caller: Caller, space_id: UUID) -> None:
    """Let the workspace's queries use another space from the commit on. The caller holds the index lock.

    Documents count the chunks that they have there. The index's version goes on from the old space's, so that no state of the
    workspace ever has the version of another one: caches are keyed by it.
    """
    where = {"workspace_id": caller.workspace_id, "space_id": space_id}
    await session.execute(
        text(
            "with counted as materialized (select document_id, count(*)::int as chunks from chunks"
            "   where workspace_id = :workspace_id and space_id = :space_id group by document_id),"
            # In the order in which everybody locks documents.
            " held as materialized (select d.id, c.chunks from documents d join counted c on c.document_id = d.id"
            "   where d.workspace_id = :workspace_id and d.chunks <> c.chunks order by d.id for update of d)"
            " update documents d set chunks = held.chunks from held"
            " where d.workspace_id = :workspace_id and d.id = held.id"
        ),
        where,
    )
    await session.execute(
        text(
            "insert into index_statistics as s (workspace_id, space_id, version)"
            " select :workspace_id, :space_id, coalesce(max(version), 0) + 1 from index_statistics"
            "   where workspace_id = :workspace_id"
            " on conflict (workspace_id, space_id) do update set version = excluded.version"
        ),
        where,
    )
    await session.execute(
        text("update workspaces set space_id = :space_id, updated_at = now() where id = :workspace_id"), where
    )


async def remove_other_spaces(
    session: AsyncConnection, caller: Caller, kept: Sequence[UUID], *, after: UUID | None, limit: int
) -> DocumentId | None:
    """Remove what some documents have in other spaces than `kept`; return the last of these documents, None after all.

    What was counted for those spaces goes at once. The caller holds the index lock, and repeats with `after`.
    """
    where = {"workspace_id": caller.workspace_id, "kept": list(kept)}
    found = await session.execute(
        text(
            "select id from documents where workspace_id = :workspace_id"
            " and (cast(:after as uuid) is null or id > :after) order by id limit :limit"
        ),
        {"workspace_id": caller.workspace_id, "after": after, "limit": limit},
    )
    ids = list(found.scalars())
    for table in ("term_frequencies", "index_statistics"):
        await session.execute(
            text(f"delete from {table} where workspace_id = :workspace_id and space_id <> all (:kept)"), where
        )
    for table in _PIECES:
        await session.execute(
            text(
                f"delete from {table} where workspace_id = :workspace_id and document_id = any (:ids)"
                " and space_id <> all (:kept)"
            ),
            where | {"ids": ids},
        )
    return DocumentId(ids[-1]) if len(ids) == limit else None


async def spaces_in_use(session: AsyncConnection) -> list[tuple[EmbeddingSpace, int]]:
    """Return the spaces of all workspaces of the installation and how many are in each: for its operator."""
    found = await session.execute(
        text(
            "select s.id, s.model, s.revision, s.dimensions, s.chunking, u.workspaces"
            " from ragecho_spaces_in_use() u join embedding_spaces s on s.id = u.space_id order by u.workspaces desc, s.id"
        )
    )
    return [(_space(row), int(row["workspaces"])) for row in found.mappings()]


def _space(row: RowMapping | dict[str, Any]) -> EmbeddingSpace:
    return EmbeddingSpace(row["id"], row["model"], row["revision"], row["dimensions"], row["chunking"])
