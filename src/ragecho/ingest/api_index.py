"""Routes of the index's health and of its embedding space."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.ingest.index_repair import Index, Repair
from ragecho.ingest.reindex import Reindexing, ReindexState
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.library.index_check import IndexHealth
from ragecho.library.reindexing import ReindexStatus
from ragecho.platform import audit_log
from ragecho.platform.database import Database
from ragecho.platform.http.permissions import Authenticate, requires


class FindingOut(BaseModel):
    """Something that must not be: how many, what that means, and the first ids (or digests of original files)."""

    check: str
    count: int
    says: str
    samples: list[str]


class IndexHealthOut(BaseModel):
    """The state of a workspace's index; healthy when there are no findings."""

    workspace_id: UUID
    healthy: bool
    checked: list[str]
    findings: list[FindingOut]
    sizes: dict[str, int]
    duration_ms: int

    @classmethod
    def of(cls, health: IndexHealth) -> Self:
        """Return the shape of a check's result."""
        return cls(
            workspace_id=health.workspace_id,
            healthy=health.is_healthy,
            checked=list(health.checked),
            findings=[
                FindingOut(check=one.check, count=one.count, says=one.says, samples=list(one.samples))
                for one in health.findings
            ],
            sizes=health.sizes,
            duration_ms=health.duration_ms,
        )


class RepairOut(BaseModel):
    """What was done: documents queued, jobs delivered again, original files removed, counts made anew."""

    documents_queued: int
    jobs_delivered: int
    blobs_removed: int
    counts_renewed: bool

    @classmethod
    def of(cls, repair: Repair) -> Self:
        """Return the shape of a repair."""
        return cls(
            documents_queued=repair.documents,
            jobs_delivered=repair.jobs,
            blobs_removed=repair.blobs,
            counts_renewed=repair.counts,
        )


class ReindexIn(BaseModel):
    """What to re-index into; without a model the configured one, with the present settings of chunking."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = Field(
        None, description="A name of the catalogue or `provider:model`; what RAGECHO_EMBEDDER names if absent."
    )
    dimensions: int | None = Field(
        None,
        ge=1,
        le=4000,
        description="Fewer dimensions than the model has, where it was trained for that (Matryoshka).",
    )


class SpaceOut(BaseModel):
    """An embedding space: what vectors may be compared within."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    model: str
    revision: str
    dimensions: int
    chunking: str


class ReindexOut(BaseModel):
    """How far the newest re-indexing of the workspace is; `space` is the one that queries use now.

    `filling`: the new space is being filled while queries use the old one. `switching`: queries use the new one, and what the
    old one held is being removed.
    """

    status: ReindexStatus
    space: SpaceOut
    from_model: str
    to_model: str | None
    from_dimensions: int
    to_dimensions: int | None
    from_chunking: str
    to_chunking: str | None
    documents_done: int
    documents_total: int
    chunks: int
    error: dict[str, Any] | None
    started_at: datetime | None
    switched_at: datetime | None
    finished_at: datetime | None
    eta: datetime | None

    @classmethod
    def of(cls, state: ReindexState) -> Self:
        """Return the shape of a re-indexing."""
        target = state.target
        return cls(
            status=state.status,
            space=SpaceOut.model_validate(state.own),
            from_model=state.source.model,
            to_model=target.model if target else None,
            from_dimensions=state.source.dimensions,
            to_dimensions=target.dimensions if target else None,
            from_chunking=state.source.chunking,
            to_chunking=target.chunking if target else None,
            documents_done=state.documents_done,
            documents_total=state.documents_total,
            chunks=state.chunks,
            error=state.error,
            started_at=state.started_at,
            switched_at=state.switched_at,
            finished_at=state.finished_at,
            eta=state.eta,
        )


def build_index_router(
    index: Index, reindexing: Reindexing, database: Database, authenticate: Authenticate
) -> APIRouter:
    """Return the routes that compare and mend the index, and give it another embedding space."""
    router = APIRouter(prefix="/api/v1/admin/index", tags=["administration"])
    Operating = Annotated[Caller, requires(authenticate, Permission.INDEX_ADMINISTER)]

    @router.get("/health")
    async def check_index(caller: Operating) -> IndexHealthOut:
        """Compare original files, documents, chunks, vectors and lexical entries: nothing orphaned, nothing missing."""
        return IndexHealthOut.of(await index.check(caller.as_administrator()))

    @router.post("/rebuild")
    async def rebuild_index(caller: Operating) -> RepairOut:
        """Mend what the check finds and count everything anew, while searches go on. Safe to repeat."""
        repaired = await index.rebuild(caller.as_administrator())
        async with database.transaction(caller) as session:
            await audit_log.record(
                session,
                caller,
                "index.rebuilt",
                audit_log.Target("workspace", caller.workspace_id),
                workspace_id=caller.workspace_id,
            )
        return RepairOut.of(repaired)

    @router.post("/reindex", status_code=202)
    async def start_reindex(caller: Operating, body: ReindexIn | None = None) -> ReindexOut:
        """Fill a new embedding space in the background, then let queries use it at once. Does nothing where they do already.

        Searches and uploads go on meanwhile. Repeating it while the same space is being filled tells how far that is.
        """
        wanted = body or ReindexIn()
        return ReindexOut.of(await reindexing.start(caller, model=wanted.model, dimensions=wanted.dimensions))

    @router.get("/reindex")
    async def get_reindex(caller: Operating) -> ReindexOut:
        """Tell how far the newest re-indexing of the workspace is."""
        return ReindexOut.of(await reindexing.state(caller))

    @router.delete("/reindex")
    async def cancel_reindex(caller: Operating) -> ReindexOut:
        """Give up filling the new space; the workspace stays as it is, and what was filled is removed."""
        return ReindexOut.of(await reindexing.cancel(caller))

    return router
