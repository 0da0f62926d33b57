"""Routes of organisations and workspaces."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import OrganizationId
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import requires, requires_in_service, signed_in
from ragecho.platform.telemetry import get_logger
from ragecho.ports.blobs import BlobStore
from ragecho.tenancy import bulk, organizations, workspaces
from ragecho.tenancy.model import WorkspaceFilter, WorkspaceStatus
from ragecho.tenancy.schemas import (
    OrganizationChange,
    OrganizationIn,
    OrganizationOut,
    ReasonIn,
    WorkspaceIn,
    WorkspaceOut,
    WorkspacePatch,
)
from ragecho.tenancy.settings import TenancySettings

log = get_logger(__name__)

# The embedding space of a model by name (None: the configured one), cut to so many dimensions.
SpaceFor = Callable[[str | None, int | None], EmbeddingSpace]


def build_workspaces_router(
    database: Database, space_for: SpaceFor, authenticate: Authenticate, blobs: BlobStore
) -> APIRouter:
    """Return the routes of single workspaces. `space_for` names the space of a model that somebody chose."""
    router = APIRouter(prefix="/workspaces")
    Known = Annotated[Caller, signed_in(authenticate)]
    Seeing = Annotated[Caller, requires_in_service(authenticate, Permission.WORKSPACE_READ)]
    Changing = Annotated[Caller, requires_in_service(authenticate, Permission.WORKSPACE_ADMINISTER)]
    Administering = Annotated[Caller, requires(authenticate, Permission.WORKSPACES_ADMINISTER)]

    @router.get("")
    async def list_workspaces(
        caller: Known,
        paging: PageParams,
        status: WorkspaceStatus | None = None,
        q: Annotated[str | None, Query(max_length=200, description="Text in slug, name or description.")] = None,
    ) -> Page[WorkspaceOut]:
        """List the workspaces that the caller may enter, newest first: administrators of the organisation see all."""
        async with database.transaction(caller) as session:
            items, total = await workspaces.list_workspaces(
                caller, session, WorkspaceFilter(status, q), limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(WorkspaceOut.of, items), total=total, paging=paging)

    @router.post("", status_code=201)
    async def create_workspace(caller: Administering, body: WorkspaceIn) -> WorkspaceOut:
        """Create a workspace."""
        space = space_for(body.embedding_model, body.embedding_dimensions)
        async with database.transaction(caller) as session:
            made = await workspaces.create_workspace(
                caller, session, slug=body.slug, name=body.name or body.slug, description=body.description, space=space
            )
        return WorkspaceOut.of(made)

    @router.get("/{workspace}")
    async def get_workspace(caller: Seeing, workspace: str) -> WorkspaceOut:
        """Return a workspace by id or slug."""
        async with database.transaction(caller) as session:
            return WorkspaceOut.of(await workspaces.get_workspace(caller, session, workspace))

    @router.patch("/{workspace}")
    async def change_workspace(caller: Changing, workspace: str, body: WorkspacePatch) -> WorkspaceOut:
        """Rename or describe a workspace."""
        async with database.transaction(caller) as session:
            changed = await workspaces.change_workspace(
                caller,
                session,
                workspace,
                new_slug=body.slug,
                new_name=body.name,
                new_description=body.description,
            )
        return WorkspaceOut.of(changed)

    @router.post("/{workspace}/archive")
    async def archive_workspace(caller: Administering, workspace: str, body: ReasonIn | None = None) -> WorkspaceOut:
        """Archive a workspace: it can be read, and every write is refused with 409 `workspace_archived`."""
        return await _set_status(caller, workspace, WorkspaceStatus.ARCHIVED, body)

    @router.post("/{workspace}/restore")
    async def restore_workspace(caller: Administering, workspace: str, body: ReasonIn | None = None) -> WorkspaceOut:
        """Restore an archived workspace; jobs that the archive interrupted go on."""
        return await _set_status(caller, workspace, WorkspaceStatus.ACTIVE, body)

    async def _set_status(
        caller: Caller, workspace: str, status: WorkspaceStatus, body: ReasonIn | None
    ) -> WorkspaceOut:
        async with database.transaction(caller) as session:
            found = await bulk.set_workspace_status(
                caller, session, workspace, status, reason=body.reason if body else None
            )
        return WorkspaceOut.of(found)

    @router.delete("/{workspace}", status_code=204, response_class=Response)
    async def delete_workspace(
        caller: Administering,
        workspace: str,
        confirm: Annotated[str, Query(max_length=63, description="The workspace's slug once more.")],
    ) -> Response:
        """Delete an archived workspace with all its documents, for good."""
        async with database.transaction(caller) as session:
            gone, digests = await workspaces.delete_workspace(caller, session, workspace, confirm=confirm)
        for digest in digests:
            try:
                await blobs.delete(gone.id, digest)
            except Exception:
                # The workspace is gone; a file that stays behind is nobody's and can be removed later.
                log.exception("workspace.file_left_behind", workspace_id=str(gone.id), sha256=digest)
        return Response(status_code=204)

    return router


def build_organizations_router(
    database: Database, space_for: SpaceFor, authenticate: Authenticate, limits: TenancySettings
) -> APIRouter:
    """Return the routes of organisations."""
    router = APIRouter(prefix="/organizations")
    Known = Annotated[Caller, signed_in(authenticate)]
    Administering = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_ADMINISTER)]

    @router.get("")
    async def list_organizations(caller: Known, paging: PageParams) -> Page[OrganizationOut]:
        """List the organisations that the caller is in, oldest membership first."""
        async with database.transaction(caller) as session:
            found = await organizations.list_organizations(caller, session)
        shown = found[paging.offset : paging.offset + paging.limit]
        return Page.of(map(OrganizationOut.of, shown), total=len(found), paging=paging)

    @router.post("", status_code=201)
    async def create_organization(caller: Known, body: OrganizationIn) -> OrganizationOut:
        """Create an organisation of one's own, with a workspace `default`, where the server allows it."""
        made = await organizations.create_organization(
            caller, database, space_for(None, None), name=body.name, is_allowed=limits.organization_creation
        )
        return OrganizationOut.of(made)

    @router.get("/{organization_id}")
    async def get_organization(caller: Known, organization_id: UUID) -> OrganizationOut:
        """Return one of the caller's organisations."""
        async with database.transaction(caller) as session:
            found = await organizations.get_organization(caller, session, OrganizationId(organization_id))
        return OrganizationOut.of(found)

    @router.patch("/{organization_id}")
    async def rename_organization(
        caller: Administering, organization_id: UUID, body: OrganizationChange
    ) -> OrganizationOut:
        """Rename the organisation that the request is made in, or decide whether members need a second factor."""
        wanted, required = OrganizationId(organization_id), body.require_second_factor
        async with database.transaction(caller) as session:
            if body.name is not None:
                await organizations.rename_organization(caller, session, wanted, name=body.name)
            if required is not None:
                await organizations.require_second_factor(caller, session, wanted, is_required=required)
            return OrganizationOut.of(await organizations.get_organization(caller, session, wanted))

    return router
