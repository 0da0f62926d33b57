"""A contract double: an HTTP server on loopback that plays answers shaped as the contract says. It is not Echo.

It exists so that the client and the command line are tested over real HTTP without database and models; what the real
server does is tested in tests/e2e.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

KEY = "ek_double"
ANSWER = {
    "id": "01900000-0000-7000-8000-0000000000a1",
    "answer": "Staff have 30 days of leave [1].",
    "citations": [
        {
            "n": 1,
            "document_id": "doc-1",
            "filename": "handbook.pdf",
            "page": 4,
            "start": 100,
            "end": 129,
            "quote": "Every employee has 30 days of leave.",
            "verified": True,
        }
    ],
    "refused": False,
    "refusal_reason": None,
    "confidence": 0.91,
    "model": "extractive",
    "usage": {"input_tokens": 0, "output_tokens": 0},
    "cost_usd": 0.0,
    "timings_ms": {"retrieve": 12.5, "total": 31.0},
    "cached": False,
    "a_field_of_the_future": 1,
}
REFUSAL = {
    **ANSWER,
    "answer": "The documents do not answer this.",
    "citations": [],
    "refused": True,
    "refusal_reason": "no_evidence",
}
HIT = {
    "document_id": "doc-1",
    "filename": "handbook.pdf",
    "title": "Handbook",
    "page": 4,
    "start": 100,
    "end": 129,
    "text": "Every employee has 30 days of leave.",
    "score": 0.87,
    "scores": {"vector": 0.9, "lexical": 3.2},
    "chunk_id": "chunk-1",
    "heading_path": ["Leave"],
    "matched": [{"start": 104, "end": 110}],
    "duplicates": [{"document_id": "doc-9", "filename": "copy.pdf", "chunk_id": "chunk-9"}],
}
FOUND = {
    "results": [HIT],
    "timings_ms": {"total": 3.0},
    "corrected": {"laeve": "leave"},
    "exact": [{"text": "HR-4012", "found": False}],
    "scope": None,
}


@dataclass
class ContractDouble:
    """What the double was asked, what it holds, and what it is told to answer next."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    workspaces: list[dict[str, Any]] = field(default_factory=list)
    # Responses to give, once each, before the ordinary answer to "METHOD path".
    scripted: dict[str, list[Callable[[], Response]]] = field(default_factory=dict)
    reads_before_ready: int = 1
    max_file_bytes: int = 10_000
    answer: dict[str, Any] = field(default_factory=lambda: dict(ANSWER))
    events: list[tuple[str, Any]] | None = None

    def script(self, route: str, *responses: Callable[[], Response]) -> None:
        self.scripted.setdefault(route, []).extend(responses)

    def paths(self, method: str) -> list[str]:
        return [path for asked, path, _, _ in self.requests if asked == method]

    def bodies(self, path: str) -> list[Any]:
        return [json.loads(body) for _, asked, _, body in self.requests if asked == path and body]

    def add_document(self, filename: str, **fields: Any) -> dict[str, Any]:
        document_id = f"doc-{len(self.documents) + 1}"
        document = {
            "id": document_id,
            "filename": filename,
            "title": None,
            "content_type": "text/plain",
            "size_bytes": 2048,
            "sha256": "0" * 64,
            "status": "queued",
            "error": None,
            "progress": 0.0,
            "pages": None,
            "chunks": 0,
            "tags": [],
            "metadata": {},
            "access": "workspace",
            "version": 1,
            "created_at": "2026-11-21T04:00:00Z",
            "updated_at": "2026-11-21T04:00:00Z",
            "text": "",
            "reads": 0,
            **fields,
        }
        self.documents[document_id] = document
        return document


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None, **facts: Any) -> Response:
    body = {"type": f"urn:ragecho:problem:{code}", "title": "T", "status": status, "detail": detail, "code": code}
    all_headers = {"X-Request-ID": "req-1", **(headers or {})}
    return JSONResponse({**body, **facts}, status, all_headers, media_type="application/problem+json")


def listed(items: list[Any], request: Request) -> Response:
    limit, offset = int(request.query_params.get("limit", 50)), int(request.query_params.get("offset", 0))
    page = items[offset : offset + limit]
    return JSONResponse({"items": page, "total": len(items), "limit": limit, "offset": offset})


