"""How long from the command to the first answer: `python -m benchmarks.startup [--rounds N]`.

Cold: an empty data directory, so that the database is made and migrated. Warm: the same directory started again with
documents in it. The weights are installed already; a first answer is a question answered over HTTP with citations.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import median, post_all, scratch, serving, show, spread, write_report
from benchmarks.ingest import ingest
from ragecho.evals.suites import SMOKE, load_suite


def measure(rounds: int) -> dict[str, Any]:
    """Return seconds to the ready line and to the first answer."""
    suite = load_suite(SMOKE, None)
    documents = [
        (f"{document.id}.md", f"# {document.title}\n\n{document.text}\n".encode()) for document in suite.documents
    ]
    cold: list[float] = []
    warm: list[float] = []
    answer: list[float] = []
    for number in range(rounds):
        with scratch() as folder:
            with serving(Path(folder)) as server:
                cold.append(server.ready_seconds)
                key = server.key()
                ingest(server, key, documents[:10])
            started = time.perf_counter()
            with serving(Path(folder)) as server:
                warm.append(server.ready_seconds)
                question = {"question": f"Which steps does the travel policy name for trip {number}?"}
                post_all(server.url, key, "/api/v1/ask", [question], clients=1)
                answer.append(time.perf_counter() - started)
    rows = [
        {"start": name, "seconds": round(median(values), 2), "spread": round(spread(values), 2), "rounds": rounds}
        for name, values in (
            ("cold: ready on an empty directory", cold),
            ("warm: ready", warm),
            ("warm: first question answered", answer),
        )
    ]
    return {"rows": rows}


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    results = measure(parser.parse_args().rounds)
    show("Start (median seconds)", results["rows"])
    write_report("startup", results)


if __name__ == "__main__":
    main()
