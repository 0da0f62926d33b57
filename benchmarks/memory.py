"""How much memory the whole process tree takes, idle and at work: `python -m benchmarks.memory`.

Proportional set size, summed over all processes, the database's shared buffers counted once.
"""

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.harness import MemoryWatch, memory_of_tree, post_all, scratch, serving, show, write_report
from benchmarks.ingest import ingest, make_documents
from benchmarks.texts import load_texts

SETTLE_SECONDS = 5.0


def measure(documents: int, questions: int) -> dict[str, Any]:
    """Return MB per role: idle, at the peak of ingesting and asking together, and afterwards."""
    texts, rng = load_texts(), random.Random(11)
    rows: list[dict[str, Any]] = []
    with scratch() as folder, serving(folder) as server:
        key = server.key()
        time.sleep(SETTLE_SECONDS)
        rows.append({"when": "idle, just started", **memory_of_tree(server.process.pid)})
        # Something to find first: a question without passages never reaches the reranker.
        ingest(server, key, make_documents(texts, 5, seed=2))
        asked = [{"question": question} for question in texts.fresh_questions(questions, rng)]
        with MemoryWatch(server.process.pid) as watch, ThreadPoolExecutor(1) as pool:
            asking = pool.submit(post_all, server.url, key, "/api/v1/ask", asked, clients=4)
            ingest(server, key, make_documents(texts, documents))
            asking.result()
        rows.append({"when": f"peak: {documents} documents, 4 askers", **watch.peak})
        time.sleep(SETTLE_SECONDS)
        rows.append({"when": "idle, after work", **memory_of_tree(server.process.pid)})
    roles = dict.fromkeys(role for row in rows for role in row)
    return {"unit": "MB, proportional set size", "rows": [{role: row.get(role) for role in roles} for row in rows]}


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--questions", type=int, default=60)
    arguments = parser.parse_args()
    results = measure(arguments.documents, arguments.questions)
    show("Memory of the process tree (MB)", results["rows"])
    write_report("memory", results)


if __name__ == "__main__":
    main()