def build_double(double: ContractDouble) -> Starlette:  # noqa: PLR0915 - one list of routes over one state
    async def upload(request: Request) -> Response:
        accepted = []
        async with request.form() as form:
            files = [(file, await file.read()) for file in form.getlist("files")]
            # All of them or none.
            if any(len(content) > double.max_file_bytes for _, content in files):
                return problem(413, "too_large", f"A file has at most {double.max_file_bytes} bytes.")
            for file, content in files:
                text = content.decode("utf-8", "replace")
                same = next((d for d in double.documents.values() if d["text"] == text), None)
                document = same or double.add_document(
                    file.filename, text=text, tags=form.getlist("tags"), access=form.get("access", "workspace")
                )
                job_id = None if same else f"job-{document['id']}"
                accepted.append(
                    {
                        "id": document["id"],
                        "filename": file.filename,
                        "status": document["status"],
                        "job_id": job_id,
                        "duplicate_of": document["id"] if same else None,
                    }
                )
        return JSONResponse({"documents": accepted}, 202)

    async def list_documents(request: Request) -> Response:
        wanted = {name: request.query_params[name] for name in ("status", "access") if name in request.query_params}
        items = [d for d in double.documents.values() if all(d[name] == value for name, value in wanted.items())]
        return listed(items[::-1], request)

    async def document(request: Request) -> Response:
        found = double.documents.get(request.path_params["id"])
        if found is None:
            return problem(404, "not_found", "There is no such document.")
        if request.method == "DELETE":
            del double.documents[found["id"]]
            return Response(status_code=204)
        if request.method == "PATCH":
            found.update(await request.json())
        found["reads"] += 1
        if found["status"] in {"queued", "processing"}:
            _process(found, double.reads_before_ready)
        return JSONResponse({name: value for name, value in found.items() if name not in {"text", "reads"}})

    async def text(request: Request) -> Response:
        return PlainTextResponse(double.documents[request.path_params["id"]]["text"])

    async def chunks(request: Request) -> Response:
        chunk = {"id": "c1", "ordinal": 0, "start": 0, "end": 4, "page": None, "heading_path": [], "text": "abcd"}
        return listed([chunk], request)

    async def stream(request: Request) -> Response:
        events = double.events or [
            ("status", {"stage": "retrieve"}),
            ("token", {"text": "Staff have 30 days "}),
            ("token", {"text": "of leave\u2028[1]."}),
            ("citation", ANSWER["citations"][0]),
            ("answer", double.answer),
            ("done", {}),
        ]
        lines = [f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n" for name, data in events]
        return StreamingResponse(iter(lines), media_type="text/event-stream")

    async def job(request: Request) -> Response:
        found = double.jobs.get(request.path_params["id"])
        if found is None:
            return problem(404, "not_found", "There is no such job.")
        if request.url.path.endswith("/retry"):
            found["status"] = "queued"
        if request.url.path.endswith("/cancel"):
            found["status"] = "cancelled"
        return JSONResponse(found)

    async def workspaces(request: Request) -> Response:
        if request.method == "GET":
            return listed(double.workspaces, request)
        body = await request.json()
        made = {"id": "ws-9", "slug": body["slug"], "name": body.get("name", body["slug"]), "status": "active"}
        double.workspaces.append(made)
        return JSONResponse(made, 201)

    async def play(endpoint: Callable[[Request], Any], request: Request) -> Response:
        body = await request.body()
        double.requests.append((request.method, request.url.path, dict(request.headers), body))
        script = double.scripted.get(f"{request.method} {request.url.path}")
        if script:
            return script.pop(0)()
        if request.url.path != "/health" and request.headers.get("authorization") != f"Bearer {KEY}":
            return problem(401, "unauthenticated", "The key does not count.")
        return await endpoint(request)

    def route(path: str, endpoint: Callable[[Request], Any], *methods: str) -> Route:
        async def played(request: Request) -> Response:
            return await play(endpoint, request)

        return Route(path, played, methods=list(methods or ("GET",)))

    def fixed(make: Callable[[], Any]) -> Callable[[Request], Any]:
        async def endpoint(_request: Request) -> Response:
            return JSONResponse(make())

        return endpoint

    async def list_jobs(request: Request) -> Response:
        is_dead = request.url.path.endswith("/dead")
        wanted = "dead" if is_dead else request.query_params.get("status")
        return listed([j for j in double.jobs.values() if wanted in (None, j["status"])], request)

    return Starlette(
        routes=[
            route("/health", fixed(lambda: {"status": "ok", "version": "1.2.3"})),
            route("/api/v1/documents", list_documents),
            route("/api/v1/documents", upload, "POST"),
            route("/api/v1/documents/{id}", document, "GET", "DELETE", "PATCH"),
            route("/api/v1/documents/{id}/text", text),
            route("/api/v1/documents/{id}/content", text),
            route("/api/v1/documents/{id}/chunks", chunks),
            route("/api/v1/search", fixed(lambda: FOUND), "POST"),
            route("/api/v1/ask", fixed(lambda: double.answer), "POST"),
            route("/api/v1/chat/stream", stream, "POST"),
            route("/api/v1/jobs", list_jobs),
            route("/api/v1/jobs/dead", list_jobs),
            route("/api/v1/jobs/{id}", job),
            route("/api/v1/jobs/{id}/retry", job, "POST"),
            route("/api/v1/jobs/{id}/cancel", job, "POST"),
            route("/api/v1/workspaces", workspaces, "GET", "POST"),
        ]
    )


def _process(document: dict[str, Any], reads_before_ready: int) -> None:
    if document["reads"] < reads_before_ready:
        document["status"] = "processing"
    elif "broken" in document["filename"]:
        error = {"code": "damaged", "message": "The file is damaged. Export it again."}
        document.update(status="failed", error=error)
    else:
        document.update(status="ready", pages=2, chunks=5, progress=1.0)


@pytest.fixture(scope="session")
def running_double() -> Iterator[ContractDouble]:
    double = ContractDouble()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # from here on clients are kept waiting, not refused
    double.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(build_double(double), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def contract_double(running_double: ContractDouble) -> ContractDouble:
    """The double with nothing in it."""
    vars(running_double).update(vars(ContractDouble(url=running_double.url)))
    return running_double


@pytest.fixture
def refused() -> Callable[..., Callable[[], Response]]:
    """Make a scripted refusal."""
    return lambda *args, **kwargs: lambda: problem(*args, **kwargs)


@pytest.fixture
def unused_address() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
