"""What a caller may see and do in a workspace other than the one of the request."""

from dataclasses import replace

from ragecho.kernel.authorization import RULES, OrganizationRole, Permission, Scope, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Forbidden, NotFound
from ragecho.platform.database import Session
from ragecho.tenancy import store_workspaces
from ragecho.tenancy.model import Workspace, WorkspaceStatus


def is_organization_admin(caller: Caller) -> bool:
    """Return whether the caller administers the organisation: by role, and for a key also by its scope."""
    role = caller.organization_role
    if role is None or not role.includes(OrganizationRole.ADMIN):
        return False
    return caller.api_key_id is None or Scope.ADMIN in caller.scopes


async def role_in(caller: Caller, session: Session, workspace: Workspace) -> WorkspaceRole | None:
    """Return the caller's role in a workspace of the organisation; None where the caller does not belong."""
    if is_organization_admin(caller):
        return WorkspaceRole.ADMIN
    if workspace.id == caller.workspace_id:
        return caller.workspace_role
    if caller.user_id is None or caller.api_key_id is not None:
        return None  # a key is bound to its own workspace
    return await store_workspaces.role_of(session, workspace.id, caller.user_id)


async def workspace_for(
    caller: Caller, session: Session, name: str, permission: Permission | None
) -> tuple[Workspace, Caller]:
    """Return the workspace (id or slug) and the caller in it, who may do this there (None: who belongs there).

    Raises `NotFound` where the caller does not belong, and as `Caller.require`.
    """
    found = await store_workspaces.find(session, name)
    role = None if found is None else await role_in(caller, session, found)
    if found is None or role is None:
        raise NotFound("There is no such workspace.")
    there = replace(
        caller,
        workspace_id=found.id,
        workspace_role=role,
        is_archived=found.status == WorkspaceStatus.ARCHIVED,
    )
    if permission is not None:
        there.require(permission)
    return found, there


def require_role_over(caller: Caller, role: OrganizationRole | None) -> None:
    """Raise `Forbidden` unless the caller may hand out, take or act upon this role: nobody gives more than they have."""
    if role is None or role is OrganizationRole.MEMBER:
        return
    needed = Permission.ORGANIZATION_OWN if role is OrganizationRole.OWNER else Permission.ORGANIZATION_ADMINISTER
    if not caller.may(needed):
        raise Forbidden(f"To {RULES[needed].does}, {RULES[needed].needs()} are needed.", permission=str(needed))
