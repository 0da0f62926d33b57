"""SQL that compares what the index holds with what it should hold. For a caller that sees the whole workspace."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.library.analysis import algorithm_of

SAMPLES = 10
_W = "workspace_id = :workspace_id"
# The space that queries use, and those that may have pieces: the one that is being filled, and any other one as long as a
# re-indexing job is there to remove what it left.
_OWN = "(select w.space_id from workspaces w where w.id = :workspace_id)"
_SPACES = (
    "(select w.space_id from workspaces w where w.id = :workspace_id union all select r.to_space_id from reindexes r"
    f" where r.{_W} and r.status = 'filling' and r.is_open)"
)
_IS_SWEPT = f"exists (select from jobs j where j.{_W} and j.kind = 'reindex' and j.status in ('queued', 'running'))"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that must never be found: `query` returns the ids of what is wrong."""

    name: str
    says: str
    query: TextClause


def _pieces_without(one: str, other: str, one_id: str, other_id: str) -> TextClause:
    return text(
        f"select a.document_id as id from {one} a where a.{_W} and not exists (select from {other} b"
        f" where b.{_W} and b.{other_id} = a.{one_id}) group by a.document_id"
    )


COMPARISONS = (
    Comparison(
        "missing_chunks",
        "documents that are ready but do not have all their chunks in the workspace's embedding space",
        text(
            f"select d.id from documents d where d.{_W} and d.current_version_id is not null and d.chunks <>"
            f" (select count(*) from chunks c where c.{_W} and c.document_id = d.id and c.space_id = {_OWN})"
        ),
    ),
    Comparison(
        "foreign_chunks",
        "documents with chunks of a version that is not the current one",
        text(
            f"select c.document_id as id from chunks c join documents d on d.workspace_id = c.workspace_id and"
            f" d.id = c.document_id where c.{_W} and c.version_id is distinct from d.current_version_id"
            " group by c.document_id"
        ),
    ),
    Comparison(
        "missing_vectors",
        "documents with chunks that have no vector",
        _pieces_without("chunks", "chunk_vectors", "id", "chunk_id"),
    ),
    Comparison(
        "orphaned_vectors",
        "documents with vectors that have no chunk",
        _pieces_without("chunk_vectors", "chunks", "chunk_id", "id"),
    ),
    Comparison(
        "missing_terms",
        "documents with chunks that the lexical index lacks",
        _pieces_without("chunks", "chunk_terms", "id", "chunk_id"),
    ),
    Comparison(
        "orphaned_terms",
        "documents with lexical entries that have no chunk",
        _pieces_without("chunk_terms", "chunks", "chunk_id", "id"),
    ),
    Comparison(
        "foreign_spaces",
        "documents with chunks, vectors or lexical entries in an embedding space that the workspace does not use",
        text(
            " union ".join(
                f"select c.document_id as id from {table} c where c.{_W} and c.space_id not in {_SPACES} and not {_IS_SWEPT}"
                for table in ("chunks", "chunk_vectors", "chunk_terms")
            )
        ),
    ),
    Comparison(
        "mixed_spaces",
        "documents with vectors or lexical entries in another embedding space than their chunk's, or of another length",
        text(
            " union ".join(
                f"select a.document_id as id from {table} a join chunks c on c.workspace_id = a.workspace_id"
                f" and c.id = a.chunk_id where a.{_W} and a.space_id <> c.space_id"
                for table in ("chunk_vectors", "chunk_terms")
            )
            + " union select v.document_id as id from chunk_vectors v join embedding_spaces s on s.id = v.space_id"
            f" where v.{_W} and vector_dims(v.embedding) <> s.dimensions"
        ),
    ),
    Comparison(
        "wrong_readers",
        "documents whose chunks, vectors or lexical entries name other readers than the document",
        text(
            " union ".join(
                f"select d.id from {table} c join documents d on d.workspace_id = c.workspace_id and d.id = c.document_id"
                f" where c.{_W} and c.readers <> d.readers"
                for table in ("chunks", "chunk_vectors", "chunk_terms")
            )
        ),
    ),
    Comparison(
        "wrong_words",
        "documents with chunks that are not the words of their version's text at their place",
        text(
            "select c.document_id as id from chunks c join document_versions v on v.workspace_id = c.workspace_id"
            f" and v.id = c.version_id where c.{_W}"
            " and substr(v.text, c.start_offset + 1, c.end_offset - c.start_offset) is distinct from c.text"
            " group by c.document_id"
        ),
    ),
    Comparison(
        "stuck_documents",
        "documents that wait to be processed but have no open job",
        text(
            f"select d.id from documents d where d.{_W} and d.status in ('queued', 'processing') and not exists"
            f" (select from jobs j where j.{_W} and j.document_id = d.id and j.status in ('queued', 'running'))"
        ),
    ),
    Comparison(
        "undelivered_jobs",
        "open jobs that the queue does not hold",
        text(
            f"select j.id from jobs j join workspaces w on w.id = j.workspace_id and w.status = 'active'"
            f" where j.{_W} and j.status in ('queued', 'running') and not exists"
            " (select from procrastinate_jobs q where q.id = j.queue_job_id and q.status in ('todo', 'doing'))"
        ),
    ),
)

