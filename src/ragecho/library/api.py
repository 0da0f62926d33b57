"""Routes of documents and search."""

import time
from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.kernel.ids import DocumentId
from ragecho.library import service, store_documents
from ragecho.library.administration import opened
from ragecho.library.contents import remove_unreferenced
from ragecho.library.locked_files import passwords_of
from ragecho.library.model import DocumentFilter
from ragecho.library.query.broad import overview_of
from ragecho.library.query.options import Scope
from ragecho.library.query.rewrite import Asked, QueryRewriter, Rewritten
from ragecho.library.rerank import policy_for, rerank
from ragecho.library.schemas import ChunkOut, DocumentOut, DocumentPatch, SearchFilters, SearchIn, SearchOut
from ragecho.library.search import PassageSearch
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import requires
from ragecho.platform.telemetry import get_logger
from ragecho.ports.blobs import BlobStore
from ragecho.ports.page_renderer import PageRenderer
from ragecho.ports.parser import ParseLimits
from ragecho.ports.reranker import Reranker
from ragecho.ports.sealer import Sealer

log = get_logger(__name__)

# A citation is some sentences; more than this is not looked for on a page.
MAX_MARKED = 5_000
RENDER_LIMITS = ParseLimits(cpu_seconds=15, wall_seconds=20.0)

AsAdministrator = Annotated[
    bool,
    Query(
        description="Also documents that others keep private. For administrators (`documents:administer`); each use stands"
        " in the audit log."
    ),
]
Status = Literal["queued", "processing", "ready", "failed"]


def build_documents_router(
    database: Database,
    blobs: BlobStore,
    renderer: PageRenderer,
    authenticate: Authenticate,
    *,
    sealer: Sealer,
) -> APIRouter:
    """Return the routes that read, change and delete documents. `sealer` opens the passwords of locked files."""
    router = APIRouter(prefix="/api/v1/documents", tags=["documents"])
    Reading = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_READ)]
    Writing = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_WRITE)]

    @router.get("")
    async def list_documents(
        caller: Reading,
        paging: PageParams,
        status: Status | None = None,
        tag: Annotated[str | None, Query(max_length=100)] = None,
        q: Annotated[str | None, Query(max_length=200)] = None,
        access: Access | None = None,
        as_administrator: AsAdministrator = False,
    ) -> Page[DocumentOut]:
        """List documents, newest first."""
        async with opened(database, caller, act="listed", as_administrator=as_administrator) as (who, session):
            items, total = await store_documents.list_documents(
                session, who, DocumentFilter(status, tag, access, q), limit=paging.limit, offset=paging.offset
            )
        return Page.of((DocumentOut.of(item, caller) for item in items), total=total, paging=paging)

    @router.get("/{document_id}")
    async def get_document(
        caller: Reading, document_id: UUID, as_administrator: AsAdministrator = False
    ) -> DocumentOut:
        """Return one document."""
        wanted = DocumentId(document_id)
        async with opened(database, caller, act="read", document_id=wanted, as_administrator=as_administrator) as (
            who,
            session,
        ):
            return DocumentOut.of(await service.get_document(who, session, wanted), caller)

    @router.patch("/{document_id}")
    async def change_document(
        caller: Writing, document_id: UUID, change: DocumentPatch, as_administrator: AsAdministrator = False
    ) -> DocumentOut:
        """Change title, tags, metadata or who may read it; search follows at once."""
        wanted = service.DocumentChange(
            title=change.title,
            tags=None if change.tags is None else tuple(change.tags),
            metadata=change.metadata,
            access=change.access,
            named=change.readers.to_named() if change.readers is not None else None,
        )
        document = DocumentId(document_id)
        async with opened(database, caller, act="changed", document_id=document, as_administrator=as_administrator) as (
            who,
            session,
        ):
            return DocumentOut.of(await service.change_document(who, session, document, wanted), caller)

    @router.delete("/{document_id}", status_code=204, response_class=Response)
    async def delete_document(
        caller: Writing, document_id: UUID, as_administrator: AsAdministrator = False
    ) -> Response:
        """Remove a document and everything made from it; the next query does not see it."""
        wanted = DocumentId(document_id)
        async with opened(database, caller, act="deleted", document_id=wanted, as_administrator=as_administrator) as (
            who,
            session,
        ):
            digests = await service.delete_document(who, session, wanted)
        worker = Caller.worker(caller.organization_id, caller.workspace_id)
        await remove_unreferenced(database, blobs, worker, digests)
        log.info("document.deleted", document_id=str(document_id))
        return Response(status_code=204)

    @router.get("/{document_id}/content", response_class=StreamingResponse)
    async def get_content(
        caller: Reading, document_id: UUID, as_administrator: AsAdministrator = False
    ) -> StreamingResponse:
        """Download the original bytes."""
        wanted = DocumentId(document_id)
        async with opened(
            database, caller, act="downloaded", document_id=wanted, as_administrator=as_administrator
        ) as (who, session):
            document = await service.get_document(who, session, wanted)
        name = quote(document.filename)
        return StreamingResponse(
            blobs.open(caller.workspace_id, document.sha256),
            # Never the uploader's own type: nothing that was uploaded may run in our origin.
            media_type="application/octet-stream",
            headers={
                "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
                "Content-Length": str(document.size_bytes),
            },
        )

    @router.get("/{document_id}/text", response_class=PlainTextResponse)
    async def get_text(
        caller: Reading, document_id: UUID, as_administrator: AsAdministrator = False
    ) -> PlainTextResponse:
        """Return the parsed text that `start` and `end` of citations and chunks count in."""
        wanted = DocumentId(document_id)
        async with opened(database, caller, act="read", document_id=wanted, as_administrator=as_administrator) as (
            who,
            session,
        ):
            document = await service.get_document(who, session, wanted)
            text = None
            if document.current_version_id is not None:
                text = await store_documents.version_text(session, who, document.current_version_id)
        if text is None:
            raise NotFound("This document has no text yet.", status=document.status)
        return PlainTextResponse(text)

    @router.get(
        "/{document_id}/pages/{page}.png",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}, "description": "The page as a picture."}},
    )
    async def get_page_picture(
        caller: Reading,
        document_id: UUID,
        page: Annotated[int, Path(ge=1, le=100_000)],
        highlight: Annotated[
            str | None, Query(pattern=r"^\d{1,9}-\d{1,9}$", description="start-end of a citation, to mark its words.")
        ] = None,
        width: Annotated[int, Query(ge=100, le=3000)] = 1200,
        as_administrator: AsAdministrator = False,
    ) -> Response:
        """Return a page of a PDF as a picture, with the cited words marked."""
        quotes: list[str] = []
        wanted = DocumentId(document_id)
        async with opened(database, caller, act="read", document_id=wanted, as_administrator=as_administrator) as (
            who,
            session,
        ):
            document = await service.get_document(who, session, wanted)
            passwords: tuple[str, ...] = ()
            if document.current_version_id is not None:
                version = await store_documents.get_version(session, who, document.current_version_id)
                passwords = passwords_of(version, sealer) if version is not None else ()
            if highlight and document.current_version_id is not None:
                start, end = (int(part) for part in highlight.split("-"))
                words = await store_documents.version_text(
                    session,
                    who,
                    document.current_version_id,
                    start=start,
                    end=max(start, min(end, start + MAX_MARKED)),
                )
                quotes = [words] if words and words.strip() else []
        if document.pages is None or page > document.pages or not document.filename.lower().endswith(".pdf"):
            raise NotFound("This document has no such page to show.", pages=document.pages)
        async with blobs.local_path(caller.workspace_id, document.sha256) as path:
            picture = await renderer.render_page(
                path, page=page, width=width, quotes=quotes, passwords=passwords, limits=RENDER_LIMITS
            )
        return Response(picture, media_type="image/png", headers={"Cache-Control": "private, no-store"})

    @router.get("/{document_id}/chunks")
    async def list_chunks(
        caller: Reading, document_id: UUID, paging: PageParams, as_administrator: AsAdministrator = False
    ) -> Page[ChunkOut]:
        """List a document's chunks in reading order."""
        wanted = DocumentId(document_id)
        async with opened(database, caller, act="read", document_id=wanted, as_administrator=as_administrator) as (
            who,
            session,
        ):
            document = await service.get_document(who, session, wanted)
            items, total = await store_documents.list_chunks(
                session, who, document.id, limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(ChunkOut.of, items), total=total, paging=paging)

    return router


