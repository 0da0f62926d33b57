"""Routes that read the audit log: the organisation's, and what was done to workspaces and in them."""
# ruff: noqa: N806, PLR0917 - routes: aliases of dependencies, one parameter per query field

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict

from ragecho.audit import trail_store
from ragecho.audit.trail import AuditEvent, AuditFilter
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams, Paging
from ragecho.platform.http.permissions import requires
from ragecho.tenancy.access import is_organization_admin
from ragecho.tenancy.workspaces import find_workspace

LONGEST = 200


class AuditEventOut(BaseModel):
    """One act. `details` hold what changed (`before`, `after`)."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    at: datetime
    workspace_id: UUID | None
    action: str
    actor_kind: str
    actor_id: str | None
    actor_user_id: UUID | None
    actor_email: str | None
    api_key_id: UUID | None
    client_id: str | None
    target_kind: str
    target_id: str | None
    request_id: str | None
    reason: str | None
    details: dict[str, Any]
    ip: str | None

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """Return the shape of an act."""
        return cls.model_validate(event)


def _asked(
    action: Annotated[
        str | None, Query(max_length=LONGEST, description="`workspace.archived`, or all of `workspace`.")
    ] = None,
    request_id: Annotated[str | None, Query(max_length=LONGEST)] = None,
    actor: Annotated[
        str | None, Query(max_length=LONGEST, description="Id of a person, key, program or client.")
    ] = None,
    target_kind: Annotated[str | None, Query(max_length=LONGEST)] = None,
    target_id: Annotated[str | None, Query(max_length=LONGEST)] = None,
    after: Annotated[AwareDatetime | None, Query(alias="from", description="RFC 3339; included.")] = None,
    before: Annotated[AwareDatetime | None, Query(alias="to", description="RFC 3339; not included.")] = None,
) -> AuditFilter:
    return AuditFilter(
        action=action,
        request_id=request_id,
        actor=actor,
        target_kind=target_kind,
        target_id=target_id,
        after=after,
        before=before,
    )


Asked = Annotated[AuditFilter, Depends(_asked)]
WorkspaceName = Annotated[str | None, Query(max_length=64, description="Id or slug; also the id of one that is gone.")]


def build_audit_routers(database: Database, authenticate: Authenticate) -> list[APIRouter]:
    """Return the routes of the audit log; they stand before those with a workspace's name in the same place."""
    router = APIRouter(prefix="/api/v1", tags=["audit"])
    OfWorkspaces = Annotated[Caller, requires(authenticate, Permission.AUDIT_READ)]
    OfOrganization = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_AUDIT_READ)]

    async def page(
        caller: Caller, asked: AuditFilter, workspace: str | None, paging: Paging, *, is_of_workspaces: bool
    ) -> Page[AuditEventOut]:
        async with database.transaction(caller) as session:
            workspace_id: UUID | None = None
            if workspace is not None:
                workspace_id = _as_uuid(workspace) or (await find_workspace(session, workspace)).id
            if not is_organization_admin(caller):
                if workspace_id not in (None, caller.workspace_id):
                    raise NotFound("There is no such workspace.")
                workspace_id = caller.workspace_id
            wanted = replace(asked, workspace_id=workspace_id, is_of_workspaces=is_of_workspaces)
            items, total = await trail_store.list_page(session, wanted, limit=paging.limit, offset=paging.offset)
        return Page.of(map(AuditEventOut.of, items), total=total, paging=paging)

    @router.get("/workspaces/audit-logs")
    async def list_workspace_acts(
        caller: OfWorkspaces, asked: Asked, paging: PageParams, workspace: WorkspaceName = None
    ) -> Page[AuditEventOut]:
        """List what was done to workspaces and in them, newest first; who administers one workspace sees that one's."""
        return await page(caller, asked, workspace, paging, is_of_workspaces=True)

    @router.get("/admin/audit-logs")
    async def list_acts(
        caller: OfOrganization, asked: Asked, paging: PageParams, workspace: WorkspaceName = None
    ) -> Page[AuditEventOut]:
        """List everything that was done in the organisation, newest first."""
        return await page(caller, asked, workspace, paging, is_of_workspaces=False)

    return [router]


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
