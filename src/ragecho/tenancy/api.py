"""The routes of tenancy, put together."""

from fastapi import APIRouter

from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.ports.blobs import BlobStore
from ragecho.tenancy.api_bulk import build_bulk_router
from ragecho.tenancy.api_credentials import build_keys_router, build_service_accounts_router
from ragecho.tenancy.api_people import build_groups_router, build_invitations_router, build_members_router
from ragecho.tenancy.api_workspaces import SpaceFor, build_organizations_router, build_workspaces_router
from ragecho.tenancy.settings import TenancySettings


def build_tenancy_router(
    database: Database,
    space_for: SpaceFor,
    authenticate: Authenticate,
    *,
    blobs: BlobStore,
    accept_page: str,
    settings: TenancySettings | None = None,
) -> APIRouter:
    """Return the routes of organisations, workspaces, people and credentials. `accept_page` is where invitations lead."""
    limits = settings or TenancySettings()
    router = APIRouter(prefix="/api/v1", tags=["tenancy"])
    # Before the routes with a workspace's name in that place.
    router.include_router(build_bulk_router(database, authenticate, limits))
    router.include_router(build_workspaces_router(database, space_for, authenticate, blobs))
    router.include_router(build_organizations_router(database, space_for, authenticate, limits))
    router.include_router(build_members_router(database, authenticate))
    router.include_router(build_groups_router(database, authenticate))
    router.include_router(build_invitations_router(database, authenticate, limits, accept_page=accept_page))
    router.include_router(build_keys_router(database, authenticate))
    router.include_router(build_service_accounts_router(database, authenticate))
    return router
