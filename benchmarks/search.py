"""How fast and how exact search is over HTTP: `python -m benchmarks.search [--sizes 10000,100000]`.

Workspaces are filled through the library with prepared vectors, then a real `ragecho serve` is asked questions that no
cache has seen. Recall compares the vector side's first ten with an exact scan in this process. The graph of a large
workspace is taken down before it is filled, and built at once afterwards. Searches are measured once the index is in
memory; `RAGECHO_RESIDENT_INDEX_MB=0` measures those of the database alone.

Every workspace also has documents that carry further labels: a tenth of them, a hundredth, a thousandth. Callers who may
read only those search through the library itself: recall and time where little is readable.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg

from benchmarks.harness import Load, Server, memory_of_tree, percentile, post_all, scratch, serving, show, write_report
from benchmarks.prepared_vectors import Matrix, embed_sentences, prepared
from benchmarks.texts import Texts, load_texts
from ragecho.engines.models.batching import usable_threads
from ragecho.engines.providers.registry import EmbedderRegistry
from ragecho.kernel.caller import WORKSPACE_PRINCIPAL, Access, Caller
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId, uuid7
from ragecho.library import analysis, store_chunks, store_uploads
from ragecho.library.model import IndexedChunk, IndexedVersion, Version
from ragecho.library.residency import SEARCHES_BEFORE_READING
from ragecho.library.search import PassageSearch, SearchMode, vector_literal
from ragecho.platform.database import Database
from ragecho.platform.embedded import running_server
from ragecho.platform.settings import Settings
from ragecho.tenancy import service as tenancy
from ragecho.wiring import build_embedder, build_resident_indexes, space_of

BUILT_AT_ONCE = 300_000
CHUNKS_PER_DOCUMENT = 50
DOCUMENTS_PER_TRANSACTION = 10
RERANKED = 40
SHARES = {"group:tenth": 0.1, "group:hundredth": 0.01, "group:thousandth": 0.001}
PATH = "/api/v1/search"
READING_SECONDS = 120
WARMED_BY = 30


@dataclass(frozen=True, slots=True)
class Filled:
    """A workspace as it was filled."""

    slug: str
    caller: Caller
    chunk_ids: list[str]
    vectors: Matrix
    readers: list[tuple[str, ...]]
    chunks_per_second: float
    build_seconds: float | None


async def embed_questions(questions: list[str]) -> Matrix:
    """Return the questions' own vectors."""
    embedder = build_embedder(Settings())
    return np.stack([await embedder.embed_query(question) for question in questions])


async def fill(url: str, texts: Texts, pool: Matrix, size: int, *, slug: str | None = None) -> Filled:
    """Make a workspace of `size` chunks in the server's own database, written as ingestion writes them."""
    database = Database(url, pool_size=2, application_name="benchmark")
    administrator = tenancy.local_administrator()
    slug, space = slug or f"bench-{size}", space_of(Settings())
    async with database.transaction(administrator) as session:
        workspace = await tenancy.create_workspace(
            administrator, session, slug=slug, name=slug, description="", space=space
        )
    caller = Caller.worker(workspace.organization_id, workspace.id)
    vectors, rng = prepared(pool, size), random.Random(size)
    definition = take_down_graph(url) if size >= BUILT_AT_ONCE else None
    started = time.perf_counter()
    ids = analysis.TermIds(workspace.id)
    chunk_ids: list[str] = []
    readers: list[tuple[str, ...]] = []
    while len(chunk_ids) < size:
        async with database.transaction(caller) as session:
            await store_chunks.lock_index(session, caller)
            for _ in range(DOCUMENTS_PER_TRANSACTION):
                first = len(chunk_ids)
                rows = [
                    _row(ids, ordinal, texts.mixed_passage(rng), vector)
                    for ordinal, vector in enumerate(vectors[first : first + CHUNKS_PER_DOCUMENT])
                ]
                if rows:
                    labels = _labels(rng, is_first=not readers)
                    await _insert(session, caller, space.id, rows, name=f"document-{first}.md", readers=labels)
                    readers += [labels] * len(rows)
                    chunk_ids += [str(row.id) for row in rows]
    await database.close()
    speed = size / (time.perf_counter() - started)
    build_seconds = None if definition is None else build_graph(url, definition)
    return Filled(slug, caller, chunk_ids, vectors, readers, speed, build_seconds)


