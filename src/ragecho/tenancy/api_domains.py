"""Routes of the e-mail domains that make a member internal."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import OrganizationId
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import requires
from ragecho.tenancy import domains


class DomainIn(BaseModel):
    """A domain to list, like `example.com`; sub-domains are domains of their own."""

    model_config = ConfigDict(extra="forbid")

    domain: Annotated[str, StringConstraints(min_length=1, max_length=260)]


class DomainOut(BaseModel):
    """A listed domain."""

    model_config = ConfigDict(from_attributes=True)

    domain: str
    created_at: datetime


def build_domains_router(database: Database, authenticate: Authenticate) -> APIRouter:
    """Return the routes of an organisation's domains."""
    router = APIRouter(prefix="/api/v1/organizations/{organization_id}/domains", tags=["tenancy"])
    Seeing = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_READ)]
    Administering = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_ADMINISTER)]

    @router.get("")
    async def list_domains(caller: Seeing, organization_id: UUID, paging: PageParams) -> Page[DomainOut]:
        """List the domains whose members are internal once their address is verified; with none, every member is."""
        async with database.transaction(caller) as session:
            items, total = await domains.list_domains(
                caller, session, OrganizationId(organization_id), limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(DomainOut.model_validate, items), total=total, paging=paging)

    @router.post("", status_code=201)
    async def add_domain(caller: Administering, organization_id: UUID, body: DomainIn) -> DomainOut:
        """List a domain. With the first one, everybody without a verified address in it becomes external at once."""
        async with database.transaction(caller) as session:
            made = await domains.add_domain(caller, session, OrganizationId(organization_id), body.domain)
        return DomainOut.model_validate(made)

    @router.delete("/{domain}", status_code=204, response_class=Response)
    async def remove_domain(
        caller: Administering, organization_id: UUID, domain: Annotated[str, Path(max_length=260)]
    ) -> Response:
        """Take a domain off the list; its members are external from their next request on, unless none is left."""
        async with database.transaction(caller) as session:
            await domains.remove_domain(caller, session, OrganizationId(organization_id), domain)
        return Response(status_code=204)

    return router
