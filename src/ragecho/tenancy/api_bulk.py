"""Routes that archive and restore many workspaces at once."""

from typing import Annotated

from fastapi import APIRouter, Query

from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import WorkspaceId
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.permissions import requires
from ragecho.tenancy import bulk
from ragecho.tenancy.model import WorkspaceFilter, WorkspaceStatus
from ragecho.tenancy.schemas import BulkIn, BulkMatchingIn, BulkOut, PreviewOut
from ragecho.tenancy.settings import TenancySettings

MAX_SAMPLE = 100


def build_bulk_router(database: Database, authenticate: Authenticate, limits: TenancySettings) -> APIRouter:
    """Return the bulk routes of workspaces."""
    router = APIRouter(prefix="/workspaces/bulk")
    Administering = Annotated[Caller, requires(authenticate, Permission.WORKSPACES_ADMINISTER)]

    async def by_ids(caller: Caller, body: BulkIn, status: WorkspaceStatus) -> BulkOut:
        ids = [WorkspaceId(one) for one in body.ids]
        async with database.transaction(caller) as session:
            results = await bulk.set_status_of_ids(caller, session, ids, status, reason=body.reason, limits=limits)
        return BulkOut.of(results)

    async def matching(caller: Caller, body: BulkMatchingIn, status: WorkspaceStatus) -> BulkOut:
        selection = bulk.Selection(WorkspaceFilter(body.status, body.q), body.expected_total, body.confirm)
        async with database.transaction(caller) as session:
            results = await bulk.set_status_of_matching(
                caller, session, selection, status, reason=body.reason, limits=limits
            )
        return BulkOut.of(results)

    @router.get("/preview")
    async def preview(
        caller: Administering,
        status: WorkspaceStatus | None = None,
        q: Annotated[str | None, Query(max_length=200, description="Text in slug, name or description.")] = None,
        sample_limit: Annotated[int, Query(ge=0, le=MAX_SAMPLE, description="Most workspaces to show.")] = 10,
    ) -> PreviewOut:
        """Return how many workspaces a filter selects, and the newest of them, before changing them all."""
        async with database.transaction(caller) as session:
            return PreviewOut.of(
                await bulk.preview(caller, session, WorkspaceFilter(status, q), sample_limit=sample_limit)
            )

    @router.post("/archive")
    async def archive(caller: Administering, body: BulkIn) -> BulkOut:
        """Archive the named workspaces, all or none; says for each whether it was done, unchanged or not found."""
        return await by_ids(caller, body, WorkspaceStatus.ARCHIVED)

    @router.post("/restore")
    async def restore(caller: Administering, body: BulkIn) -> BulkOut:
        """Restore the named workspaces, all or none."""
        return await by_ids(caller, body, WorkspaceStatus.ACTIVE)

    @router.post("/archive-matching")
    async def archive_matching(caller: Administering, body: BulkMatchingIn) -> BulkOut:
        """Archive all that a filter selects. 409 with the present `total` when it is not the expected one any more."""
        return await matching(caller, body, WorkspaceStatus.ARCHIVED)

    @router.post("/restore-matching")
    async def restore_matching(caller: Administering, body: BulkMatchingIn) -> BulkOut:
        """Restore all that a filter selects; as `archive-matching`."""
        return await matching(caller, body, WorkspaceStatus.ACTIVE)

    return router
