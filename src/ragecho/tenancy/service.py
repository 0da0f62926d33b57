"""What runs on the machine itself: the default organisation and workspace, and who its keys act for."""

from dataclasses import asdict

from ragecho.kernel.authorization import OrganizationRole, Scope, WorkspaceRole
from ragecho.kernel.caller import WORKSPACE_PRINCIPAL, Caller
from ragecho.kernel.ids import OrganizationId, UserId
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.database import Database, Session
from ragecho.tenancy import store
from ragecho.tenancy.keys import create_api_key, list_api_keys, revoke_api_key
from ragecho.tenancy.model import DEFAULT_ORGANIZATION, DEFAULT_WORKSPACE
from ragecho.tenancy.workspaces import create_workspace, get_workspace, list_workspaces

__all__ = [
    "create_api_key",
    "create_workspace",
    "ensure_default_tenant",
    "first_owner",
    "get_workspace",
    "list_api_keys",
    "list_workspaces",
    "local_administrator",
    "revoke_api_key",
]


def local_administrator(organization_id: OrganizationId = DEFAULT_ORGANIZATION) -> Caller:
    """Return the caller for commands run on the machine that holds the database; never made from a request."""
    return Caller(
        organization_id,
        DEFAULT_WORKSPACE,
        (WORKSPACE_PRINCIPAL,),
        frozenset(Scope),
        workspace_role=WorkspaceRole.ADMIN,
        organization_role=OrganizationRole.OWNER,
    )


async def ensure_default_tenant(database: Database, space: EmbeddingSpace) -> None:
    """Make the default organisation and workspace exist. Safe to call from many processes at once."""
    async with database.transaction(local_administrator()) as session:
        await store.insert_space(session, asdict(space))
        await store.insert_organization(session, DEFAULT_ORGANIZATION, slug="default", name="Default organization")
        await store.insert_workspace(
            session,
            DEFAULT_WORKSPACE,
            DEFAULT_ORGANIZATION,
            slug="default",
            name="Default",
            description="",
            space_id=space.id,
        )


async def first_owner(caller: Caller, session: Session) -> UserId | None:
    """Return the longest-standing owner of the caller's organisation, if it has one who can act."""
    return await store.first_owner(session)
