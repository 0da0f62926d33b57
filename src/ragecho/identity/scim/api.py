"""Routes for an organisation's administrators: the tokens that its directory uses."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.identity.scim import store, tokens
from ragecho.identity.scim.model import ScimToken, WorkspaceGrant
from ragecho.kernel.authorization import Permission, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import WorkspaceId
from ragecho.platform.database import Database
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import Authenticate, requires_own_organization
from ragecho.platform.http.text import CleanText


class ScimWorkspace(BaseModel):
    """A role in a workspace that newly provisioned people get."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    workspace_id: UUID
    role: WorkspaceRole


class ScimTokenIn(BaseModel):
    """A token to create."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[CleanText, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = "directory"
    expires_in_days: int | None = Field(None, ge=1, le=3650)
    workspaces: list[ScimWorkspace] = Field(default_factory=list, max_length=100)


class ScimTokenOut(BaseModel):
    """A token without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    prefix: str
    workspaces: list[ScimWorkspace]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewScimTokenOut(ScimTokenOut):
    """A token just made. `token` is shown this once; give it to the directory together with `base_url`."""

    token: str
    base_url: str

    @classmethod
    def made(cls, token: ScimToken, secret: str, base_url: str) -> Self:
        """Return the shape of a token just made."""
        return cls(token=secret, base_url=base_url, **ScimTokenOut.model_validate(token).model_dump())


def build_scim_tokens_router(database: Database, authenticate: Authenticate, *, base_url: str) -> APIRouter:
    """Return the routes; what they act on is the caller's own organisation, any other does not exist."""
    router = APIRouter(prefix="/api/v1/organizations/{organization_id}/scim-tokens", tags=["identity providers"])
    Own = Annotated[Caller, requires_own_organization(authenticate, Permission.ORGANIZATION_ADMINISTER)]

    @router.get("")
    async def list_scim_tokens(caller: Own, paging: PageParams) -> Page[ScimTokenOut]:
        """List the tokens of the organisation's directories, newest first."""
        async with database.transaction(caller) as session:
            found, total = await store.list_tokens(session, limit=paging.limit, offset=paging.offset)
        return Page.of(map(ScimTokenOut.model_validate, found), total=total, paging=paging)

    @router.post("", status_code=201)
    async def create_scim_token(caller: Own, body: ScimTokenIn) -> NewScimTokenOut:
        """Create a token for a directory (Okta, Entra ID, …); its secret is shown this once."""
        grants = [WorkspaceGrant(WorkspaceId(one.workspace_id), one.role) for one in body.workspaces]
        async with database.transaction(caller) as session:
            made, secret = await tokens.create_token(
                caller, session, name=body.name, expires_in_days=body.expires_in_days, workspaces=grants
            )
        return NewScimTokenOut.made(made, secret, base_url)

    @router.post("/{token_id}/rotate", status_code=201)
    async def rotate_scim_token(caller: Own, token_id: UUID) -> NewScimTokenOut:
        """Replace a token; the old one fails from the next request on."""
        async with database.transaction(caller) as session:
            made, secret = await tokens.rotate_token(caller, session, token_id)
        return NewScimTokenOut.made(made, secret, base_url)

    @router.delete("/{token_id}", status_code=204, response_class=Response)
    async def revoke_scim_token(caller: Own, token_id: UUID) -> Response:
        """End a token; it fails from the next request on. Whom it provisioned stays."""
        async with database.transaction(caller) as session:
            await tokens.revoke_token(caller, session, token_id)
        return Response(status_code=204)

    return router
