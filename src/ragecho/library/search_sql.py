"""The hot query: hybrid search in one statement under row-level security.

    vector    nearest by inner product of unit vectors (= cosine); an exact scan for small workspaces and where the caller
              may read little, the HNSW graph with iterative scan otherwise: chosen by counts, never by the planner
    lexical   BM25 candidates from ragecho_lexical_candidates (see its migration)
    fused     both sides' scores laid on 0 to 1 among their candidates and added by the vectors' share (fusion.py)
    found     joined back to chunks and documents, where the policies apply once more, and besides them the readers are
              compared by the statement itself: neither a policy nor a condition that is forgotten opens a document

Every table is filtered by the workspace as well as by its policy: the planner prunes partitions and estimates by it.
"""

from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import TextClause, text

from ragecho.library.fusion import BEYOND_SPREAD, SPREAD
from ragecho.library.model import SearchFilter
from ragecho.library.search_route import Among, Route
from ragecho.library.store_documents import escape_like

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
_VECTOR_FEW = """
    vector_side as materialized (
      select n.chunk_id, n.score, row_number() over (order by n.score desc, n.chunk_id) as rank
      from ragecho_nearest(:space_id, cast(:vector as halfvec), '{among}', {documents}, :depth) n
    )"""
_LEXICAL = """
    lexical_side as materialized (
      select l.chunk_id, l.score, row_number() over (order by l.score desc, l.chunk_id) as rank
      from ragecho_lexical_candidates(:space_id, cast(:terms as int[]), cast(:weights as real[]), '{among}',
                                      {documents}, cast(:candidate_cap as int), :depth) l
    )"""
# What an index in memory proposes, best first, where there was room for its words only.
_PROPOSED = """
    lexical_side as materialized (
      select p.chunk_id, p.score, p.rank
      from unnest(cast(:lexical_ids as uuid[]), cast(:lexical_scores as real[])) with ordinality p (chunk_id, score, rank)
    )"""
# Laid on 0 to 1 between the best and the SPREAD-th candidate, however many are asked for; deeper ones follow just below 0.
_VECTOR_PART = """
        select chunk_id, {share} * case when laid < 0 then laid / {beyond} else laid end as part from (
          select chunk_id, coalesce((score - min(score) filter (where rank <= {spread}) over ())
                 / nullif(max(score) over () - min(score) filter (where rank <= {spread}) over (), 0), 1) as laid
          from vector_side) spread"""
_LEXICAL_PART = """
        select chunk_id, {share} * coalesce(score / nullif(max(score) over (), 0), 1) as part from lexical_side"""
_COLUMNS = """
    select c.id as chunk_id, c.document_id, c.version_id, d.filename, d.title, c.heading_path, c.page, c.page_breaks,
           c.start_offset, c.end_offset, c.text, encode(c.sha256, 'hex') as content_sha256, f.score,
           {vector_score} as vector, {lexical_score} as lexical"""
_READABLE = """
    join chunks c on c.workspace_id = :workspace_id and c.id = f.chunk_id
    join documents d on d.workspace_id = c.workspace_id and d.id = c.document_id
    {score_joins}
    where :sees_all or (d.readers && cast(:principals as text[]) and c.readers && cast(:principals as text[]))
    order by f.score desc, c.id"""
_FUSED = """
    with {sides},
    fused as (
      select chunk_id, sum(part)::float8 as score from ({parts}) p
      group by chunk_id order by score desc, chunk_id limit :limit
    )"""
_SELECT = _FUSED + _COLUMNS + "\n    from fused f" + _READABLE
# What an index in memory found and fused: no more than is asked for.
_HELD = (
    _COLUMNS
    + """
    from unnest(cast(:held_ids as uuid[]), cast(:held_scores as float8[]), {arrays}) f (chunk_id, score, {names})"""
    + _READABLE
)
# What a filter says of documents, by the parameter that holds it.
_CONDITIONS = {
    "tags": "d.tags @> cast(:tags as text[])",
    "any_tags": "d.tags && cast(:any_tags as text[])",
    "documents": "d.id = any (cast(:documents as uuid[]))",
    "metadata": "d.metadata @> cast(:metadata as jsonb)",
    "created_from": "d.created_at >= cast(:created_from as timestamptz)",
    "created_before": "d.created_at < cast(:created_before as timestamptz)",
    "content_types": "d.content_type = any (cast(:content_types as text[]))",
    "access": "d.access = any (cast(:access as text[]))",
    "filename": "d.filename ilike cast(:filename as text)",
}
_MATCHING = """
    matching as materialized (select d.id, d.chunks from documents d where d.workspace_id = :workspace_id and {conditions})"""
_MATCHED = "coalesce((select array_agg(m.id) from matching m), array[]::uuid[])"
_AMONG = "and v.document_id in (select m.id from matching m)"


