"""Routes of documents from elsewhere."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from ragecho.ingest.api import IdempotencyKey
from ragecho.ingest.schemas import AcceptedDocuments
from ragecho.ingest.sources.by_url import UrlUploads
from ragecho.ingest.sources.schemas import RunOut, SourceIn, SourceItemOut, SourceOut, SourcePatch, UrlIn
from ragecho.ingest.sources.service import Sources
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import requires

ItemStatus = Literal["waiting", "held", "same", "alias", "skipped", "failed", "gone"]


def build_url_router(uploads: UrlUploads, authenticate: Authenticate) -> APIRouter:
    """Return the route that takes pages in by their address."""
    router = APIRouter(prefix="/api/v1/documents", tags=["documents"])
    Writing = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_WRITE)]

    @router.post("/url", status_code=202)
    async def add_url(caller: Writing, wanted: UrlIn, idempotency_key: IdempotencyKey = None) -> AcceptedDocuments:
        """Fetch a page and process it, both in the background.

        Private, local and reserved addresses are refused, also behind redirects.
        """
        accepted = await uploads.accept(caller, wanted.url, labels=wanted.to_labels(), idempotency_key=idempotency_key)
        return AcceptedDocuments.of(accepted)

    return router


def build_sources_router(sources: Sources, authenticate: Authenticate) -> APIRouter:
    """Return the routes of sources."""
    router = APIRouter(prefix="/api/v1/sources", tags=["sources"])
    Reading = Annotated[Caller, requires(authenticate, Permission.SOURCES_READ)]
    Changing = Annotated[Caller, requires(authenticate, Permission.SOURCES_ADMINISTER)]

    @router.post("", status_code=201)
    async def add_source(caller: Changing, wanted: SourceIn, idempotency_key: IdempotencyKey = None) -> SourceOut:
        """Set up a source and start its first run."""
        added = await sources.add(caller, wanted.kind, wanted.to_change(), idempotency_key=idempotency_key)
        return SourceOut.of(added)

    @router.get("")
    async def list_sources(caller: Reading, paging: PageParams) -> Page[SourceOut]:
        """List sources, newest first."""
        found, total = await sources.list(caller, limit=paging.limit, offset=paging.offset)
        return Page.of(map(SourceOut.of, found), total=total, paging=paging)

    @router.get("/{source_id}")
    async def get_source(caller: Reading, source_id: UUID) -> SourceOut:
        """Return one source and how it is doing."""
        return SourceOut.of(await sources.get(caller, source_id))

    @router.patch("/{source_id}")
    async def change_source(caller: Changing, source_id: UUID, change: SourcePatch) -> SourceOut:
        """Change a source; the next run follows it."""
        return SourceOut.of(await sources.change(caller, source_id, change.to_change()))

    @router.delete("/{source_id}", status_code=204, response_class=Response)
    async def remove_source(
        caller: Changing,
        source_id: UUID,
        keep_documents: Annotated[bool, Query(description="Leave its documents in the library.")] = False,
    ) -> Response:
        """Remove a source; its documents are removed in the background."""
        await sources.remove(caller, source_id, keep_documents=keep_documents)
        return Response(status_code=204)

    @router.post("/{source_id}/sync", status_code=202)
    async def sync_source(caller: Changing, source_id: UUID, idempotency_key: IdempotencyKey = None) -> RunOut:
        """Look at the source now; returns the run under way where there is one."""
        return RunOut.of(await sources.sync(caller, source_id, idempotency_key=idempotency_key))

    @router.get("/{source_id}/runs")
    async def list_source_runs(caller: Reading, source_id: UUID, paging: PageParams) -> Page[RunOut]:
        """List how looking at the source went, newest first."""
        found, total = await sources.runs(caller, source_id, limit=paging.limit, offset=paging.offset)
        return Page.of(map(RunOut.of, found), total=total, paging=paging)

    @router.get("/{source_id}/items")
    async def list_source_items(
        caller: Reading, source_id: UUID, paging: PageParams, status: ItemStatus | None = None
    ) -> Page[SourceItemOut]:
        """List what is in the source, with what failed and why."""
        found, total = await sources.items(caller, source_id, status=status, limit=paging.limit, offset=paging.offset)
        return Page.of(map(SourceItemOut.of, found), total=total, paging=paging)

    return router
