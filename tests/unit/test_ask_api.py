import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import numpy as np
import orjson
import pytest
from fastapi import FastAPI

from ragecho.ask.api import build_router
from ragecho.ask.flow import AskFlow
from ragecho.ask.settings import AskSettings
from ragecho.audit.records import AnswerRecord
from ragecho.kernel.authorization import Scope, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError, Unavailable
from ragecho.kernel.ids import AnswerId, ChunkId, DocumentId, OrganizationId, VersionId, WorkspaceId, uuid7
from ragecho.kernel.passages import EmbeddingSpace, Passage
from ragecho.library.model import SearchFilter
from ragecho.library.search import Found, SearchMode
from ragecho.platform.http.problems import on_echo_error
from ragecho.ports.embedder import Vectors

CALLER = Caller(
    OrganizationId(UUID(int=1)),
    WorkspaceId(UUID(int=2)),
    ("workspace",),
    frozenset({Scope.READ}),
    workspace_role=WorkspaceRole.READER,
)
TEXT = "The canteen opens at noon. The notice period is three months."
PASSAGE = Passage(
    chunk_id=ChunkId(uuid7()),
    document_id=DocumentId(uuid7()),
    version_id=VersionId(uuid7()),
    filename="handbook.txt",
    title=None,
    heading_path=(),
    page=4,
    start=0,
    end=len(TEXT),
    text=TEXT,
    content_sha256="ab",
    score=0.5,
)


class Library:
    """One passage."""

    def __init__(self, *, error: EchoError | None = None) -> None:
        self.error = error
        self.wanted: SearchFilter | None = None

    async def search(
        self,
        caller: Caller,
        *,
        query: str,
        k: int,
        mode: SearchMode = SearchMode.HYBRID,
        wanted: SearchFilter | None = None,
    ) -> Found:
        self.wanted = wanted
        if self.error:
            raise self.error
        return Found([PASSAGE], space=SPACE)

    async def readable(self, caller: Caller, passages: Sequence[Passage]) -> set[ChunkId]:
        return {passage.chunk_id for passage in passages}

    async def version_text(self, caller: Caller, version_id: VersionId, *, start: int, end: int) -> str | None:
        return TEXT[start:end]


class Records:
    def __init__(self) -> None:
        self.kept: dict[AnswerId, AnswerRecord] = {}

    async def record(self, caller: Caller, record: AnswerRecord) -> None:
        self.kept[record.id] = record

    async def get(self, caller: Caller, answer_id: AnswerId) -> AnswerRecord | None:
        return self.kept.get(answer_id)


class Words:
    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(0, 1)] * len(text.split()) for text in texts]

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(found) for found in self.offsets(texts)]


SPACE = EmbeddingSpace(uuid7(), "none", "0", 2, "test")


class NoEmbedder:
    model, revision, dimensions, max_tokens, tokens = "none", "0", 2, 512, Words()

    def of(self, space: EmbeddingSpace) -> "NoEmbedder":
        return self

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.zeros((len(texts), 2), np.float32)

    async def embed_query(self, text: str) -> Vectors:
        return np.zeros(2, np.float32)


def app_of(library: Library, caller: Caller = CALLER) -> FastAPI:
    async def authenticate() -> Caller:
        return caller

    records = Records()
    now = datetime(2026, 11, 21, tzinfo=UTC)
    flow = AskFlow(library, records, NoEmbedder(), None, settings=AskSettings(_env_file=None), now=lambda: now)
    app = FastAPI(exception_handlers={EchoError: on_echo_error})
    app.include_router(build_router(flow, authenticate))
    return app


def send(app: FastAPI, method: str, path: str, body: object | None = None) -> httpx.Response:
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://echo") as client:
            return await client.request(method, path, json=body)

    return asyncio.run(go())


def events_of(response: httpx.Response) -> list[tuple[str, dict[str, object]]]:
    blocks = response.text.strip().split("\n\n")
    return [
        (head.removeprefix("event: "), orjson.loads(data.removeprefix("data: ")))
        for head, data in (block.split("\n") for block in blocks)
    ]