def take_down_graph(url: str) -> str:
    """Drop the graph and return the statement that makes it."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("select pg_get_indexdef('chunk_vectors_hnsw_384'::regclass)").fetchone()
        connection.execute("drop index chunk_vectors_hnsw_384")
    assert row is not None
    # Asked for a partitioned index, PostgreSQL answers with a statement for the parent alone.
    return str(row[0]).replace(" ON ONLY ", " ON ")


def build_graph(url: str, definition: str) -> float:
    """Build the graph with the memory it needs (it is several times slower once that is used up); return the seconds."""
    started = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set maintenance_work_mem = '4GB'")
        connection.execute(definition)
    return round(time.perf_counter() - started, 1)


def _labels(rng: random.Random, *, is_first: bool) -> tuple[str, ...]:
    """Return whom a document is for; every label is on one document at least."""
    return (WORKSPACE_PRINCIPAL, *(name for name, share in SHARES.items() if is_first or rng.random() < share))


def _row(ids: analysis.TermIds, ordinal: int, text: str, vector: Matrix) -> IndexedChunk:
    terms = ids.of(analysis.terms_of(text))
    distinct, frequencies = analysis.count(terms)
    return IndexedChunk(
        id=ChunkId(uuid7()),
        ordinal=ordinal,
        start=ordinal * 1000,
        end=ordinal * 1000 + len(text),
        page=None,
        heading_path=(),
        tokens=len(terms) * 2,
        sha256=uuid7().bytes * 2,
        text=text,
        embedding=vector_literal(vector),
        length=len(terms),
        terms=distinct,
        frequencies=frequencies,
    )


async def _insert(
    session: Any, caller: Caller, space_id: Any, rows: list[IndexedChunk], *, name: str, readers: tuple[str, ...]
) -> None:
    version = Version(VersionId(uuid7()), DocumentId(uuid7()), 1, name, "text/markdown", 1, uuid7().hex * 2)
    await store_uploads.insert_documents(
        session,
        caller,
        [version],
        tags=[],
        metadata={},
        access=Access.WORKSPACE,
        owner_id=None,
        readers=list(readers),
    )
    indexed = IndexedVersion(version.document_id, version.id, readers, tuple(rows))
    await store_chunks.insert_versions(session, caller, space_id=space_id, versions=[indexed])
    await store_chunks.finish_versions(session, caller, [indexed])


def analyze(url: str) -> None:
    """Bring the planner's statistics up to date, as autovacuum does a minute after a large ingest."""

    async def run() -> None:
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import create_async_engine

        from ragecho.platform.database.engine import driver_url

        engine = create_async_engine(driver_url(url), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text("vacuum analyze"))
        await engine.dispose()

    asyncio.run(run())


def ask(
    server: Server, key: str, questions: list[str], *, clients: int, mode: str = "hybrid", rerank: bool = False
) -> Load:
    """Search for every question, ten passages each."""
    payloads = [{"query": question, "k": 10, "mode": mode, "rerank": rerank} for question in questions]
    return post_all(server.url, key, PATH, payloads, clients=clients)


def warm(server: Server, key: str, texts: Texts, rng: random.Random) -> bool:
    """Ask until the index is in memory, which a large one is some time after the third search; False when it never is."""
    before, deadline = _hits_of_indexes(server), time.monotonic() + READING_SECONDS
    while True:
        ask(server, key, texts.fresh_questions(WARMED_BY, rng), clients=2)
        if _hits_of_indexes(server) >= before + WARMED_BY:
            return True
        if time.monotonic() > deadline:
            return False
        before = _hits_of_indexes(server)
        time.sleep(2)


def _hits_of_indexes(server: Server) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(
        float(line.rsplit(maxsplit=1)[1])
        for line in lines
        if line.startswith("ragecho_cache_lookups_total") and 'cache="index"' in line and 'outcome="hit"' in line
    )


def recall_at_10(load: Load, questions: Matrix, filled: Filled) -> float:
    """Return the share of the exact ten nearest chunks that the answers hold."""
    hits = 0
    for body, question in zip(load.bodies, questions, strict=True):
        nearest = np.argpartition(-(filled.vectors @ question), 10)[:10]
        wanted = {filled.chunk_ids[index] for index in nearest}
        hits += len(wanted & {passage["chunk_id"] for passage in json.loads(body)["results"]})
    return hits / (10 * len(questions))


async def selective(url: str, filled: Filled, questions: list[str]) -> list[dict[str, Any]]:
    """Return recall against an exact scan, and time without HTTP, for callers who may read a part."""
    settings = Settings()
    database, embedder = Database(url, pool_size=1, application_name="benchmark"), build_embedder(settings)
    vectors = [await embedder.embed_query(question) for question in questions]
    rows = []
    for where in ("memory", "database"):
        resident = build_resident_indexes(database) if where == "memory" else None
        search = PassageSearch(database, EmbedderRegistry(settings.model_dir), resident=resident)
        if resident is not None:
            for question in questions[: SEARCHES_BEFORE_READING + 1]:
                await search.search(filled.caller, query=question, k=10, mode=SearchMode.LEXICAL)
            await resident.settled()
        for label in SHARES:
            row = await _selective(search, filled, label, questions, vectors)
            rows.append({"chunks": len(filled.chunk_ids), "found in": where} | row)
            print(rows[-1], file=sys.stderr)
        await search.close()
    await database.close()
    return rows


