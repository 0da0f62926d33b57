"""SQL of the searchable pieces: all three tables, the term statistics and the document's row change in one transaction."""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId
from ragecho.library.model import IndexedChunk

log = logging.getLogger(__name__)

# Stored weights were made with an average length; they are made again when the real one has moved this far from it.
LENGTH_DRIFT = 0.1

INSERT_CHUNK = text("""
    insert into chunks (workspace_id, id, document_id, version_id, space_id, readers, ordinal, start_offset, end_offset,
                        page, page_breaks, heading_path, tokens, sha256, text)
    values (:workspace_id, :id, :document_id, :version_id, :space_id, :readers, :ordinal, :start, :end,
            :page, :page_breaks, :heading_path, :tokens, :sha256, :text)""")
INSERT_VECTOR = text("""
    insert into chunk_vectors (workspace_id, chunk_id, document_id, space_id, readers, embedding)
    values (:workspace_id, :id, :document_id, :space_id, :readers, cast(:embedding as halfvec))""")
INSERT_TERMS = text("""
    insert into chunk_terms (workspace_id, chunk_id, document_id, space_id, readers, length, terms, frequencies, weights)
    values (:workspace_id, :id, :document_id, :space_id, :readers, :length, :terms, :frequencies,
            ragecho_bm25_weights(cast(:terms as int[]), cast(:frequencies as smallint[]), cast(:length as int), cast(:average_length as real)))""")
INSERTS = tuple(
    (statement, tuple(statement.compile().params)) for statement in (INSERT_CHUNK, INSERT_VECTOR, INSERT_TERMS)
)
# Sorted, so that two transactions never wait for each other in a ring; the workspace's lock makes them follow anyway.
COUNT_TERMS = text("""
    insert into term_frequencies as f (workspace_id, space_id, term, chunks)
    select :workspace_id, :space_id, t.term, count(*)
    from chunk_terms c, unnest(c.terms) as t (term)
    where c.workspace_id = :workspace_id and c.document_id = any (:documents) and c.space_id = :space_id
    group by t.term order by t.term
    on conflict (workspace_id, space_id, term) do update set chunks = f.chunks + excluded.chunks""")
DISCOUNT_TERMS = text("""
    with gone as (
      select t.term, count(*) as n from chunk_terms c, unnest(c.terms) as t (term)
      where c.workspace_id = :workspace_id and c.document_id = :document_id and c.space_id = :space_id
      group by t.term order by t.term
    )
    update term_frequencies f set chunks = f.chunks - gone.n from gone
    where f.workspace_id = :workspace_id and f.space_id = :space_id and f.term = gone.term""")


async def lock_index(session: AsyncConnection, caller: Caller) -> None:
    """Let changes to one workspace's index follow one another from here to the end of the transaction."""
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:key, 1))"), {"key": str(caller.workspace_id)}
    )


async def readable_chunks(session: AsyncConnection, caller: Caller, chunk_ids: Sequence[ChunkId]) -> set[ChunkId]:
    """Return which of the chunks the caller may read at this moment, by the documents' own readers.

    The policies compare them with what the caller was when the request began, this with what the caller is now: a credential
    that ended, a membership or a group that was left, leave nothing.
    """
    found = await session.execute(
        text(
            "select c.id from chunks c join documents d on d.workspace_id = c.workspace_id and d.id = c.document_id"
            " where c.workspace_id = :workspace_id and c.id = any (:ids) and d.current_version_id = c.version_id"
            " and (:sees_all or d.readers && (select ragecho_present_principals(cast(:user_id as uuid),"
            " cast(:api_key_id as uuid), cast(:grant_id as uuid))))"
        ),
        {
            "workspace_id": caller.workspace_id,
            "ids": list(chunk_ids),
            "sees_all": caller.sees_all,
            "user_id": caller.user_id,
            "api_key_id": caller.api_key_id,
            "grant_id": caller.grant_id,
        },
    )
    return set(found.scalars())


async def insert_chunks(
    session: AsyncConnection,
    caller: Caller,
    document_id: DocumentId,
    version_id: VersionId,
    *,
    space_id: UUID,
    readers: Sequence[str],
    chunks: Sequence[IndexedChunk],
) -> None:
    """Store chunks, vectors and terms and count the terms. The caller holds the index lock."""
    if not chunks:
        return
    total_length = sum(chunk.length for chunk in chunks)
    average = await _grow_statistics(session, caller, space_id, added=len(chunks), length=total_length)
    shared: dict[str, Any] = {
        "workspace_id": caller.workspace_id,
        "document_id": document_id,
        "version_id": version_id,
        "space_id": space_id,
        "readers": list(readers),
        "average_length": average,
    }
    rows = [
        shared
        | {
            "id": chunk.id,
            "ordinal": chunk.ordinal,
            "start": chunk.start,
            "end": chunk.end,
            "page": chunk.page,
            "page_breaks": list(chunk.page_breaks),
            "heading_path": list(chunk.heading_path),
            "tokens": chunk.tokens,
            "sha256": chunk.sha256,
            "text": chunk.text,
            "embedding": chunk.embedding,
            "length": chunk.length,
            "terms": chunk.terms,
            "frequencies": chunk.frequencies,
        }
        for chunk in chunks
    ]
    for statement, names in INSERTS:
        await session.execute(statement, [{name: row[name] for name in names} for row in rows])
    await session.execute(
        COUNT_TERMS, {"workspace_id": caller.workspace_id, "space_id": space_id, "documents": [document_id]}
    )
    await _renew_weights_on_drift(session, caller, space_id)