QUESTION = {"question": "How long is the notice period?"}


def test_an_answer_has_the_fields_of_the_contract() -> None:
    answer = send(app_of(Library()), "POST", "/api/v1/ask", QUESTION).json()
    assert answer["answer"] == "The notice period is three months. [1]"
    assert answer.keys() >= {
        "id",
        "answer",
        "citations",
        "refused",
        "refusal_reason",
        "confidence",
        "model",
        "usage",
        "cost_usd",
        "timings_ms",
        "cached",
    }
    assert answer["citations"] == [
        {
            "n": 1,
            "document_id": str(PASSAGE.document_id),
            "filename": "handbook.txt",
            "page": 4,
            "start": 27,
            "end": 61,
            "quote": "The notice period is three months.",
            "verified": True,
        }
    ]
    assert (answer["refused"], answer["model"], answer["cost_usd"], answer["cached"]) == (False, "extractive", 0, False)


def test_filters_and_tags_reach_the_search() -> None:
    library, document = Library(), uuid4()
    body = QUESTION | {"tags": ["hr"], "filters": {"document_ids": [str(document)]}}
    send(app_of(library), "POST", "/api/v1/ask", body)
    assert library.wanted == SearchFilter(("hr",), (DocumentId(document),))


def test_a_refusal_is_an_answer_without_citations() -> None:
    answer = send(app_of(Library()), "POST", "/api/v1/ask", {"question": "Who painted the Mona Lisa?"}).json()
    assert (answer["refused"], answer["refusal_reason"], answer["citations"]) == (True, "no_evidence", [])


def test_the_record_of_an_answer_can_be_fetched() -> None:
    app = app_of(Library())
    answer = send(app, "POST", "/api/v1/chat", QUESTION).json()
    record = send(app, "GET", f"/api/v1/answers/{answer['id']}").json()
    assert (record["question"], record["answer"]) == (QUESTION["question"], answer["answer"])
    assert record["retrieved"][0]["content_sha256"] == "ab"
    assert send(app, "GET", f"/api/v1/answers/{uuid4()}").status_code == 404


def test_a_stream_sends_the_events_of_the_contract_in_order() -> None:
    session = str(uuid4())
    response = send(app_of(Library()), "POST", "/api/v1/chat/stream", QUESTION | {"session_id": session})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response)
    names = [name for name, _ in events]
    assert list(dict.fromkeys(names)) == ["status", "passages", "citation", "token", "answer", "done"]
    answer = dict(events)["answer"]
    assert "".join(str(data["text"]) for name, data in events if name == "token") == answer["answer"]
    assert answer["session_id"] == session


def test_a_stream_that_fails_ends_with_error_and_done() -> None:
    response = send(
        app_of(Library(error=Unavailable("The database is away."))), "POST", "/api/v1/chat/stream", QUESTION
    )
    assert events_of(response)[-2:] == [
        ("error", {"code": "unavailable", "detail": "The database is away."}),
        ("done", {}),
    ]


@pytest.mark.parametrize("path", ["/api/v1/ask", "/api/v1/chat", "/api/v1/chat/stream"])
@pytest.mark.parametrize(
    "body",
    [
        {"question": ""},
        {"question": "a\x00b"},
        {"question": "x" * 4001},
        {"question": "why?", "k": 0},
        {"question": "why?", "model": "no:such"},
        {"question": "why?", "unknown": 1},
        {},
    ],
)
def test_a_bad_request_is_a_422_before_any_stream_begins(path: str, body: dict[str, object]) -> None:
    assert send(app_of(Library()), "POST", path, body).status_code == 422


@pytest.mark.parametrize("path", ["/api/v1/ask", "/api/v1/chat", "/api/v1/chat/stream"])
def test_asking_needs_the_read_scope(path: str) -> None:
    caller = Caller(CALLER.organization_id, CALLER.workspace_id, (), frozenset({Scope.WRITE}))
    assert send(app_of(Library(), caller), "POST", path, QUESTION).status_code == 403