def build_search_router(
    search: PassageSearch,
    reranker: Reranker | None,
    authenticate: Authenticate,
    *,
    rewriter: QueryRewriter | None = None,
) -> APIRouter:
    """Return the search route."""
    router = APIRouter(prefix="/api/v1", tags=["search"])
    Reading = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_READ)]

    @router.post("/search")
    async def search_passages(caller: Reading, body: SearchIn) -> SearchOut:
        """Find passages by words and meaning among what the caller may read."""
        wanted = (body.filters or SearchFilters()).with_tags(body.tags)
        if body.rerank and reranker is None:
            raise InvalidInput("No reranker is configured (RAGECHO_RERANKER); search without 'rerank'.")
        if body.rewrite and rewriter is None:
            raise InvalidInput("No query rewriter is configured (RAGECHO_QUERY_REWRITER); search without 'rewrite'.")
        asked, understood = await _understood(body.query, rewriter if body.rewrite else None)
        policy = policy_for(reranker) if body.rerank and reranker is not None else None
        candidates = max(body.k, policy.depth) if policy else body.k
        options = body.to_options()
        found = await search.search_all(
            caller, queries=asked.queries, k=candidates, mode=body.mode, wanted=wanted, options=options
        )
        if found.facts.scope is Scope.DOCUMENT:
            # Parts in reading order: there is nothing to judge, and k of them are other ones than the first k of many.
            found = replace(found, passages=overview_of(found.passages, body.k))
            policy = None
        done = await rerank(reranker, asked.question, found, policy) if reranker is not None and policy else None
        if done is not None:
            found = replace(found, passages=done.passages[: body.k], timings_ms=done.timings_ms)
        found = await search.expand(caller, found, body.expand)
        return SearchOut.of(replace(found, timings_ms=understood | found.timings_ms), asked, done)

    return router


async def _understood(query: str, rewriter: QueryRewriter | None) -> tuple[Rewritten, dict[str, float]]:
    """Return what is searched for a query, and how long finding that took."""
    if rewriter is None:
        return Rewritten.unchanged(query), {}
    started = time.perf_counter()
    asked = await rewriter.rewrite(Asked(query))
    return asked, {"understand": round((time.perf_counter() - started) * 1e3, 3)}
