"""SQL of what only some questions need: exact forms, documents by name, a document's chunks, what stands around a passage.

As in the hot statement (search_sql.py), every table is filtered by its policy, by the workspace and by the readers.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ChunkId, DocumentId
from ragecho.kernel.passages import Passage
from ragecho.library.model import SearchFilter
from ragecho.library.neighbours import Stretch
from ragecho.library.search_sql import conditions_of, filter_parameters
from ragecho.platform.database import Query

# So many chunks that hold all words of a form are looked at for the form itself.
LOOKED_AT: Final = 3_000
_READABLE = "(:sees_all or (d.readers && cast(:principals as text[]) and c.readers && cast(:principals as text[])))"
_COLUMNS = """c.id as chunk_id, c.document_id, c.version_id, d.filename, d.title, c.heading_path, c.page, c.page_breaks,
           c.start_offset, c.end_offset, c.text, encode(c.sha256, 'hex') as content_sha256, 0::float8 as score,
           -(v.embedding <#> cast(:vector as halfvec)) as vector, null::float8 as lexical"""
_JOINS = """join documents d on d.workspace_id = c.workspace_id and d.id = c.document_id
    left join chunk_vectors v on v.workspace_id = c.workspace_id and v.chunk_id = c.id"""
_HOLDING = """
    with held as materialized (
      select distinct h.chunk_id from unnest(cast(:alternatives as text[])) a,
        ragecho_chunks_with_all(:space_id, cast(a as int[]), cast(:looked_at as int)) h
    )
    select {columns}
    from held h
    join chunks c on c.workspace_id = :workspace_id and c.id = h.chunk_id
    {joins}
    where {readable} {conditions}
      and (c.text ~* any (cast(:patterns as text[])) or array_to_string(c.heading_path, ' ') ~* any (cast(:patterns as text[])))
    order by vector desc nulls last, c.id limit :limit"""
_CHUNKS = text(f"""
    select {_COLUMNS} from chunks c {_JOINS}
    where c.workspace_id = :workspace_id and c.id = any (cast(:ids as uuid[])) and {_READABLE} order by c.ordinal""")
_SECTIONS = text("""
    select c.id, c.heading_path from chunks c join documents d on d.workspace_id = c.workspace_id and d.id = c.document_id
    where c.workspace_id = :workspace_id and c.document_id = :document_id and c.space_id = :space_id
      and (:sees_all or (d.readers && cast(:principals as text[]) and c.readers && cast(:principals as text[])))
    order by c.ordinal limit 20000""")
# Reads every document's name: for questions that name one, or ask for one as a whole..
_NAMED = """
    select d.id, d.filename, d.title from documents d
    where d.workspace_id = :workspace_id and d.chunks > 0 and (:sees_all or d.readers && cast(:principals as text[])) {conditions}
      and (lower(d.filename) = any (cast(:names as text[]))
           or :in_words and (length(d.title) > 3 and strpos(:question, lower(d.title)) > 0
                             or length(d.filename) > 3 and strpos(:question, lower(d.filename)) > 0
                             or length(d.filename) > 7 and strpos(:question, lower(regexp_replace(d.filename, '\\.[^.]*$', ''))) > 0))
    order by greatest(length(d.filename), length(d.title)) desc, d.id limit 20"""
_SOLE = """
    select d.id, d.filename, d.title from documents d
    where d.workspace_id = :workspace_id and d.chunks > 0 and (:sees_all or d.readers && cast(:principals as text[])) {conditions}
    limit 2"""
_AROUND = text("""
    select h.id as hit, c.id, c.ordinal, c.start_offset, c.end_offset, c.page, c.page_breaks, c.heading_path
    from chunks h
    join chunks c on c.workspace_id = h.workspace_id and c.document_id = h.document_id and c.version_id = h.version_id
      and c.space_id = h.space_id and c.ordinal between h.ordinal - :reach and h.ordinal + :reach
    join documents d on d.workspace_id = c.workspace_id and d.id = c.document_id
    where h.workspace_id = :workspace_id and h.id = any (cast(:ids as uuid[]))
      and (:sees_all or (d.readers && cast(:principals as text[]) and c.readers && cast(:principals as text[])))
    order by h.id, c.ordinal""")
_TEXTS = text("""
    select w.place, substr(v.text, w.first + 1, w.past - w.first) as text
    from unnest(cast(:places as int[]), cast(:versions as uuid[]), cast(:starts as int[]), cast(:ends as int[]))
      as w (place, version_id, first, past)
    join document_versions v on v.workspace_id = :workspace_id and v.id = w.version_id
    join documents d on d.workspace_id = v.workspace_id and d.id = v.document_id
    where :sees_all or d.readers && cast(:principals as text[])""")

_KNOWN = text("""
    select f.term from term_frequencies f
    where f.workspace_id = :workspace_id and f.space_id = :space_id and f.term = any (cast(:terms as int[])) and f.chunks > 0
    order by f.chunks desc limit :limit""")


def known_terms(caller: Caller, space_id: UUID, terms: Sequence[int], *, limit: int) -> Query:
    """Return the query for those of the terms that the index holds, frequent ones first.

    Whoever's texts they stand in: no word may be told to the caller for it.
    """
    return _KNOWN, {"workspace_id": caller.workspace_id, "space_id": space_id, "terms": list(terms), "limit": limit}


def chunks_holding(
    caller: Caller,
    *,
    space_id: UUID,
    alternatives: Sequence[Sequence[int]],
    patterns: Sequence[str],
    vector: str | None,
    wanted: SearchFilter,
    limit: int,
) -> Query:
    """Return the query for chunks that hold all terms of one of the `alternatives`, and a text that one of the `patterns` matches."""
    filters = filter_parameters(wanted)
    return _with_filters("holding", frozenset(filters)), _asked(caller) | filters | {
        "space_id": space_id,
        "alternatives": ["{" + ",".join(map(str, terms)) + "}" for terms in alternatives],
        "patterns": list(patterns),
        "looked_at": LOOKED_AT,
        "vector": vector,
        "limit": limit,
    }


def documents_named(
    caller: Caller, *, names: Sequence[str], question: str, in_words: bool, wanted: SearchFilter
) -> Query:
    """Return the query for documents whose file has one of the names, or `in_words`: whose name or title the question holds."""
    filters = filter_parameters(wanted)
    asked = {"names": list(names), "question": question, "in_words": in_words}
    return _with_filters("named", frozenset(filters)), _asked(caller) | filters | asked


def sole_document(caller: Caller, wanted: SearchFilter) -> Query:
    """Return the query for the readable document, and for a second one if there is one."""
    filters = filter_parameters(wanted)
    return _with_filters("sole", frozenset(filters)), _asked(caller) | filters


def sections(caller: Caller, document_id: DocumentId, space_id: UUID) -> Query:
    """Return the query for a document's chunks in reading order, with their headings."""
    return _SECTIONS, _asked(caller) | {"document_id": document_id, "space_id": space_id}


def chunks(caller: Caller, ids: Sequence[ChunkId], vector: str | None) -> Query:
    """Return the query for chunks of one document, in reading order."""
    return _CHUNKS, _asked(caller) | {"ids": list(ids), "vector": vector}


def around(caller: Caller, ids: Sequence[ChunkId], *, reach: int) -> Query:
    """Return the query for the chunks up to `reach` places before and behind some, in reading order."""
    return _AROUND, _asked(caller) | {"ids": list(ids), "reach": reach}


def texts(caller: Caller, wanted: Mapping[int, tuple[Passage, Stretch]]) -> Query:
    """Return the query for the stored texts of stretches, by their place."""
    return _TEXTS, _asked(caller) | {
        "places": list(wanted),
        "versions": [passage.version_id for passage, _ in wanted.values()],
        "starts": [stretch.start for _, stretch in wanted.values()],
        "ends": [stretch.end for _, stretch in wanted.values()],
    }


def _asked(caller: Caller) -> dict[str, Any]:
    return {
        "workspace_id": caller.workspace_id,
        "sees_all": caller.sees_all,
        "principals": list(caller.principals),
    }


@lru_cache(maxsize=64)
def _with_filters(name: str, filters: frozenset[str]) -> TextClause:
    conditions = f"and {conditions_of(filters)}" if filters else ""
    pattern = {"holding": _HOLDING, "named": _NAMED, "sole": _SOLE}[name]
    return text(pattern.format(columns=_COLUMNS, joins=_JOINS, readable=_READABLE, conditions=conditions))