async def _selective(
    search: PassageSearch, filled: Filled, label: str, questions: list[str], vectors: list[Matrix]
) -> dict[str, Any]:
    caller = replace(filled.caller, sees_all=False, principals=(label,))
    places = [place for place, labels in enumerate(filled.readers) if label in labels]
    readable, hits, wanted, times = filled.vectors[places], 0, 0, []
    for mode in (SearchMode.VECTOR, SearchMode.HYBRID):
        for question, vector in zip(questions, vectors, strict=True):
            started = time.perf_counter()
            found = await search.search(caller, query=question, k=10, mode=mode)
            times.append((time.perf_counter() - started) * 1e3)
            if mode is SearchMode.VECTOR:
                nearest = np.argsort(-(readable @ vector))[:10]
                exact = {filled.chunk_ids[places[index]] for index in nearest}
                hits += len(exact & {str(passage.chunk_id) for passage in found.passages})
                wanted += len(exact)
    return {
        "readable": len(places),
        "vector_p50_ms": round(percentile(times[: len(questions)], 50), 2),
        "hybrid_p50_ms": round(percentile(times[len(questions) :], 50), 2),
        "hybrid_p95_ms": round(percentile(times[len(questions) :], 95), 2),
        "recall@10": round(hits / wanted, 4),
    }


def sizes_mb(url: str) -> dict[str, float]:
    """Return what the index takes on disk: tables of pieces, the graph, the postings, the labels."""
    kinds = {
        "tables": "c.relkind = 'r'",
        "graph": "c.relname like '%embedding_idx'",
        "postings": "c.relname like '%terms_idx'",
        "labels": "c.relname like '%reader_keys_idx'",
    }
    with psycopg.connect(url) as connection:
        found = {}
        for name, condition in kinds.items():
            row = connection.execute(
                "select coalesce(sum(pg_total_relation_size(c.oid)), 0) from pg_class c"
                f" where c.relname ~ '^chunk(s|_vectors|_terms)_p[0-9]+' and {condition}"
                if name == "tables"
                else "select coalesce(sum(pg_relation_size(c.oid)), 0) from pg_class c"
                f" where c.relname ~ '^chunk(s|_vectors|_terms)_p[0-9]+' and {condition}"
            ).fetchone()
            found[f"{name}_mb"] = round(float(row[0]) / 1e6, 1) if row else 0.0
    return found


def measure(sizes: list[int], requests: int, clients: list[int], *, with_rerank: bool) -> dict[str, Any]:
    """Return latencies, recall, sizes and memory for every number of chunks."""
    texts, rng = load_texts(), random.Random(7)
    pool = asyncio.run(embed_sentences(texts))
    rows: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    disk: list[dict[str, Any]] = []
    with scratch() as folder, serving(Path(folder)) as server:
        address = running_server(folder)
        assert address is not None
        for size in sizes:
            filled = asyncio.run(fill(address.owner_url, texts, pool, size))
            analyze(address.owner_url)
            key = server.key(filled.slug, "read")
            is_held = warm(server, key, texts, rng)
            runs = [("hybrid", number, False) for number in clients] + [("vector", 1, False), ("lexical", 1, False)]
            for mode, number, rerank in runs + ([("hybrid", 1, True)] if with_rerank else []):
                questions = texts.fresh_questions(RERANKED if rerank else requests, rng)
                load = ask(server, key, questions, clients=number, mode=mode, rerank=rerank)
                name = f"{mode}, reranked" if rerank else mode
                row = {
                    "chunks": size,
                    "in memory": is_held,
                    "mode": name,
                    "clients": number,
                    **load.summary(),
                    "recall@10": None,
                }
                if mode == "vector":
                    vectors = asyncio.run(embed_questions(questions))
                    row["recall@10"] = round(recall_at_10(load, vectors, filled), 4)
                rows.append(row)
                print(row, file=sys.stderr)  # what was measured is not lost when a later part fails
            parts += asyncio.run(selective(address.owner_url, filled, texts.fresh_questions(50, rng)))
            memory = memory_of_tree(server.process.pid)["total"]
            speed = {
                "filled_chunks_per_second": round(filled.chunks_per_second),
                "graph_build_seconds": filled.build_seconds,
                "server_memory_mb": memory,
            }
            disk.append(
                {"chunks_in_all": size + sum(row["chunks_added"] for row in disk), "chunks_added": size}
                | speed
                | sizes_mb(address.owner_url)
            )
    return {"texts": texts.source, "threads": usable_threads(0), "rows": rows, "selective": parts, "disk": disk}


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000", help="chunks in a workspace, comma separated")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--clients", default="1,8", help="comma separated; 1,2,4,8,16,32 for a curve")
    parser.add_argument("--rerank", action="store_true", help="also with the reranker")
    arguments = parser.parse_args()
    results = measure(
        [int(size) for size in arguments.sizes.split(",")],
        arguments.requests,
        [int(number) for number in arguments.clients.split(",")],
        with_rerank=arguments.rerank,
    )
    show(f"Search over HTTP (texts from {results['texts']}; the question's embedding included)", results["rows"])
    show("Where little is readable (through the library, the question's embedding known)", results["selective"])
    show("On disk and in memory", results["disk"])
    write_report("search", results)


if __name__ == "__main__":
    main()
