"""Routes of API keys and service accounts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ApiKeyId
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import requires
from ragecho.tenancy import keys, service_accounts
from ragecho.tenancy.keys import KeyRequest
from ragecho.tenancy.schemas_credentials import (
    ApiKeyIn,
    ApiKeyOut,
    NewApiKeyOut,
    RotateIn,
    ServiceAccountIn,
    ServiceAccountOut,
    ServiceAccountPatch,
)
from ragecho.tenancy.service_accounts import AccountChange


def build_keys_router(database: Database, authenticate: Authenticate) -> APIRouter:
    """Return the routes of API keys."""
    router = APIRouter(prefix="/api-keys")
    Known = Annotated[Caller, requires(authenticate, Permission.API_KEYS_OWN)]

    @router.get("")
    async def list_api_keys(
        caller: Known,
        paging: PageParams,
        mine: Annotated[bool, Query(description="Only the caller's own.")] = False,
        service_account_id: UUID | None = None,
    ) -> Page[ApiKeyOut]:
        """List the workspace's keys, newest first; who does not administer them sees their own."""
        async with database.transaction(caller) as session:
            items, total = await keys.list_api_keys(
                caller,
                session,
                workspace=str(caller.workspace_id),
                only_own=mine,
                service_account_id=service_account_id,
                limit=paging.limit,
                offset=paging.offset,
            )
        return Page.of(map(ApiKeyOut.of, items), total=total, paging=paging)

    @router.post("", status_code=201)
    async def create_api_key(caller: Known, body: ApiKeyIn) -> NewApiKeyOut:
        """Create a key for the caller's workspace; its secret is shown this once. It never gets more than its maker has."""
        wanted = KeyRequest(
            name=body.name,
            scopes=frozenset(body.scopes),
            expires_in_days=body.expires_in_days,
            user_id=caller.user_id if body.service_account_id is None else None,
            service_account_id=body.service_account_id,
            is_workspace_only=body.workspace_only,
        )
        async with database.transaction(caller) as session:
            made = await keys.create_api_key(caller, session, str(caller.workspace_id), wanted)
        return NewApiKeyOut.made(made)

    @router.post("/{key_id}/rotate", status_code=201)
    async def rotate_api_key(caller: Known, key_id: UUID, body: RotateIn | None = None) -> NewApiKeyOut:
        """Replace a key by a new one, shown this once; the old one ends now, or after the overlap."""
        wanted = body or RotateIn()
        async with database.transaction(caller) as session:
            made = await keys.rotate_api_key(
                caller,
                session,
                ApiKeyId(key_id),
                overlap_seconds=wanted.overlap_seconds,
                expires_in_days=wanted.expires_in_days,
            )
        return NewApiKeyOut.made(made)

    @router.delete("/{key_id}", status_code=204, response_class=Response)
    async def revoke_api_key(caller: Known, key_id: UUID) -> Response:
        """End a key; it fails from the next request on."""
        async with database.transaction(caller) as session:
            await keys.revoke_api_key(caller, session, ApiKeyId(key_id))
        return Response(status_code=204)

    return router


def build_service_accounts_router(database: Database, authenticate: Authenticate) -> APIRouter:
    """Return the routes of service accounts."""
    router = APIRouter(prefix="/service-accounts")
    Administering = Annotated[Caller, requires(authenticate, Permission.MEMBERS_ADMINISTER)]

    @router.get("")
    async def list_service_accounts(
        caller: Administering,
        paging: PageParams,
        q: Annotated[str | None, Query(max_length=200, description="Text in name or description.")] = None,
    ) -> Page[ServiceAccountOut]:
        """List the organisation's programs, newest first; who administers one workspace sees those of that workspace."""
        async with database.transaction(caller) as session:
            items, total = await service_accounts.list_service_accounts(
                caller, session, text=q, limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(ServiceAccountOut.of, items), total=total, paging=paging)

    @router.post("", status_code=201)
    async def create_service_account(caller: Administering, body: ServiceAccountIn) -> ServiceAccountOut:
        """Create a program's account; its keys are made at `/api-keys`."""
        async with database.transaction(caller) as session:
            made = await service_accounts.create_service_account(
                caller,
                session,
                name=body.name,
                description=body.description,
                workspace=body.workspace,
                organization_role=body.organization_role,
                workspace_role=body.workspace_role,
            )
        return ServiceAccountOut.of(made)

    @router.get("/{service_account_id}")
    async def get_service_account(caller: Administering, service_account_id: UUID) -> ServiceAccountOut:
        """Return one account."""
        async with database.transaction(caller) as session:
            found = await service_accounts.get_service_account(caller, session, service_account_id)
        return ServiceAccountOut.of(found)

    @router.patch("/{service_account_id}")
    async def change_service_account(
        caller: Administering, service_account_id: UUID, body: ServiceAccountPatch
    ) -> ServiceAccountOut:
        """Rename, describe or disable an account or change its roles; its keys follow at once."""
        change = AccountChange(body.name, body.description, body.organization_role, body.workspace_role, body.disabled)
        async with database.transaction(caller) as session:
            changed = await service_accounts.change_service_account(caller, session, service_account_id, change)
        return ServiceAccountOut.of(changed)

    @router.delete("/{service_account_id}", status_code=204, response_class=Response)
    async def delete_service_account(caller: Administering, service_account_id: UUID) -> Response:
        """Delete an account with its keys."""
        async with database.transaction(caller) as session:
            await service_accounts.delete_service_account(caller, session, service_account_id)
        return Response(status_code=204)

    return router
