"""How fast documents become searchable over HTTP: `python -m benchmarks.ingest [--documents N]`.

A real `ragecho serve` is fed by the SDK. Its rate is compared with that of the bare model (`benchmarks.embedding`) on
the same chunk texts in the same run: what is missing to 1 is all that parsing, chunking, the database and the HTTP edge
cost beside the model, and what the cores were idle. The CPU time per chunk tells the two apart.
"""

import argparse
import asyncio
import random
import time
from typing import Any

from benchmarks.embedding import raw_passages_per_second
from benchmarks.harness import Server, cpu_of_tree, eventually, median, scratch, serving, show, spread, write_report
from benchmarks.texts import Texts, load_texts
from ragecho.engines.models.catalogue import Role, model_spec
from ragecho.platform.settings import Settings
from ragecho_sdk import Echo

SECTIONS = 4
PER_REQUEST = 50
POLL_SECONDS = 0.2


def make_documents(texts: Texts, count: int, seed: int = 1) -> list[tuple[str, bytes]]:
    """Return Markdown files with a title and four sections each, about two pages long, no two alike."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        parts = [f"# Report {number}: {rng.choice(texts.passages)[0] or 'notes'}"]
        for section in range(SECTIONS):
            title, body = rng.choice(texts.passages)
            parts.append(f"## {section + 1}. {title or 'Section'}\n\n{body}\n\n{texts.mixed_passage(rng, 60)}.")
        made.append((f"report-{number}.md", "\n\n".join(parts).encode()))
    return made


def ingest(server: Server, key: str, documents: list[tuple[str, bytes]], *, within_seconds: float = 3600) -> float:
    """Upload all documents and return the seconds until the last one is ready. Raises when one fails."""
    with Echo(server.url, api_key=key) as echo:
        before = echo.documents.list(status="ready", limit=1).total
        started = time.perf_counter()
        for first in range(0, len(documents), PER_REQUEST):
            echo.upload(*documents[first : first + PER_REQUEST])

        def is_done() -> bool:
            if failed := echo.documents.list(status="failed", limit=1).items:
                raise RuntimeError(f"{failed[0].filename} failed: {failed[0].error}")
            return echo.documents.list(status="ready", limit=1).total >= before + len(documents)

        eventually(is_done, seconds=within_seconds, what="the end of ingestion", every_seconds=POLL_SECONDS)
        return time.perf_counter() - started


def embedded_texts(server: Server, key: str) -> list[str]:
    """Return what was embedded for every chunk of the workspace: its text behind the document's title and headings."""
    found: list[str] = []
    with Echo(server.url, api_key=key) as echo:
        for document in echo.documents.iterate():
            for chunk in echo.documents.chunks(document.id, limit=100).items:
                path = [*chunk.heading_path]
                if document.title and document.title not in path[:1]:
                    path.insert(0, document.title)
                found.append(f"{' > '.join(path)}\n\n{chunk.text}")
    return found


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Return the rates of the product and of the bare model, measured in turns so that both see the same machine."""
    texts = load_texts()
    spec = model_spec(Settings().embedder, Role.EMBEDDER)
    rows: list[dict[str, Any]] = []
    cpu_rows: list[dict[str, Any]] = []
    for number in range(rounds):
        documents = make_documents(texts, count, seed=number)
        with scratch() as folder, serving(folder) as server:
            key = server.key()
            ingest(server, key, make_documents(texts, 2, seed=1000 + number))  # the model is loaded at first use
            warm = len(embedded_texts(server, key))
            before = cpu_of_tree(server.process.pid)
            seconds = ingest(server, key, documents)
            used = {role: cpu - before.get(role, 0.0) for role, cpu in cpu_of_tree(server.process.pid).items()}
            chunks = embedded_texts(server, key)
        made = len(chunks) - warm
        started_cpu = time.process_time()
        raw = asyncio.run(raw_passages_per_second(spec, chunks))
        raw_cpu = (time.process_time() - started_cpu) / len(chunks)
        rows.append(
            {
                "round": number + 1,
                "documents": count,
                "chunks": made,
                "seconds": round(seconds, 1),
                "documents/s": round(count / seconds, 2),
                "chunks/s": round(made / seconds, 1),
                "bare model chunks/s": round(raw, 1),
                "share": round(made / seconds / raw, 3),
            }
        )
        roles = {role: round(cpu / made * 1e3, 1) for role, cpu in sorted(used.items())}
        cpu_rows.append({"round": number + 1, **roles, "bare model": round(raw_cpu * 1e3, 1)})
        # Unlike the share of the rate, this one holds on a machine that does other work meanwhile.
        rows[-1]["share of CPU"] = round(raw_cpu * made / sum(used.values()), 3)
    shares = [row["share"] for row in rows]
    return {
        "texts": texts.source,
        "rounds": rows,
        "cpu_ms_per_chunk": cpu_rows,
        "share": median(shares),
        "spread": round(spread(shares), 3),
    }


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    results = measure(arguments.documents, arguments.rounds)
    show(f"Ingestion of texts from {results['texts']} (share: of the bare model's own rate)", results["rounds"])
    show("CPU milliseconds per chunk, by process", results["cpu_ms_per_chunk"])
    write_report("ingest", results)


if __name__ == "__main__":
    main()