def filter_parameters(wanted: SearchFilter) -> dict[str, Any]:
    """Return the parameters of the conditions that a filter makes; empty when it excludes nothing."""
    found: dict[str, Any] = {
        "tags": list(wanted.tags),
        "any_tags": list(wanted.any_tags),
        "metadata": orjson.dumps(wanted.metadata).decode() if wanted.metadata else None,
        "created_from": wanted.created_from,
        "created_before": wanted.created_before,
        "content_types": list(wanted.content_types),
        "access": [str(one) for one in wanted.access],
        "filename": f"%{escape_like(wanted.filename)}%" if wanted.filename else None,
    }
    found = {name: value for name, value in found.items() if value}
    # Among no documents at all nothing is found, which is not the same as no condition.
    return found if wanted.documents is None else found | {"documents": list(wanted.documents)}


@lru_cache(maxsize=64)
def matching_size_statement(filters: frozenset[str]) -> TextClause:
    """Return the statement that tells how many chunks the documents have that a filter lets through."""
    return text(f"with {_matching(filters)} select coalesce(sum(chunks), 0) as chunks from matching")


def conditions_of(filters: frozenset[str]) -> str:
    """Return what a filter demands of documents `d`, as SQL; `filters` are names of `filter_parameters`."""
    return " and ".join(_CONDITIONS[name] for name in sorted(filters))


def _matching(filters: frozenset[str]) -> str:
    return _MATCHING.format(conditions=conditions_of(filters))


@lru_cache(maxsize=256)
def search_statement(
    mode: str,
    route: Route,
    *,
    dimensions: int,
    filters: frozenset[str],
    share: float,
    has_words: bool = False,
) -> tuple[TextClause, frozenset[str]]:
    """Return the statement of one search and its parameters' names.

    `mode` is hybrid, vector or lexical; `filters` are names of `filter_parameters`; `share` is the vectors' part of the
    fused score. With `has_words` the words' candidates come as `lexical_ids` and `lexical_scores`.
    """
    sides, parts, joins = [_matching(filters)] if filters else [], [], []
    if mode != "lexical":
        sides.append(_vector_side(route, dimensions, filters))
        parts.append(_VECTOR_PART.format(share=share if mode == "hybrid" else 1.0, spread=SPREAD, beyond=BEYOND_SPREAD))
        # What only the words found gets its similarity too: later steps judge by it.
        joins.append("left join chunk_vectors cv on cv.workspace_id = c.workspace_id and cv.chunk_id = c.id")
    if mode != "vector":
        sides.append(_PROPOSED if has_words else _lexical_side(route))
        parts.append(_LEXICAL_PART.format(share=1.0 - share if mode == "hybrid" else 1.0))
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


@lru_cache(maxsize=8)
def held_statement(sides: frozenset[str]) -> TextClause:
    """Return the statement that reads what memory found: `held_ids` with `held_scores` and, for each side, `held_<side>`.

    `sides` (vector, lexical) are those that were asked; each gives every chunk a score, null for none.
    """
    names = sorted(sides)
    return text(
        _HELD.format(
            arrays=", ".join(f"cast(:held_{name} as float8[])" for name in names),
            names=", ".join(names),
            score_joins="",
            **{f"{side}_score": f"f.{side}" if side in sides else "null::float8" for side in ("vector", "lexical")},
        )
    )


def _vector_side(route: Route, dimensions: int, filters: frozenset[str]) -> str:
    if route.vector_among is not Among.ALL:
        return _VECTOR_FEW.format(among=route.vector_among, documents=_documents(route.vector_among))
    among = _AMONG if filters else ""
    if not route.is_graph:
        return _VECTOR.format(distance=_EXACT, dimension_test="", filters=among)
    # The graph is a partial index: the planner uses it only for a query that implies its condition.
    dimension_test = f"and v.in_graph and vector_dims(v.embedding) = {dimensions}"
    return _VECTOR_GRAPH.format(
        distance=_GRAPH.format(dimensions=dimensions), dimension_test=dimension_test, filters=among
    )


def _lexical_side(route: Route) -> str:
    return _LEXICAL.format(among=route.lexical_among, documents=_documents(route.lexical_among))


def _documents(among: Among) -> str:
    return _MATCHED if among is Among.DOCUMENTS else "null::uuid[]"


# What the caller may read at most: a chunk counts once for each label of the caller's that it carries.
INDEX_STATE = text("""
    select w.space_id, w.status, s.dimensions, s.model, coalesce(i.chunks, 0) as chunks, coalesce(i.version, 0) as version,
           coalesce(i.graph, 'none') = 'whole' as is_graphed, coalesce(i.stemmings, '{english}') as stemmings, r.readable, r.surely_readable
    from workspaces w join embedding_spaces s on s.id = w.space_id
    left join index_statistics i on i.workspace_id = w.id and i.space_id = w.space_id
    cross join lateral (
      select coalesce(sum(c.chunks), 0)::bigint as readable, coalesce(max(c.chunks), 0)::bigint as surely_readable
      from reader_counts c where c.workspace_id = w.id and c.principal = any (cast(:principals as text[]))
    ) r
    where w.id = :workspace_id""")
READABLE_CHUNKS = text("select ragecho_count_readable(:limit) as counted")
