"""Routes of workspaces and API keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response

from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Forbidden
from ragecho.kernel.ids import ApiKeyId
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import requires
from ragecho.tenancy import service
from ragecho.tenancy.schemas import ApiKeyIn, ApiKeyOut, NewApiKeyOut, WorkspaceIn, WorkspaceOut


def build_tenancy_router(database: Database, space: EmbeddingSpace, authenticate: Authenticate) -> APIRouter:
    """Return the routes of workspaces and keys."""
    router = APIRouter(prefix="/api/v1", tags=["tenancy"])
    Seeing = Annotated[Caller, requires(authenticate, Permission.WORKSPACE_READ)]
    AdministeringWorkspaces = Annotated[Caller, requires(authenticate, Permission.WORKSPACES_ADMINISTER)]
    AdministeringKeys = Annotated[Caller, requires(authenticate, Permission.API_KEYS_ADMINISTER)]

    @router.get("/workspaces")
    async def list_workspaces(caller: Seeing, paging: PageParams) -> Page[WorkspaceOut]:
        """List the workspaces that the caller may enter, newest first."""
        async with database.transaction(caller) as session:
            items, total = await service.list_workspaces(caller, session, limit=paging.limit, offset=paging.offset)
        return Page.of(map(WorkspaceOut.of, items), total=total, paging=paging)

    @router.post("/workspaces", status_code=201)
    async def create_workspace(caller: AdministeringWorkspaces, body: WorkspaceIn) -> WorkspaceOut:
        """Create a workspace. A key is bound to its own workspace, so this needs an administrator's sign-in."""
        if caller.api_key_id is not None:
            raise Forbidden(
                "An API key is bound to its workspace. Create workspaces with 'ragecho admin workspace create'."
            )
        async with database.transaction(caller) as session:
            made = await service.create_workspace(
                caller, session, slug=body.slug, name=body.name or body.slug, description=body.description, space=space
            )
        return WorkspaceOut.of(made)

    @router.get("/workspaces/{workspace}")
    async def get_workspace(caller: Seeing, workspace: str) -> WorkspaceOut:
        """Return a workspace by id or slug."""
        async with database.transaction(caller) as session:
            return WorkspaceOut.of(await service.get_workspace(caller, session, workspace))

    @router.get("/api-keys")
    async def list_api_keys(caller: AdministeringKeys, paging: PageParams) -> Page[ApiKeyOut]:
        """List the workspace's keys, newest first."""
        async with database.transaction(caller) as session:
            items, total = await service.list_api_keys(
                caller, session, workspace=str(caller.workspace_id), limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(ApiKeyOut.of, items), total=total, paging=paging)

    @router.post("/api-keys", status_code=201)
    async def create_api_key(caller: AdministeringKeys, body: ApiKeyIn) -> NewApiKeyOut:
        """Create a key for the caller's workspace; its secret is shown this once."""
        async with database.transaction(caller) as session:
            made = await service.create_api_key(
                caller,
                session,
                workspace=str(caller.workspace_id),
                name=body.name,
                scopes=body.scopes,
                expires_in_days=body.expires_in_days,
                user_id=caller.user_id,
            )
        return NewApiKeyOut.made(made)

    @router.delete("/api-keys/{key_id}", status_code=204, response_class=Response)
    async def revoke_api_key(caller: AdministeringKeys, key_id: UUID) -> Response:
        """End a key; it fails from the next request on."""
        async with database.transaction(caller) as session:
            await service.revoke_api_key(caller, session, ApiKeyId(key_id))
        return Response(status_code=204)

    return router
