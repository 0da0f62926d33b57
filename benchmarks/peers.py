"""Echo beside other stacks in one run, on the same documents, questions, model and machine: `make bench-peers`.

Echo does hybrid search under permissions through its whole product path; LangChain and LlamaIndex with Chroma search
vectors only, txtai vectors and words, each behind FastAPI as its guide shows and none with permissions. Two
rounds: with the questions' vectors known to everybody (Echo has embedded them before; its cache of results is off), and
with questions that each embeds itself, by the same ONNX model.
"""

import argparse
import asyncio
import json
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.harness import Load, eventually, memory_of_tree, post_all, scratch, serving, show, write_report
from benchmarks.ingest import ingest
from benchmarks.texts import Texts, data_folder, load_texts
from ragecho.engines.models.catalogue import model_spec
from ragecho.engines.models.store import installed_folder
from ragecho.evals.suites import load_suite
from ragecho.platform.settings import Settings
from ragecho.wiring import build_embedder

ROOT = Path(__file__).resolve().parents[1]
PEERS_PYTHON = ROOT / ".tools/peers/bin/python"
PEERS = ("langchain", "llamaindex", "txtai")
SUITE = "xquad_en"
K = 10


@dataclass(frozen=True, slots=True)
class Material:
    """Documents (id, text), questions (text, the id of what answers it) and questions that nobody has seen."""

    documents: list[tuple[str, str]]
    questions: list[tuple[str, str]]
    fresh: list[str]


def material(texts: Texts, data: Path, *, documents: int, questions: int) -> Material:
    """Return paragraphs that questions are known for among others that make it harder."""
    rng, suite = random.Random(5), load_suite(SUITE, data)
    answering = [(one.id, f"{one.title}\n\n{one.text}".strip()) for one in suite.documents][:documents]
    known = {one for one, _ in answering}
    others = [(f"other-{n}", f"{title}\n\n{body}".strip()) for n, (title, body) in enumerate(texts.passages)]
    asked = [
        (question.text, found)
        for question in suite.judged
        for found in list(suite.relevant[question.id])[:1]
        if found in known
    ]
    rng.shuffle(asked)
    return Material(
        answering + others[: documents - len(answering)], asked[:questions], texts.fresh_questions(questions, rng)
    )


