"""What ingestion costs beside the model: `python -m benchmarks.pipeline [--documents N]`.

The same small documents go into two workspaces of one organisation. The second time every embedding is known, so that
the rate is that of the pipeline itself: upload, blob, job, sandboxed parser, chunking, index, all durable and searchable.
"""

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.harness import Server, cpu_of_tree, eventually, scratch, serving, show, write_report
from benchmarks.texts import Texts, load_texts
from ragecho_sdk import Echo

WORDS = 150
POLL_SECONDS = 0.1


def small_documents(texts: Texts, count: int, seed: int = 5) -> list[tuple[str, bytes]]:
    """Return text files of one chunk each, no two alike."""
    rng = random.Random(seed)
    return [(f"note-{number}.txt", texts.mixed_passage(rng, WORDS).encode()) for number in range(count)]


def ingest(
    server: Server, key: str, documents: list[tuple[str, bytes]], *, clients: int, per_request: int
) -> tuple[float, float]:
    """Upload everything; return the seconds until the last was accepted and until the last was ready."""
    pieces = [documents[first : first + per_request] for first in range(0, len(documents), per_request)]
    started = time.perf_counter()
    with Echo(server.url, api_key=key) as echo, ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda piece: echo.upload(*piece), pieces))
        accepted = time.perf_counter() - started

        def is_done() -> bool:
            return echo.documents.list(status="ready", limit=1).total >= len(documents)

        eventually(is_done, seconds=3600, what="the end of ingestion", every_seconds=POLL_SECONDS)
        failed = echo.documents.list(status="failed", limit=1).total
        if failed:
            raise RuntimeError(f"{failed} documents failed")
    return accepted, time.perf_counter() - started


def measure(count: int) -> dict[str, Any]:
    """Return the rates with nothing known and with every embedding known."""
    texts = load_texts()
    documents = small_documents(texts, count)
    rows: list[dict[str, Any]] = []
    with scratch() as folder, serving(folder) as server:
        for name, per_request in (("first", 50), ("known", 50), ("known, one by one", 1)):
            workspace = name.replace(", ", "-").replace(" ", "-")
            server.ragecho("admin", "workspace", "create", workspace)
            key = server.key(workspace)
            before = cpu_of_tree(server.process.pid)
            accepted, seconds = ingest(server, key, documents, clients=4, per_request=per_request)
            used = {role: cpu - before.get(role, 0.0) for role, cpu in cpu_of_tree(server.process.pid).items()}
            rows.append(
                {
                    "embeddings": name,
                    "documents": count,
                    "accepted/s": round(count / accepted, 1),
                    "ready/s": round(count / seconds, 1),
                    **{f"{role} ms": round(cpu / count * 1e3, 1) for role, cpu in sorted(used.items())},
                }
            )
    return {"texts": texts.source, "rows": rows}


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1000)
    arguments = parser.parse_args()
    results = measure(arguments.documents)
    show(f"Small documents of texts from {results['texts']}; CPU milliseconds per document", results["rows"])
    write_report("pipeline", results)


if __name__ == "__main__":
    main()
