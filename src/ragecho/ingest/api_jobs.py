"""Routes of background work."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from ragecho.ingest import jobs as acts
from ragecho.ingest.job_stream import Followed, FollowedJobs, JobStreams
from ragecho.ingest.schemas import BatchOut, JobOut, RetriedJobs
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound
from ragecho.kernel.ids import DocumentId, JobId
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams, Paging
from ragecho.platform.http.permissions import requires
from ragecho.platform.jobs import store_overview as overview

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled", "dead"]
MAX_FOLLOWED = 200
_SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM_RESPONSE = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events: job, batch, done."}
}


def build_jobs_router(database: Database, authenticate: Authenticate, streams: JobStreams | None = None) -> APIRouter:
    """Return the routes of background work."""
    router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
    Reading = Annotated[Caller, requires(authenticate, Permission.JOBS_READ)]
    Changing = Annotated[Caller, requires(authenticate, Permission.JOBS_WRITE)]
    Administering = Annotated[Caller, requires(authenticate, Permission.JOBS_ADMINISTER)]
    followed = streams or JobStreams(database)

    async def listed(
        caller: Caller,
        statuses: list[str] | None,
        paging: Paging,
        batch: UUID | None = None,
        document: UUID | None = None,
    ) -> Page[JobOut]:
        async with database.transaction(caller) as session:
            items, total = await overview.list_jobs(
                session,
                caller,
                statuses=statuses,
                batch_id=batch,
                document_id=DocumentId(document) if document else None,
                limit=paging.limit,
                offset=paging.offset,
            )
        return Page.of(map(JobOut.of, items), total=total, paging=paging)

    @router.get("")
    async def list_jobs(
        caller: Reading,
        paging: PageParams,
        status: JobStatus | None = None,
        batch: Annotated[UUID | None, Query(description="The jobs of one upload.")] = None,
        document_id: UUID | None = None,
    ) -> Page[JobOut]:
        """List jobs, newest first."""
        return await listed(caller, [status] if status else None, paging, batch, document_id)

    @router.get("/dead")
    async def list_dead_jobs(caller: Reading, paging: PageParams) -> Page[JobOut]:
        """List jobs that were tried as often as allowed and never ended; `error` says what happened last."""
        return await listed(caller, ["dead"], paging)

    @router.post("/dead/retry")
    async def retry_dead_jobs(caller: Changing) -> RetriedJobs:
        """Try dead jobs once more, from the start: at most 1000 at a time."""
        async with database.transaction(caller) as session:
            return RetriedJobs(retried=await acts.retry_dead(caller, session))

    @router.get("/batches/{batch_id}")
    async def get_batch(caller: Reading, batch_id: UUID) -> BatchOut:
        """Return how far an upload is."""
        async with database.transaction(caller) as session:
            batch = await overview.get_batch(session, caller, batch_id)
        if batch is None:
            raise NotFound("There is no such upload, or none of its files was new.")
        return BatchOut.of(batch)

    @router.get("/stream", response_class=StreamingResponse, responses=_STREAM_RESPONSE)  # type: ignore[arg-type]  # a literal with int keys
    async def stream_jobs(
        caller: Reading,
        job_id: Annotated[list[UUID] | None, Query(max_length=MAX_FOLLOWED)] = None,
        document_id: Annotated[list[UUID] | None, Query(max_length=MAX_FOLLOWED)] = None,
        batch: UUID | None = None,
        last_event_id: Annotated[
            str | None, Header(max_length=64, description="The id of the last event; what changed since then is told.")
        ] = None,
    ) -> StreamingResponse:
        """Follow jobs live as server-sent events: `job` and `batch` whenever one changed, `done` when all have ended.

        Name at least one job, document or batch; of a batch at most 1000 jobs are told one by one. A stream ends after ten
        minutes at most with `done` and `{"complete": false}`. Opened again with `Last-Event-ID`, as browsers do by themselves,
        it goes on from there: an event may come twice, none is lost.
        """
        wanted = FollowedJobs(tuple(map(JobId, job_id or ())), tuple(map(DocumentId, document_id or ())), batch)
        since = int(last_event_id) if last_event_id and re.fullmatch(r"[0-9]{1,18}", last_event_id) else None
        events = await followed.follow(caller, wanted, since=since)
        return StreamingResponse(_sse(events), media_type="text/event-stream", headers=_SSE_HEADERS)

    @router.get("/{job_id}")
    async def get_job(caller: Reading, job_id: UUID) -> JobOut:
        """Return one job."""
        async with database.transaction(caller) as session:
            return JobOut.of(await acts.get_job(caller, session, JobId(job_id)))

    @router.post("/{job_id}/retry")
    async def retry_job(caller: Changing, job_id: UUID) -> JobOut:
        """Try a job that ended without success once more, from the start."""
        async with database.transaction(caller) as session:
            return JobOut.of(await acts.retry_job(caller, session, JobId(job_id)))

    @router.post("/{job_id}/cancel")
    async def cancel_job(caller: Changing, job_id: UUID) -> JobOut:
        """Stop a job; its document is marked as failed unless an earlier version answers."""
        async with database.transaction(caller) as session:
            return JobOut.of(await acts.cancel_job(caller, session, JobId(job_id)))

    @router.post("/{job_id}/discard", status_code=204, response_class=Response)
    async def discard_job(caller: Administering, job_id: UUID) -> Response:
        """Forget a job that ended without success; its document stays as it is."""
        async with database.transaction(caller) as session:
            await acts.discard_job(caller, session, JobId(job_id))
        return Response(status_code=204)

    return router


async def _sse(events: AsyncIterator[Followed]) -> AsyncIterator[bytes]:
    async for event in events:
        mark = b"" if event.mark is None else b"id: %d\n" % event.mark
        if event.job is not None:
            yield mark + b"event: job\ndata: " + JobOut.of(event.job).model_dump_json().encode() + b"\n\n"
        elif event.batch is not None:
            yield mark + b"event: batch\ndata: " + BatchOut.of(event.batch).model_dump_json().encode() + b"\n\n"
        elif event.is_over:
            yield b"event: done\ndata: " + orjson.dumps({"complete": event.is_complete}) + b"\n\n"
        else:
            yield b": still here\n\n"
