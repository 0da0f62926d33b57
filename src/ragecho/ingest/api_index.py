"""Routes of the index's health."""

from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from ragecho.ingest.index_repair import Index, Repair
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.library.index_check import IndexHealth
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


def build_index_router(index: Index, database: Database, authenticate: Authenticate) -> APIRouter:
    """Return the routes that compare and mend the index."""
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

    return router
