"""Routes of an organisation's identity providers and domains."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response

from ragecho.identity.federation.diagnosis import Verdict
from ragecho.identity.federation.providers import ProviderAdministration
from ragecho.identity.federation.schemas import (
    CheckOut,
    DiagnosisOut,
    DomainIn,
    DomainOut,
    ProviderChange,
    ProviderIn,
    ProviderOut,
)
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import Authenticate, requires_own_organization


def build_identity_providers_router(administration: ProviderAdministration, authenticate: Authenticate) -> APIRouter:
    """Return the routes; what they act on is the caller's own organisation, any other does not exist."""
    router = APIRouter(prefix="/api/v1/organizations/{organization_id}", tags=["identity providers"])
    Own = Annotated[Caller, requires_own_organization(authenticate, Permission.ORGANIZATION_ADMINISTER)]

    @router.get("/identity-providers")
    async def list_identity_providers(caller: Own, paging: PageParams) -> Page[ProviderOut]:
        """List the organisation's providers, newest first."""
        found, total = await administration.list_providers(caller, limit=paging.limit, offset=paging.offset)
        return Page.of(map(ProviderOut.of, found), total=total, paging=paging)

    @router.post("/identity-providers", status_code=201)
    async def create_identity_provider(caller: Own, body: ProviderIn) -> ProviderOut:
        """Let people sign in with another OpenID provider. Register the answer's `redirect_uri` there."""
        made = await administration.create(
            caller, preset=body.preset, values=body.values(), client_secret=body.secret()
        )
        return ProviderOut.of(made)

    @router.get("/identity-providers/{provider_id}")
    async def get_identity_provider(caller: Own, provider_id: UUID) -> ProviderOut:
        """Return a provider."""
        return ProviderOut.of(await administration.get(caller, provider_id))

    @router.patch("/identity-providers/{provider_id}")
    async def change_identity_provider(caller: Own, provider_id: UUID, body: ProviderChange) -> ProviderOut:
        """Change a provider; what is not named stays."""
        made = await administration.update(caller, provider_id, values=body.values(), client_secret=body.secret())
        return ProviderOut.of(made)

    @router.delete("/identity-providers/{provider_id}", status_code=204, response_class=Response)
    async def delete_identity_provider(caller: Own, provider_id: UUID) -> Response:
        """Remove a provider. Its people keep their accounts, and need another way to sign in."""
        await administration.delete(caller, provider_id)
        return Response(status_code=204)

    @router.post("/identity-providers/{provider_id}/test")
    async def test_identity_provider(caller: Own, provider_id: UUID) -> DiagnosisOut:
        """Say what works and what does not: discovery, keys, PKCE, redirect URI, client id and secret."""
        checks = await administration.test(caller, provider_id)
        works = all(check.verdict is not Verdict.FAILED for check in checks)
        return DiagnosisOut(works=works, checks=[CheckOut.model_validate(check) for check in checks])

    @router.get("/verified-domains")
    async def list_verified_domains(caller: Own, paging: PageParams) -> Page[DomainOut]:
        """List the domains that the organisation claims, newest first."""
        found, total = await administration.list_domains(caller, limit=paging.limit, offset=paging.offset)
        return Page.of(map(DomainOut.of, found), total=total, paging=paging)

    @router.post("/verified-domains", status_code=201)
    async def add_verified_domain(caller: Own, body: DomainIn) -> DomainOut:
        """Claim a domain. It counts once the TXT record in the answer is published and verified."""
        return DomainOut.of(await administration.add_domain(caller, body.name))

    @router.post("/verified-domains/{domain_id}/verify")
    async def verify_domain(caller: Own, domain_id: UUID) -> DomainOut:
        """Look for the TXT record now."""
        return DomainOut.of(await administration.verify_domain(caller, domain_id))

    @router.delete("/verified-domains/{domain_id}", status_code=204, response_class=Response)
    async def delete_verified_domain(caller: Own, domain_id: UUID) -> Response:
        """Give a domain up; routing and trust that came of it end."""
        await administration.delete_domain(caller, domain_id)
        return Response(status_code=204)

    return router
