"""SQL of the searchable pieces: all three tables, the term statistics and the document's row change in one transaction."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId
from ragecho.kernel.passages import Passage
from ragecho.library.analysis import algorithm_of
from ragecho.library.model import IndexedChunk, IndexedVersion
from ragecho.platform.database import array_literal

log = logging.getLogger(__name__)

# Stored weights were made with an average length; they are made again when the real one has moved this far from it.
LENGTH_DRIFT = 0.1
# Vectors enter the graph from this size of a workspace on, and with each the ones that came before it, so many at a time that all
# are there well before the size from which the graph is searched (`SearchTuning.exact_below_chunks`).
GRAPH_FROM_CHUNKS = 12_000
MOVED_PER_CHUNK = 2
NO_GRAPH, GROWING = "none", "growing"

# One statement per table, whatever the number of rows. Arrays of arrays travel as PostgreSQL's text form of the inner ones.
INSERT_CHUNKS = text("""
    insert into chunks (workspace_id, id, document_id, version_id, space_id, readers, ordinal, start_offset, end_offset,
                        page, page_breaks, heading_path, tokens, sha256, text)
    select :workspace_id, r.id, r.document_id, r.version_id, :space_id, cast(r.readers as text[]), r.ordinal, r.first, r.past,
           r.page, cast(r.page_breaks as int[]), cast(r.heading_path as text[]), r.tokens, r.sha256, r.text
    from unnest(cast(:id as uuid[]), cast(:document_id as uuid[]), cast(:version_id as uuid[]), cast(:readers as text[]),
                cast(:ordinal as int[]), cast(:first as int[]), cast(:past as int[]), cast(:page as int[]),
                cast(:page_breaks as text[]), cast(:heading_path as text[]), cast(:tokens as int[]),
                cast(:sha256 as bytea[]), cast(:text as text[]))
      as r (id, document_id, version_id, readers, ordinal, first, past, page, page_breaks, heading_path, tokens, sha256, text)""")
INSERT_VECTORS = text("""
    insert into chunk_vectors (workspace_id, chunk_id, document_id, space_id, readers, embedding, in_graph)
    select :workspace_id, r.id, r.document_id, :space_id, cast(r.readers as text[]), cast(r.embedding as halfvec), :in_graph
    from unnest(cast(:id as uuid[]), cast(:document_id as uuid[]), cast(:readers as text[]), cast(:embedding as text[]))
      as r (id, document_id, readers, embedding)""")
INSERT_TERMS = text("""
    insert into chunk_terms (workspace_id, chunk_id, document_id, space_id, readers, length, terms, frequencies, weights)
    select :workspace_id, r.id, r.document_id, :space_id, cast(r.readers as text[]), r.length, t.terms, t.frequencies,
           ragecho_bm25_weights(t.terms, t.frequencies, r.length, cast(:average_length as real))
    from unnest(cast(:id as uuid[]), cast(:document_id as uuid[]), cast(:readers as text[]), cast(:length as int[]),
                cast(:terms as text[]), cast(:frequencies as text[]))
      as r (id, document_id, readers, length, terms, frequencies),
      lateral (select cast(r.terms as int[]) as terms, cast(r.frequencies as smallint[]) as frequencies) t""")
INSERTS = tuple(
    (statement, frozenset(statement.compile().params)) for statement in (INSERT_CHUNKS, INSERT_VECTORS, INSERT_TERMS)
)
ROWS_PER_STATEMENT = 500
# Sorted, so that two transactions never wait for each other in a ring; the workspace's lock makes them follow anyway.
COUNT_TERMS = text("""
    insert into term_frequencies as f (workspace_id, space_id, term, chunks)
    select :workspace_id, :space_id, t.term, t.chunks
    from unnest(cast(:terms as int[]), cast(:counts as int[])) as t (term, chunks) order by t.term
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