# The term counts and sizes that BM25 reads, against a count of the entries themselves.
WRONG_COUNTS = text(f"""
    with counted as (
      select c.space_id, t.term, count(*) as chunks from chunk_terms c, unnest(c.terms) as t (term)
      where c.{_W} and c.space_id in {_SPACES} group by c.space_id, t.term
    )
    select count(*) from counted full join (
      select * from term_frequencies where {_W} and chunks <> 0 and space_id in {_SPACES}) f
      on f.space_id = counted.space_id and f.term = counted.term
    where counted.chunks is distinct from f.chunks""")
WRONG_SIZES = text(f"""
    with counted as (
      select space_id, count(*) as chunks, sum(length) as terms from chunk_terms
      where {_W} and space_id in {_SPACES} group by space_id
    )
    select count(*) from counted full join (
      select * from index_statistics where {_W} and chunks <> 0 and space_id in {_SPACES}) s
      on s.space_id = counted.space_id
    where counted.chunks is distinct from s.chunks or counted.terms is distinct from s.terms""")
RECOUNT = (
    text(f"delete from term_frequencies where {_W}"),
    text(f"""
        insert into term_frequencies (workspace_id, space_id, term, chunks)
        select :workspace_id, c.space_id, t.term, count(*) from chunk_terms c, unnest(c.terms) as t (term)
        where c.{_W} group by c.space_id, t.term"""),
    text(f"""
        insert into index_statistics as s (workspace_id, space_id, chunks, terms, weights_length, version)
        select :workspace_id, space_id, count(*), sum(length), sum(length)::real / count(*), 1
        from chunk_terms where {_W} group by space_id
        on conflict (workspace_id, space_id) do update set chunks = excluded.chunks, terms = excluded.terms,
          weights_length = excluded.weights_length, version = s.version + 1"""),
    # Only a graph that holds every vector is searched; one that holds some goes on growing.
    text(f"""
        update index_statistics s set graph = case when v.graphed = v.vectors then 'whole' when v.graphed > 0 then 'growing' else 'none' end
        from (select space_id, count(*) as vectors, count(*) filter (where in_graph) as graphed
              from chunk_vectors where {_W} group by space_id) v
        where s.{_W} and s.space_id = v.space_id"""),
    text(f"""
        update index_statistics s set chunks = 0, terms = 0, version = version + 1 where {_W} and not exists
          (select from chunk_terms c where c.{_W} and c.space_id = s.space_id)"""),
    text(f"""
        update chunk_terms c set weights = ragecho_bm25_weights(c.terms, c.frequencies, c.length, s.weights_length)
        from index_statistics s where c.{_W} and s.{_W} and s.space_id = c.space_id"""),
)

