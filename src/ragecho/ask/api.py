"""Routes of answering."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from ragecho.ask.flow import AskFlow
from ragecho.ask.model import Answered, AskRequest, Cited, Event, PassagesFound, Status, Token
from ragecho.ask.schemas import AnswerOut, AskIn, ChatIn, CitationOut, PassageOut, RecordOut
from ragecho.ask.steps.guard import guard
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError
from ragecho.kernel.ids import AnswerId
from ragecho.platform.http.permissions import requires
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

_SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM_RESPONSE = {
    200: {
        "description": "Events `status`, `passages`, `token`, `citation`, `answer`, `error`, `done`; data is JSON.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def build_router(flow: AskFlow, authenticate: Callable[..., Awaitable[Caller]]) -> APIRouter:
    """Return the routes that ask, and that show what was answered."""
    router = APIRouter(prefix="/api/v1", tags=["answers"])
    Asking = Annotated[Caller, requires(authenticate, Permission.ANSWERS_READ)]

    @router.post("/ask")
    async def ask(caller: Asking, body: AskIn) -> AnswerOut:
        """Answer a question from the documents that the caller may read, with citations, or refuse."""
        return AnswerOut.of(await flow.ask(caller, body.to_request()))

    @router.post("/chat")
    async def chat(caller: Asking, body: ChatIn) -> AnswerOut:
        """Answer a question of a conversation. For now every question stands alone."""
        answer = AnswerOut.of(await flow.ask(caller, body.to_request()))
        return answer.model_copy(update={"session_id": body.session_id})

    @router.post("/chat/stream", response_class=StreamingResponse, responses=_STREAM_RESPONSE)  # type: ignore[arg-type]  # a literal with int keys
    async def chat_stream(caller: Asking, body: ChatIn) -> StreamingResponse:
        """Answer a question as server-sent events; every sentence was checked before it is sent."""
        request = body.to_request()
        # What is wrong with the request is a plain 4xx, not an event of a stream that already began with 200.
        guard(request.question)
        flow.check_model(request.model)
        return StreamingResponse(
            _events(flow, caller, request, body.session_id), media_type="text/event-stream", headers=_SSE_HEADERS
        )

    @router.get("/answers/{answer_id}")
    async def get_answer(caller: Asking, answer_id: UUID) -> RecordOut:
        """Return the record of an answer that the caller asked for."""
        return RecordOut.of_record(await flow.record_of(caller, AnswerId(answer_id)))

    return router


async def _events(flow: AskFlow, caller: Caller, request: AskRequest, session_id: UUID | None) -> AsyncIterator[bytes]:
    try:
        async with aclosing(flow.stream(caller, request)) as events:
            async for event in events:
                yield _sse(*_shape(event, session_id))
    except EchoError as error:
        yield _sse("error", {"code": error.code, "detail": error.message})
    except Exception:
        # The response has begun: an event is the only way left to say that it failed.
        log.exception("answer.stream_failed")
        detail = "Something went wrong on our side. The request id finds it in the logs."
        yield _sse("error", {"code": "internal_error", "detail": detail})
    yield _sse("done", {})


def _shape(event: Event, session_id: UUID | None) -> tuple[str, object]:
    match event:
        case Status():
            return "status", {"step": event.step, **event.facts}
        case PassagesFound():
            return "passages", {"passages": [PassageOut.of(passage).model_dump() for passage in event.passages]}
        case Token():
            return "token", {"text": event.text}
        case Cited():
            return "citation", CitationOut.of(event.citation)
        case Answered():
            return "answer", AnswerOut.of(event.answer).model_copy(update={"session_id": session_id})


def _sse(name: str, data: object) -> bytes:
    value = data.model_dump() if isinstance(data, BaseModel) else data
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