async def readable_passages(session: AsyncConnection, caller: Caller, passages: Sequence[Passage]) -> set[ChunkId]:
    """Return the chunks of those passages that the caller may read at this moment, by the documents' own readers.

    The policies compare them with what the caller was when the request began, this with what the caller is now: a credential
    that ended, a membership or a group that was left, leave nothing. What counts is that the version still answers, not that
    its chunk is still there: another space's chunks take its place while an answer is written (reindexing).
    """
    found = await session.execute(
        text(
            "select p.chunk_id from unnest(cast(:chunks as uuid[]), cast(:documents as uuid[]), cast(:versions as uuid[]))"
            "   as p (chunk_id, document_id, version_id)"
            " join documents d on d.workspace_id = :workspace_id and d.id = p.document_id"
            "   and d.current_version_id = p.version_id"
            " where :sees_all or d.readers && (select ragecho_present_principals(cast(:user_id as uuid),"
            " cast(:api_key_id as uuid), cast(:grant_id as uuid)))"
        ),
        {
            "workspace_id": caller.workspace_id,
            "chunks": [passage.chunk_id for passage in passages],
            "documents": [passage.document_id for passage in passages],
            "versions": [passage.version_id for passage in passages],
            "sees_all": caller.sees_all,
            "user_id": caller.user_id,
            "api_key_id": caller.api_key_id,
            "grant_id": caller.grant_id,
        },
    )
    return set(found.scalars())


async def insert_versions(
    session: AsyncConnection, caller: Caller, *, space_id: UUID, versions: Sequence[IndexedVersion]
) -> None:
    """Store chunks, vectors and terms of some versions and count the terms. The caller holds the index lock."""
    chunks = [chunk for version in versions for chunk in version.chunks]
    if not chunks:
        return
    total_length = sum(chunk.length for chunk in chunks)
    stemmings = sorted({algorithm_of(version.language) for version in versions})
    average, graph = await _grow_statistics(
        session, caller, space_id, added=len(chunks), length=total_length, stemmings=stemmings
    )
    shared = {"workspace_id": caller.workspace_id, "space_id": space_id, "average_length": average}
    shared["in_graph"] = graph != NO_GRAPH
    rows = [_row(version, chunk) for version in versions for chunk in version.chunks]
    for first in range(0, len(rows), ROWS_PER_STATEMENT):
        piece = rows[first : first + ROWS_PER_STATEMENT]
        columns = shared | {name: [row[name] for row in piece] for name in piece[0]}
        for statement, names in INSERTS:
            await session.execute(statement, {name: columns[name] for name in names})
    counted = sorted(Counter(term for chunk in chunks for term in chunk.terms).items())
    await session.execute(
        COUNT_TERMS,
        {
            "workspace_id": caller.workspace_id,
            "space_id": space_id,
            "terms": [term for term, _ in counted],
            "counts": [times for _, times in counted],
        },
    )
    await _renew_weights_on_drift(session, caller, space_id)
    if graph == GROWING:
        await _grow_graph(session, caller, space_id, most=MOVED_PER_CHUNK * len(chunks))


def _row(version: IndexedVersion, chunk: IndexedChunk) -> dict[str, Any]:
    return {
        "id": chunk.id,
        "document_id": version.document_id,
        "version_id": version.version_id,
        "readers": array_literal(version.readers),
        "ordinal": chunk.ordinal,
        "first": chunk.start,
        "past": chunk.end,
        "page": chunk.page,
        "page_breaks": _integers(chunk.page_breaks),
        "heading_path": array_literal(chunk.heading_path),
        "tokens": chunk.tokens,
        "sha256": chunk.sha256,
        "text": chunk.text,
        "embedding": chunk.embedding,
        "length": chunk.length,
        "terms": _integers(chunk.terms),
        "frequencies": _integers(chunk.frequencies),
    }