LANGUAGES = text(f"""
    select distinct c.space_id, d.language from chunk_terms c
    join documents d on d.workspace_id = c.workspace_id and d.id = c.document_id where c.{_W}""")
SET_STEMMINGS = text(f"update index_statistics set stemmings = :stemmings where {_W} and space_id = :space_id")


async def compare(session: AsyncConnection, caller: Caller, comparison: Comparison) -> tuple[int, list[Any]]:
    """Return how many are wrong, and the first ids."""
    found = await session.execute(
        text(f"select id, count(*) over () as total from ({comparison.query.text}) wrong order by id limit {SAMPLES}"),
        {"workspace_id": caller.workspace_id},
    )
    rows = found.mappings().all()
    return (rows[0]["total"] if rows else 0), [row["id"] for row in rows]


async def all_wrong(session: AsyncConnection, caller: Caller, comparison: Comparison) -> list[Any]:
    """Return every id that is wrong."""
    found = await session.execute(
        text(f"select id from ({comparison.query.text}) wrong order by id"), {"workspace_id": caller.workspace_id}
    )
    return list(found.scalars())


async def wrong_counts(session: AsyncConnection, caller: Caller) -> int:
    """Return how many of the numbers that ranking reads are not what the entries add up to."""
    parameters = {"workspace_id": caller.workspace_id}
    terms = (await session.execute(WRONG_COUNTS, parameters)).scalar_one()
    sizes = (await session.execute(WRONG_SIZES, parameters)).scalar_one()
    return int(terms) + int(sizes)


async def recount(session: AsyncConnection, caller: Caller) -> None:
    """Make counts, sizes and weights anew from the entries. The caller holds the index lock."""
    parameters = {"workspace_id": caller.workspace_id}
    for statement in RECOUNT:
        await session.execute(statement, parameters)
    languages = await session.execute(LANGUAGES, parameters)
    by_space: defaultdict[UUID, set[str]] = defaultdict(set)
    for space_id, language in languages:
        by_space[space_id].add(algorithm_of(language))
    for space_id, stemmings in by_space.items():
        await session.execute(SET_STEMMINGS, parameters | {"space_id": space_id, "stemmings": sorted(stemmings)})


async def copy_readers(session: AsyncConnection, caller: Caller) -> None:
    """Give all pieces the readers of their documents. The caller holds the index lock."""
    for table in ("chunks", "chunk_vectors", "chunk_terms"):
        await session.execute(
            text(
                f"update {table} c set readers = d.readers from documents d where c.{_W} and d.workspace_id = c.workspace_id"
                " and d.id = c.document_id and c.readers <> d.readers"
            ),
            {"workspace_id": caller.workspace_id},
        )
    await session.execute(
        text(f"update index_statistics set version = version + 1 where {_W}"), {"workspace_id": caller.workspace_id}
    )


async def referenced_contents(session: AsyncConnection, caller: Caller) -> set[str]:
    """Return the digests of all versions of the workspace, and of what unfinished uploads have sent."""
    found = await session.execute(
        text(f"select sha256 from document_versions where {_W} union select sha256 from upload_parts where {_W}"),
        {"workspace_id": caller.workspace_id},
    )
    return set(found.scalars())


async def size_of(session: AsyncConnection, caller: Caller) -> dict[str, int]:
    """Return how many documents, chunks, vectors and lexical entries there are."""
    found = await session.execute(
        text(
            f"select (select count(*) from documents where {_W}) as documents,"
            f" (select count(*) from chunks where {_W}) as chunks,"
            f" (select count(*) from chunk_vectors where {_W}) as vectors,"
            f" (select count(*) from chunk_terms where {_W}) as lexical_entries"
        ),
        {"workspace_id": caller.workspace_id},
    )
    return dict(found.mappings().one())
