"""Read a workspace's index whole, in one snapshot, in pieces that are cheap to take apart."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller

_SIZE = text("""
    select w.space_id, s.dimensions, i.version, i.chunks, i.terms
    from workspaces w join embedding_spaces s on s.id = w.space_id
    join index_statistics i on i.workspace_id = w.id and i.space_id = w.space_id
    where w.id = :workspace_id""")
# The driver would make a number of each element; as one string of bytes they are taken apart all at once.
_PIECE = """
    select string_agg(p.chunk_id::text, '' order by p.chunk_id) as ids,
           array_agg(p.length order by p.chunk_id) as lengths,
           array_agg(p.readers order by p.chunk_id) as readers,
           string_agg(p.weights, '' order by p.chunk_id) as weights{vectors}
    from (
      select t.chunk_id, cardinality(t.terms) as length, to_json(t.readers)::text as readers,
             sparsevec_send(t.weights) as weights{vector}
      from chunk_terms t {join}
      where t.workspace_id = :workspace_id and t.space_id = :space_id and t.chunk_id > :after
      order by t.chunk_id limit :rows
    ) p"""
_WORDS = text(_PIECE.format(vectors="", vector="", join=""))
_WORDS_AND_VECTORS = text(
    _PIECE.format(
        vectors=", string_agg(p.vector, '' order by p.chunk_id) as vectors",
        vector=", halfvec_send(v.embedding) as vector",
        join="join chunk_vectors v on v.workspace_id = t.workspace_id and v.chunk_id = t.chunk_id",
    )
)
_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class IndexSize:
    """How large the index of a workspace's present space is; `terms` counts every occurrence."""

    space_id: UUID
    dimensions: int
    version: int
    chunks: int
    terms: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Some chunks in the order of their ids: 36 characters of id each, terms per chunk, readers, and the vectors as sent.

    `weights` are sparse vectors (three 32-bit numbers of which the second counts terms, then indices from 0, then single
    precision values), `vectors` half precision vectors (two 16-bit numbers, then the values), all big-endian.
    """

    ids: str
    lengths: list[int]
    readers: list[str]
    weights: bytes
    vectors: bytes | None


async def index_size(session: AsyncConnection, caller: Caller) -> IndexSize | None:
    """Return the size of the workspace's index; None while nothing is indexed."""
    found = await session.execute(_SIZE, {"workspace_id": caller.workspace_id})
    row = found.mappings().one_or_none()
    return None if row is None else IndexSize(**row)


async def pieces(
    session: AsyncConnection, caller: Caller, space_id: UUID, *, with_vectors: bool
) -> AsyncIterator[Piece]:
    """Yield the index of a space. `caller` sees the whole workspace; the session is a snapshot."""
    statement = _WORDS_AND_VECTORS if with_vectors else _WORDS
    after = UUID(int=0)
    while True:
        found = await session.execute(
            statement,
            {"workspace_id": caller.workspace_id, "space_id": space_id, "after": after, "rows": _ROWS},
        )
        row = found.mappings().one()
        if row["ids"] is None:
            return
        yield Piece(row["ids"], row["lengths"], row["readers"], row["weights"], row.get("vectors"))
        if len(row["lengths"]) < _ROWS:
            return
        after = UUID(row["ids"][-36:])
