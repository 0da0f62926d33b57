"""Shims of embedding and reranking providers: they speak the documented request and answer forms over real HTTP on
loopback and are no models. Vectors are the fake embedder's, relevance the share of the question's words.

Written after the public API references of OpenAI (/embeddings), Ollama (/api/embed), Cohere (/v2/embed, /v2/rerank), Voyage
(/embeddings, /rerank), Jina (/rerank; vLLM and llama.cpp speak it, the latter with logits) and Text Embeddings Inference
(/rerank, which names no model). The model's name chooses how a shim misbehaves; for the last, the question does.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ragecho.engines.fakes import FakeEmbedder

DIMENSIONS = 64
TEI_BATCH = 32


@dataclass
class Shim:
    """A running server and what it was asked."""

    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    may_end: threading.Event = field(default_factory=threading.Event)


def vectors_of(texts: list[str]) -> list[list[float]]:
    return [[float(x) for x in row] for row in asyncio.run(FakeEmbedder(DIMENSIONS).embed_passages(texts))]


def relevance(question: str, text: str) -> float:
    words = set(question.lower().strip("?").split())
    return len(words & set(text.lower().strip(".").split())) / max(1, len(words))


def answer_of(path: str, body: dict[str, Any]) -> Any:
    if path.endswith("/rerank"):
        if path.startswith("/tei"):
            found = [{"index": i, "score": relevance(body["query"], text)} for i, text in enumerate(body["texts"])]
            return sorted(found, key=lambda entry: -entry["score"])
        scored = [
            {"index": index, "relevance_score": relevance(body["query"], text)}
            for index, text in enumerate(body["documents"])
        ]
        if body["model"] == "logits":
            for entry in scored:
                entry["relevance_score"] = 20 * entry["relevance_score"] - 15
        if body["model"] == "nan":
            scored[0]["relevance_score"] = float("nan")
        if body["model"] == "one-short":
            scored.pop()
        scored.sort(key=lambda entry: -entry["relevance_score"])
        return {"data" if path.startswith("/voyage") else "results": scored}
    texts = body.get("texts") or body["input"]
    vectors = vectors_of(texts)
    if body["model"] == "one-short":
        vectors = vectors[1:]
    if path == "/ollama/api/embed":
        return {"embeddings": vectors}
    if path == "/cohere/v2/embed":
        return {"embeddings": {"float": vectors}}
    # Backwards: the order is in `index`, not in the list.
    return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)][::-1]}


def refusal_of(model: str, number: int) -> tuple[int, dict[str, Any], dict[str, str]] | None:
    if model == "flaky" and number <= 2:
        return 503, {}, {}
    if model == "limited" and number == 1:
        return 429, {"error": {"code": "rate_limit_exceeded"}}, {"Retry-After": "0.01"}
    known: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
        "down": (500, {}, {}),
        "quota": (429, {"error": {"code": "insufficient_quota"}}, {}),
        "bad-key": (401, {"error": {"code": "invalid_api_key", "message": "Incorrect key secret-key"}}, {}),
        "refused": (422, {"error": {"message": "the secret text is too long"}}, {}),
    }
    return known.get(model)


@contextmanager
def provider_shim() -> Iterator[Shim]:
    """Run the shims of all providers on one port, each below its name."""
    shim, lock = Shim(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model = body.get("model", "tei")
            with lock:
                shim.calls[model] += 1
                number = shim.calls[model]
                shim.bodies.append(body)
                shim.keys.append(self.headers.get("Authorization"))
            if model == "hang":
                shim.may_end.wait()
            refused = refusal_of(model, number)
            if self.path.startswith("/tei") and len(body["texts"]) > TEI_BATCH:
                refused = 422, {"error": "batch size > maximum allowed batch size", "error_type": "Validation"}, {}
            status, answer, headers = refused or (200, answer_of(self.path, body), {})
            content = b"<html>" if model == "no-json" else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    shim.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield shim
    finally:
        shim.may_end.set()
        server.shutdown()
        thread.join()
        server.server_close()
