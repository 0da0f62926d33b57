"""Fills a workspace quickly and shows which way the server takes for a search, inside definer functions too."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from tests.db.conftest import Tenant

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import uuid7
from ragecho.platform.database import APP_ROLE, Query, array_literal

Matrix = NDArray[np.float32]
_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # not annotated upstream


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan."""

    kind: str
    index: str | None
    table: str | None
    rows: float


def psycopg_url(owner_url: str) -> str:
    return owner_url.replace("postgresql+psycopg://", "postgresql://")


def plans_of(
    owner_url: str, caller: Caller, query: Query, settings: Mapping[str, str] = MappingProxyType({})
) -> list[list[Step]]:
    """Run a query as the application does and return the plans of every statement that ran, the functions' own included.

    `settings` are the transaction's further ones. Needs a superuser, who may load auto_explain.
    """
    statement, parameters = query
    plans: list[list[Step]] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        message = diagnostic.message_primary or ""
        if "plan:" in message:
            plans.append(list(_steps(json.loads(message.split("plan:", 1)[1])["Plan"])))

    with psycopg.connect(psycopg_url(owner_url)) as connection:
        connection.execute("load 'auto_explain'")
        for name, value in {
            "auto_explain.log_min_duration": "0",
            "auto_explain.log_nested_statements": "on",
            "auto_explain.log_analyze": "on",
            "auto_explain.log_timing": "off",
            "auto_explain.log_format": "json",
            "auto_explain.log_level": "notice",
            "auto_explain.log_parameter_max_length": "0",
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.ef_search": "200",
            "ragecho.organization_id": str(caller.organization_id),
            "ragecho.workspace_id": str(caller.workspace_id),
            "ragecho.principals": array_literal(caller.principals),
            "ragecho.sees_all": "on" if caller.sees_all else "off",
            **settings,
        }.items():
            connection.execute("select set_config(%s, %s, true)", (name, value))
        connection.execute(f"set local role {APP_ROLE}")
        connection.add_notice_handler(note)
        connection.execute(str(statement.compile(dialect=_DIALECT)), dict(parameters), prepare=True).fetchall()
    return plans


def _steps(plan: Mapping[str, Any]) -> Iterator[Step]:
    yield Step(plan["Node Type"], plan.get("Index Name"), plan.get("Relation Name"), plan.get("Actual Rows", 0.0))
    for inner in plan.get("Plans", []):
        yield from _steps(inner)


def random_vectors(count: int, *, seed: int, centres: int = 40) -> Matrix:
    """Return unit vectors around some centres, as passages about some subjects are."""
    generator = np.random.default_rng(seed)
    middle = np.random.default_rng(99).normal(size=(centres, 384))
    rows = middle[generator.integers(centres, size=count)] + generator.normal(size=(count, 384)) * 0.9
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fill(
    owner_url: str, tenant: Tenant, vectors: Matrix, readers: Sequence[Sequence[str]], terms: Sequence[Sequence[int]]
) -> list[UUID]:
    """Store one document of one chunk for each vector, as ingestion leaves them, and return the chunks' ids."""
    count = len(vectors)
    ids, documents, versions = ([uuid7() for _ in range(count)] for _ in range(3))
    workspace, space = tenant.workspace_id, tenant.space.id
    labels = [list(one) for one in readers]
    graph = f"chunk_vectors_hnsw_{vectors.shape[1]}"
    with psycopg.connect(psycopg_url(owner_url)) as connection, connection.cursor() as cursor:
        # A graph that is built over all vectors at once is built several times as quickly as one that each is put into.
        definition = cursor.execute("select indexdef from pg_indexes where indexname = %s", (graph,)).fetchone()
        assert definition is not None
        cursor.execute(f"drop index {graph}")
        columns = "workspace_id, id, filename, size_bytes, sha256, status, chunks, access, readers, current_version_id"
        with cursor.copy(f"copy documents ({columns}) from stdin") as copy:
            for document, version, label in zip(documents, versions, labels, strict=True):
                copy.write_row((workspace, document, "a.txt", 1, "0", "ready", 1, "private", label, version))
        columns = (
            "workspace_id, id, document_id, version_id, space_id, readers, ordinal, start_offset, end_offset, tokens,"
        )
        with cursor.copy(f"copy chunks ({columns} sha256, text) from stdin") as copy:
            for one, document, version, label in zip(ids, documents, versions, labels, strict=True):
                copy.write_row((workspace, one, document, version, space, label, 0, 0, 9, 5, b"0", "a passage"))
        with cursor.copy(
            "copy chunk_vectors (workspace_id, chunk_id, document_id, space_id, readers, embedding, in_graph) from stdin"
        ) as copy:
            for one, document, label, vector in zip(ids, documents, labels, vectors, strict=True):
                literal = f"[{','.join(f'{x:.4g}' for x in vector)}]"
                copy.write_row((workspace, one, document, space, label, literal, True))
        columns = "workspace_id, chunk_id, document_id, space_id, readers, length, terms, frequencies, weights"
        with cursor.copy(f"copy chunk_terms ({columns}) from stdin") as copy:
            for one, document, label, words in zip(ids, documents, labels, terms, strict=True):
                weights = "{" + ",".join(f"{word}:1" for word in words) + "}/1000000000"
                ones = [1] * len(words)
                copy.write_row((workspace, one, document, space, label, len(words), list(words), ones, weights))
        cursor.execute("set local maintenance_work_mem = '256MB'")
        cursor.execute(definition[0].replace(" ON ONLY ", " ON "))  # its partitions, too
        cursor.execute(
            "insert into term_frequencies select workspace_id, space_id, unnest(terms), count(*) from chunk_terms"
            " where workspace_id = %s group by 1, 2, 3",
            (workspace,),
        )
        cursor.execute(
            "insert into index_statistics (workspace_id, space_id, chunks, terms, weights_length, version, graph)"
            " select workspace_id, space_id, count(*), sum(length), 1, 1, 'whole' from chunk_terms where workspace_id = %s group by 1, 2",
            (workspace,),
        )
    with psycopg.connect(psycopg_url(owner_url), autocommit=True) as connection:
        connection.execute("vacuum analyze chunk_vectors, chunk_terms, chunks, documents, reader_counts")
    return ids