async def delete_chunks(session: AsyncConnection, caller: Caller, document_id: DocumentId) -> int:
    """Remove everything searchable of a document and return how many chunks that were. The caller holds the index lock."""
    where = {"workspace_id": caller.workspace_id, "document_id": document_id}
    sizes = await session.execute(
        text(
            "select space_id, count(*) as chunks, sum(length) as length from chunk_terms"
            " where workspace_id = :workspace_id and document_id = :document_id group by space_id order by space_id"
        ),
        where,
    )
    removed = 0
    for row in sizes.mappings().all():
        removed += row["chunks"]
        await session.execute(DISCOUNT_TERMS, where | {"space_id": row["space_id"]})
        await session.execute(
            text(
                "update index_statistics set chunks = chunks - :chunks, terms = terms - :length, version = version + 1"
                " where workspace_id = :workspace_id and space_id = :space_id"
            ),
            {
                "workspace_id": caller.workspace_id,
                "space_id": row["space_id"],
                "chunks": row["chunks"],
                "length": row["length"],
            },
        )
    for table in ("chunk_terms", "chunk_vectors", "chunks"):
        await session.execute(
            text(f"delete from {table} where workspace_id = :workspace_id and document_id = :document_id"), where
        )
    return removed


async def relabel_chunks(
    session: AsyncConnection, caller: Caller, document_id: DocumentId, readers: Sequence[str]
) -> None:
    """Give a document's chunks new readers, in the transaction that changes the document's."""
    for table in ("chunks", "chunk_vectors", "chunk_terms"):
        await session.execute(
            text(
                f"update {table} set readers = :readers where workspace_id = :workspace_id and document_id = :document_id"
            ),
            {"workspace_id": caller.workspace_id, "document_id": document_id, "readers": list(readers)},
        )
    await session.execute(
        text("update index_statistics set version = version + 1 where workspace_id = :workspace_id"),
        {"workspace_id": caller.workspace_id},
    )


async def finish_version(
    session: AsyncConnection,
    caller: Caller,
    document_id: DocumentId,
    version_id: VersionId,
    *,
    title: str | None,
    pages: int | None,
    chunks: int,
) -> None:
    """Let a version answer from the commit on; the document takes over its name, size and digest."""
    await session.execute(
        text(
            "update documents d set status = 'ready', progress = 1, error = null, pages = :pages, chunks = :chunks,"
            " title = coalesce(:title, d.title), version = v.number, current_version_id = v.id, filename = v.filename,"
            " content_type = v.content_type, size_bytes = v.size_bytes, sha256 = v.sha256, updated_at = now()"
            " from document_versions v where d.workspace_id = :workspace_id and d.id = :id"
            " and v.workspace_id = d.workspace_id and v.id = :version_id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": document_id,
            "version_id": version_id,
            "title": title,
            "pages": pages,
            "chunks": chunks,
        },
    )
    await session.execute(
        text("update document_versions set ready_at = now() where workspace_id = :workspace_id and id = :id"),
        {"workspace_id": caller.workspace_id, "id": version_id},
    )


async def store_parsed(
    session: AsyncConnection, caller: Caller, version_id: VersionId, *, content: str, parsed: str, parser_version: str
) -> None:
    """Keep a version's text and structure, so that a later step can be repeated without parsing again."""
    await session.execute(
        text(
            "update document_versions set text = :text, parsed = cast(:parsed as jsonb), parser_version = :parser_version"
            " where workspace_id = :workspace_id and id = :id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "id": version_id,
            "text": content,
            "parsed": parsed,
            "parser_version": parser_version,
        },
    )


async def _grow_statistics(
    session: AsyncConnection, caller: Caller, space_id: UUID, *, added: int, length: int
) -> float:
    """Add to the index's size; return the average length that stored weights are made with."""
    found = await session.execute(
        text(
            "insert into index_statistics as s (workspace_id, space_id, chunks, terms, weights_length, version)"
            " values (:workspace_id, :space_id, :added, :length, cast(:length as real) / :added, 1)"
            " on conflict (workspace_id, space_id) do update set chunks = s.chunks + excluded.chunks,"
            " terms = s.terms + excluded.terms, version = s.version + 1,"
            " weights_length = case when s.chunks = 0 then excluded.weights_length else s.weights_length end"
            " returning weights_length"
        ),
        {"workspace_id": caller.workspace_id, "space_id": space_id, "added": added, "length": length},
    )
    return float(found.scalar_one())


async def _renew_weights_on_drift(session: AsyncConnection, caller: Caller, space_id: UUID) -> None:
    """Make all weights again when the average length has drifted. The drift shrinks as a workspace grows, so this is rare."""
    renewed = await session.execute(
        text(
            "update index_statistics set weights_length = terms::real / chunks"
            " where workspace_id = :workspace_id and space_id = :space_id and chunks > 0"
            " and abs(terms::real / chunks / greatest(weights_length, 1) - 1) > :drift returning weights_length"
        ),
        {"workspace_id": caller.workspace_id, "space_id": space_id, "drift": LENGTH_DRIFT},
    )
    average = renewed.scalar_one_or_none()
    if average is None:
        return
    await session.execute(
        text(
            "update chunk_terms set weights = ragecho_bm25_weights(terms, frequencies, length, cast(:average as real))"
            " where workspace_id = :workspace_id and space_id = :space_id"
        ),
        {"workspace_id": caller.workspace_id, "space_id": space_id, "average": average},
    )
