"""A large tenant and many small ones that are searched at the same time: `python -m benchmarks.tenants [--small 20]`.

What a small one waits for beside a large one, and whether many workspaces cost more than one. Workspaces are filled as in
`benchmarks.search`; every question is fresh. In the mix half of the questions go to the large workspace, the others to
the small ones, some of which are asked far more often than others (by 1, 1/2, 1/3, …).
"""

import argparse
import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Load, memory_of_tree, post_all, scratch, serving, show, write_report
from benchmarks.prepared_vectors import embed_sentences
from benchmarks.search import PATH, analyze, fill
from benchmarks.texts import Texts, load_texts
from ragecho.platform.embedded import running_server

WARMING = 6  # an index is taken into memory after its third search


def asked(texts: Texts, rng: random.Random, number: int) -> list[dict[str, Any]]:
    """Return bodies of searches that no cache has seen."""
    return [{"query": question, "k": 10} for question in texts.fresh_questions(number, rng)]


def row(name: str, load: Load, chosen: list[bool] | None = None) -> dict[str, Any]:
    """Return the numbers of those requests that are `chosen`."""
    times = [time for place, time in enumerate(load.latencies_ms) if chosen is None or chosen[place]]
    return {"asked": name, **replace(load, latencies_ms=times).summary()}


def measure(*, small: int, chunks: int, large: int, requests: int, clients: int) -> dict[str, Any]:
    """Return the rows: each kind alone, then mixed."""
    texts, rng = load_texts(), random.Random(9)
    pool = asyncio.run(embed_sentences(texts))
    with scratch() as folder, serving(Path(folder)) as server:
        address = running_server(folder)
        assert address is not None
        filled = [asyncio.run(fill(address.owner_url, texts, pool, large, slug="large"))]
        filled += [
            asyncio.run(fill(address.owner_url, texts, pool, chunks, slug=f"small-{number}")) for number in range(small)
        ]
        analyze(address.owner_url)
        keys = [server.key(one.slug, "read") for one in filled]
        for key in keys:
            post_all(server.url, key, PATH, asked(texts, rng, WARMING), clients=1)

        def run(names: list[str]) -> Load:
            return post_all(server.url, names, PATH, asked(texts, rng, len(names)), clients=clients)

        weights = [1 / (place + 1) for place in range(small)]
        mixed = [rng.choice([keys[0], *rng.choices(keys[1:], weights)]) for _ in range(2 * requests)]
        rows = [row("the large one alone", run([keys[0]] * requests))]
        rows.append(row("one small one alone", run([keys[1]] * requests)))
        rows.append(row("all small ones", run(rng.choices(keys[1:], weights, k=requests))))
        load = run(mixed)
        rows.append(row("mixed: the large one", load, [key == keys[0] for key in mixed]))
        rows.append(row("mixed: small ones", load, [key != keys[0] for key in mixed]))
        memory = memory_of_tree(server.process.pid)["total"]
    return {"small": small, "chunks": chunks, "large": large, "clients": clients, "memory_mb": memory, "rows": rows}


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=20, help="how many small workspaces")
    parser.add_argument("--chunks", type=int, default=1000, help="chunks in each")
    parser.add_argument("--large", type=int, default=50_000, help="chunks in the large one")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    results = measure(**vars(arguments))
    show(
        f"{arguments.small} workspaces of {arguments.chunks} chunks and one of {arguments.large},"
        f" {arguments.clients} clients; {results['memory_mb']} MB in all",
        results["rows"],
    )
    write_report("tenants", results)


if __name__ == "__main__":
    main()
