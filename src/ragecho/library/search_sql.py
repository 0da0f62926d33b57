"""The hot query: hybrid search in one statement under row-level security.

    vector    nearest by inner product of unit vectors (= cosine); an exact scan for small workspaces, the HNSW graph
              with iterative scan for large ones, chosen by the workspace's own chunk count and never by the planner
    lexical   BM25 candidates from ragecho_lexical_candidates (see its migration)
    fused     reciprocal rank fusion (Cormack, Clarke, Büttcher 2009): sum of weight / (k + rank)
    found     joined back to chunks and documents, where the policies apply once more, and besides them the readers are
              compared by the statement itself: neither a policy nor a condition that is forgotten opens a document

Every table is filtered by the workspace as well as by its policy: the planner prunes partitions and estimates by it.
"""

from functools import lru_cache

from sqlalchemy import TextClause, text

# `+ 0` keeps the planner off the graph: exact results for small workspaces cost less than the graph's detour.
_EXACT = "(v.embedding <#> cast(:vector as halfvec)) + 0"
_GRAPH = "v.embedding::halfvec({dimensions}) <#> cast(:vector as halfvec({dimensions}))"

_VECTOR = """
    vector_side as materialized (
      select v.chunk_id, -({distance}) as score, row_number() over (order by {distance}, v.chunk_id) as rank
      from chunk_vectors v
      where v.workspace_id = :workspace_id and v.space_id = :space_id {dimension_test} {filters}
      order by {distance} limit :depth
    )"""
_VECTOR_GRAPH = """
    vector_side as materialized (
      select n.chunk_id, n.score, row_number() over (order by n.score desc, n.chunk_id) as rank
      from (
        select v.chunk_id, -({distance}) as score from chunk_vectors v
        where v.workspace_id = :workspace_id and v.space_id = :space_id {dimension_test} {filters}
        order by {distance} limit :depth
      ) n
    )"""
_LEXICAL = """
    lexical_side as materialized (
      select l.chunk_id, l.score, row_number() over (order by l.score desc, l.chunk_id) as rank
      from ragecho_lexical_candidates(:space_id, cast(:terms as int[]), cast(:weights as real[]), cast(:tags as text[]),
                                      cast(:documents as uuid[]), :candidate_cap, :depth) l
    )"""
_SIDE_SCORE = "select chunk_id, {weight} / ({k} + rank) as part from {side}_side"
_SELECT = """
    with {sides},
    fused as (
      select chunk_id, sum(part)::float8 as score from ({parts}) p
      group by chunk_id order by score desc, chunk_id limit :limit
    )
    select c.id as chunk_id, c.document_id, c.version_id, d.filename, d.title, c.heading_path, c.page, c.page_breaks,
           c.start_offset, c.end_offset, c.text, encode(c.sha256, 'hex') as content_sha256, f.score,
           {vector_score} as vector, {lexical_score} as lexical
    from fused f
    join chunks c on c.workspace_id = :workspace_id and c.id = f.chunk_id
    join documents d on d.workspace_id = c.workspace_id and d.id = c.document_id
    {score_joins}
    where :sees_all or (d.readers && cast(:principals as text[]) and c.readers && cast(:principals as text[]))
    order by f.score desc, c.id"""
_FILTERS = """
        and (cast(:documents as uuid[]) is null or v.document_id = any (cast(:documents as uuid[])))
        and (cast(:tags as text[]) is null or v.document_id in (
          select t.id from documents t where t.workspace_id = :workspace_id and t.tags @> cast(:tags as text[])))"""


@lru_cache(maxsize=64)
def search_statement(
    mode: str,
    *,
    dimensions: int,
    is_exact: bool,
    is_filtered: bool,
    vector_weight: float,
    lexical_weight: float,
    k: int,
) -> tuple[TextClause, frozenset[str]]:
    """Return the statement of one search and its parameters' names; `mode` is hybrid, vector or lexical."""
    sides, parts, joins = [], [], []
    if mode != "lexical":
        distance = _EXACT if is_exact else _GRAPH.format(dimensions=dimensions)
        sides.append(
            (_VECTOR if is_exact else _VECTOR_GRAPH).format(
                distance=distance,
                # The graph is a partial index: the planner uses it only for a query that implies its condition.
                dimension_test="" if is_exact else f"and vector_dims(v.embedding) = {dimensions}",
                filters=_FILTERS if is_filtered else "",
            )
        )
        parts.append(_SIDE_SCORE.format(weight=vector_weight, k=k, side="vector"))
        # What only the words found gets its similarity too: later steps judge by it.
        joins.append("left join chunk_vectors cv on cv.workspace_id = c.workspace_id and cv.chunk_id = c.id")
    if mode != "vector":
        sides.append(_LEXICAL)
        parts.append(_SIDE_SCORE.format(weight=lexical_weight, k=k, side="lexical"))
        joins.append("left join lexical_side l on l.chunk_id = c.id")
    statement = text(
        _SELECT.format(
            sides=",".join(sides),
            parts=" union all ".join(parts),
            vector_score="-(cv.embedding <#> cast(:vector as halfvec))" if mode != "lexical" else "null::float8",
            lexical_score="l.score" if mode != "vector" else "null::float8",
            score_joins="\n    ".join(joins),
        )
    )
    return statement, frozenset(statement.compile().params)


INDEX_STATE = text("""
    select w.space_id, w.status, s.dimensions, s.model, coalesce(i.chunks, 0) as chunks, coalesce(i.version, 0) as version
    from workspaces w join embedding_spaces s on s.id = w.space_id
    left join index_statistics i on i.workspace_id = w.id and i.space_id = w.space_id
    where w.id = :workspace_id""")