async def prepare(folder: Path, made: Material) -> None:
    """Write what the other stacks start from: texts and the vectors of Echo's own model."""
    embedder = build_embedder(Settings())
    spec = model_spec(embedder.model)
    vectors = [
        await embedder.embed_passages([text for _, text in made.documents[n : n + 50]])
        for n in range(0, len(made.documents), 50)
    ]
    asked = [text for text, _ in made.questions]
    np.save(folder / "vectors.npy", np.concatenate(vectors))
    np.save(folder / "question_vectors.npy", np.stack([await embedder.embed_query(text) for text in asked]))
    _write_lines(folder / "documents.jsonl", [{"id": one, "text": text} for one, text in made.documents])
    _write_lines(folder / "questions.jsonl", [{"text": text} for text in asked])
    weights = installed_folder(Settings().model_dir, spec)
    model = {
        "onnx": str(weights / spec.weights.name),
        "tokenizer": str(weights / "tokenizer.json"),
        "prefix": spec.query_prefix,
        "pooling": str(spec.pooling),
        "max_tokens": spec.max_tokens,
    }
    for given in (True, False):
        (folder / f"model-{given}.json").write_text(json.dumps(model | {"given": given}))


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@contextmanager
def peer(name: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Start one of the other stacks, wait until it has indexed everything, and yield its URL and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PEERS_PYTHON), str(Path(__file__).with_name("peer_servers.py")), name, str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with {process.returncode}")
        try:
            return httpx.get(f"{url}/ready", timeout=2).is_success
        except httpx.TransportError:
            return False

    try:
        eventually(is_ready, seconds=1800, what=f"the start of {name}", every_seconds=0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is asked."""

    name: str
    url: str
    path: str = "/search"
    key: str = "-"


def measured(
    target: Target, questions: Sequence[str], clients: Sequence[int]
) -> tuple[list[dict[str, Any]], Load | None]:
    """Return a row for each number of clients, and the last answers."""
    payloads = [{"query": question, "k": K} for question in questions]
    rows, load = [], None
    for number in clients:
        load = post_all(target.url, target.key, target.path, payloads, clients=number)
        rows.append({"stack": target.name, "clients": number, **load.summary()})
    return rows, load


def hits(load: Load | None, questions: Sequence[tuple[str, str]], identity: str) -> dict[str, float]:
    """Return in how many answers the right document is the first, and among the first five."""
    assert load is not None
    first = among = 0
    for body, (_, wanted) in zip(load.bodies, questions, strict=True):
        found = list(dict.fromkeys(str(one[identity]).removesuffix(".md") for one in json.loads(body)["results"]))
        first += found[:1] == [wanted]
        among += wanted in found[:5]
    return {"hit@1": round(first / len(questions), 4), "hit@5": round(among / len(questions), 4)}


def run_echo(folder: Path, made: Material, clients: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Return Echo's rows by round."""
    with serving(folder / "echo", RAGECHO_CACHE_MB="0") as server:
        key = server.key()
        ingest(server, key, [(f"{one}.md", text.encode()) for one, text in made.documents])
        asked = [text for text, _ in made.questions]
        target = Target("Echo (hybrid, permissions)", server.url, "/api/v1/search", key)
        measured(target, asked, (4,))  # every question has been embedded now
        known, load = measured(target, asked, clients)
        found = hits(load, made.questions, "filename")
        memory = memory_of_tree(server.process.pid)["total"]
        fresh: list[dict[str, Any]] = []
        # Each question once: what was embedded before would come from the cache.
        for place, number in enumerate(clients):
            share = made.fresh[place :: len(clients)]
            rows, _ = measured(target, share, (number,))
            fresh += rows
    return {"known": [row | found | {"memory_mb": memory} for row in known], "fresh": fresh}


def run_peer(name: str, folder: Path, made: Material, clients: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Return another stack's rows by round."""
    found: dict[str, list[dict[str, Any]]] = {}
    asked = [text for text, _ in made.questions]
    for label, given in (("known", True), ("fresh", False)):
        own = folder / f"{name}-{label}"
        own.mkdir()
        for file in folder.glob("*.*"):
            (own / file.name).symlink_to(file)
        (own / "model.json").symlink_to(folder / f"model-{given}.json")
        started = time.perf_counter()
        with peer(name, own) as (url, pid):
            seconds = time.perf_counter() - started
            target = Target(name, url)
            measured(target, asked[:20] if given else made.fresh[:5], (2,))
            rows, load = measured(target, asked if given else made.fresh, clients)
            extra = hits(load, made.questions, "id") | {"memory_mb": memory_of_tree(pid)["total"]} if given else {}
        found[label] = [row | extra | {"ready_seconds": round(seconds, 1)} for row in rows]
    return found


def measure(names: Sequence[str], *, documents: int, questions: int, clients: Sequence[int]) -> dict[str, Any]:
    """Return the rows of every stack."""
    texts = load_texts()
    made = material(texts, data_folder(), documents=documents, questions=questions)
    rounds: dict[str, list[dict[str, Any]]] = {"known": [], "fresh": []}
    with scratch() as folder:
        asyncio.run(prepare(folder, made))
        for name in ("echo", *names):
            found = run_echo(folder, made, clients) if name == "echo" else run_peer(name, folder, made, clients)
            for label, rows in found.items():
                rounds[label] += rows
    return {"documents": len(made.documents), "questions": len(made.questions), "suite": SUITE, "rounds": rounds}


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--clients", default="1,4,8", help="comma separated")
    parser.add_argument("--stacks", default=",".join(PEERS), help=f"of {', '.join(PEERS)}")
    arguments = parser.parse_args()
    if not PEERS_PYTHON.exists():
        parser.error("the other stacks are not installed; `make bench-peers` does it")
    clients = [int(one) for one in arguments.clients.split(",")]
    results = measure(
        [one for one in arguments.stacks.split(",") if one],
        documents=arguments.documents,
        questions=arguments.questions,
        clients=clients,
    )
    about = f"{results['documents']} documents, {results['questions']} questions"
    show(f"The questions' vectors known to everybody ({about})", results["rounds"]["known"])
    show("Questions that each embeds itself, by the same model", results["rounds"]["fresh"])
    write_report("peers", results)


if __name__ == "__main__":
    main()