def _integers(values: Sequence[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


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


FINISH_VERSIONS = text("""
    with done as (
      select * from unnest(cast(:document_ids as uuid[]), cast(:version_ids as uuid[]), cast(:titles as text[]),
                           cast(:pages as int[]), cast(:chunks as int[]), cast(:languages as text[]),
                           cast(:authors as text[]), cast(:written as timestamptz[]))
          as r (document_id, version_id, title, pages, chunks, language, authors, written_at)
    ), finished as (
      update document_versions v set ready_at = now() from done
      where v.workspace_id = :workspace_id and v.id = done.version_id
    )
    update documents d set status = 'ready', progress = 1, error = null, pages = done.pages, chunks = done.chunks,
      title = coalesce(done.title, d.title), language = done.language,
      authors = cast(done.authors as text[]), written_at = done.written_at, version = v.number, current_version_id = v.id, filename = v.filename,
      content_type = v.content_type, size_bytes = v.size_bytes, sha256 = v.sha256, updated_at = now()
    from done join document_versions v on v.workspace_id = :workspace_id and v.id = done.version_id
    where d.workspace_id = :workspace_id and d.id = done.document_id""")


async def finish_versions(session: AsyncConnection, caller: Caller, versions: Sequence[IndexedVersion]) -> None:
    """Let versions answer from the commit on; their documents take over names, sizes and digests."""
    await session.execute(
        FINISH_VERSIONS,
        {
            "workspace_id": caller.workspace_id,
            "document_ids": [version.document_id for version in versions],
            "version_ids": [version.version_id for version in versions],
            "titles": [version.title for version in versions],
            "pages": [version.pages for version in versions],
            "chunks": [len(version.chunks) for version in versions],
            "languages": [version.language for version in versions],
            "authors": [array_literal(version.authors) for version in versions],
            "written": [version.written_at for version in versions],
        },
    )


async def store_parsed(
    session: AsyncConnection, caller: Caller, versions: Mapping[VersionId, tuple[str, str, str]]
) -> None:
    """Keep (text, structure as JSON, parser's version) of versions: a later step can be repeated without parsing again."""
    await session.execute(
        text(
            "update document_versions v set text = r.text, parsed = cast(r.parsed as jsonb), parser_version = r.parser"
            " from unnest(cast(:ids as uuid[]), cast(:texts as text[]), cast(:parsed as text[]), cast(:parsers as text[]))"
            "   as r (id, text, parsed, parser)"
            " where v.workspace_id = :workspace_id and v.id = r.id"
        ),
        {
            "workspace_id": caller.workspace_id,
            "ids": list(versions),
            "texts": [content for content, _, _ in versions.values()],
            "parsed": [parsed for _, parsed, _ in versions.values()],
            "parsers": [parser for _, _, parser in versions.values()],
        },
    )


async def _grow_statistics(
    session: AsyncConnection, caller: Caller, space_id: UUID, *, added: int, length: int, stemmings: Sequence[str]
) -> tuple[float, str]:
    """Add to the index's size; return the average length that stored weights are made with, and how far the graph is."""
    found = await session.execute(
        text(
            "insert into index_statistics as s (workspace_id, space_id, chunks, terms, weights_length, version, stemmings, graph)"
            " values (:workspace_id, :space_id, :added, :length, cast(:length as real) / :added, 1, :stemmings,"
            "   case when cast(:added as bigint) >= :graph_from then 'growing' else 'none' end)"
            " on conflict (workspace_id, space_id) do update set chunks = s.chunks + excluded.chunks,"
            " terms = s.terms + excluded.terms, version = s.version + 1,"
            " stemmings = array(select distinct unnest(s.stemmings || excluded.stemmings) order by 1),"
            " weights_length = case when s.chunks = 0 then excluded.weights_length else s.weights_length end,"
            " graph = case when s.graph = 'none' and s.chunks + excluded.chunks >= :graph_from then 'growing' else s.graph end"
            " returning weights_length, graph"
        ),
        {
            "workspace_id": caller.workspace_id,
            "space_id": space_id,
            "added": added,
            "length": length,
            "stemmings": list(stemmings),
            "graph_from": GRAPH_FROM_CHUNKS,
        },
    )
    row = found.one()
    return float(row.weights_length), row.graph


async def _grow_graph(session: AsyncConnection, caller: Caller, space_id: UUID, *, most: int) -> None:
    """Put up to `most` of the vectors that came before into the graph; it is whole when none is left."""
    where = {"workspace_id": caller.workspace_id, "space_id": space_id}
    moved = await session.execute(
        text(
            "update chunk_vectors set in_graph = true where workspace_id = :workspace_id and chunk_id in ("
            "   select chunk_id from chunk_vectors where workspace_id = :workspace_id and space_id = :space_id"
            "   and not in_graph order by chunk_id limit :most)"
        ),
        where | {"most": most},
    )
    if moved.rowcount < most:
        await session.execute(
            text(
                "update index_statistics set graph = 'whole' where workspace_id = :workspace_id and space_id = :space_id"
            ),
            where,
        )


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
