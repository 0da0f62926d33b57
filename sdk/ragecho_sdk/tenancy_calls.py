"""The routes of organisations, workspaces, people, credentials and the audit log, as values; see `calls`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ragecho_sdk.calls import Call, get, nothing, post, segment
from ragecho_sdk.models import Organization, Page, Workspace, page_of
from ragecho_sdk.tenancy_models import (
    ApiKey,
    AuditEvent,
    BulkResult,
    Group,
    GroupMember,
    Invitation,
    Member,
    ServiceAccount,
    WorkspaceMember,
    WorkspacePreview,
)

API = "/api/v1"


def _patch(path: str, read: Any, **changes: Any) -> Call[Any]:
    given = {name: value for name, value in changes.items() if value is not None}
    return Call("PATCH", path, read, body=given)


def _delete(path: str, **params: Any) -> Call[None]:
    given = {name: value for name, value in params.items() if value is not None}
    return Call("DELETE", path, nothing, params=given)


def _workspace(name: str) -> str:
    return f"{API}/workspaces/{segment(name)}"


def list_workspaces(**options: Any) -> Call[Page[Workspace]]:
    """One page of the workspaces that the caller may see."""
    return get(f"{API}/workspaces", page_of(Workspace), **options)


def create_workspace(slug: str, **options: Any) -> Call[Workspace]:
    """Create a workspace."""
    return post(f"{API}/workspaces", Workspace.read, slug=slug, **options)


def get_workspace(workspace: str) -> Call[Workspace]:
    """One workspace by id or slug."""
    return get(_workspace(workspace), Workspace.read)


def update_workspace(workspace: str, **changes: Any) -> Call[Workspace]:
    """Rename or describe a workspace."""
    return _patch(_workspace(workspace), Workspace.read, **changes)


def delete_workspace(workspace: str, *, confirm: str) -> Call[None]:
    """Delete an archived workspace for good."""
    return _delete(_workspace(workspace), confirm=confirm)


def set_workspace_status(workspace: str, act: str, *, reason: str | None) -> Call[Workspace]:
    """Archive or restore one workspace."""
    return post(f"{_workspace(workspace)}/{act}", Workspace.read, reason=reason)


def preview_workspaces(**options: Any) -> Call[WorkspacePreview]:
    """Ask what a filter selects."""
    return get(f"{API}/workspaces/bulk/preview", WorkspacePreview.read, **options)


def set_status_of_many(act: str, ids: Sequence[str], *, reason: str | None) -> Call[BulkResult]:
    """Archive or restore several workspaces by their ids."""
    return post(f"{API}/workspaces/bulk/{act}", BulkResult.read, ids=list(ids), reason=reason)


def set_status_of_matching(act: str, **options: Any) -> Call[BulkResult]:
    """Archive or restore all that a filter selects."""
    return post(f"{API}/workspaces/bulk/{act}-matching", BulkResult.read, confirm=True, **options)


def workspace_acts(filters: Mapping[str, Any]) -> Call[Page[AuditEvent]]:
    """List what was done to workspaces and in them."""
    return get(f"{API}/workspaces/audit-logs", page_of(AuditEvent), **filters)


def organization_acts(filters: Mapping[str, Any]) -> Call[Page[AuditEvent]]:
    """Everything that was done in the organisation."""
    return get(f"{API}/admin/audit-logs", page_of(AuditEvent), **filters)


def list_workspace_members(workspace: str, **options: Any) -> Call[Page[WorkspaceMember]]:
    """Who may enter a workspace."""
    return get(f"{_workspace(workspace)}/members", page_of(WorkspaceMember), **options)


def put_workspace_member(workspace: str, user_id: str, role: str) -> Call[WorkspaceMember]:
    """Give a member of the organisation a role in a workspace."""
    path = f"{_workspace(workspace)}/members/{segment(user_id)}"
    return Call("PUT", path, WorkspaceMember.read, body={"role": role})


def remove_workspace_member(workspace: str, user_id: str) -> Call[None]:
    """Take a person out of a workspace."""
    return _delete(f"{_workspace(workspace)}/members/{segment(user_id)}")


def list_organizations(**options: Any) -> Call[Page[Organization]]:
    """List the organisations that the caller is in."""
    return get(f"{API}/organizations", page_of(Organization), **options)


def create_organization(name: str) -> Call[Organization]:
    """Create an organisation of one's own."""
    return post(f"{API}/organizations", Organization.read, name=name)


def update_organization(organization_id: str, **changes: Any) -> Call[Organization]:
    """Rename the organisation."""
    return _patch(f"{API}/organizations/{segment(organization_id)}", Organization.read, **changes)


def list_members(**options: Any) -> Call[Page[Member]]:
    """One page of the organisation's people."""
    return get(f"{API}/users", page_of(Member), **options)


def get_member(user_id: str) -> Call[Member]:
    """One person of the organisation."""
    return get(f"{API}/users/{segment(user_id)}", Member.read)


def set_member_role(user_id: str, role: str) -> Call[Member]:
    """Change a member's role."""
    return _patch(f"{API}/users/{segment(user_id)}", Member.read, role=role)


def set_member_state(user_id: str, act: str, *, reason: str | None) -> Call[Member]:
    """Suspend or reactivate a member."""
    return post(f"{API}/users/{segment(user_id)}/{act}", Member.read, reason=reason)


def remove_member(user_id: str) -> Call[None]:
    """Remove a person from the organisation."""
    return _delete(f"{API}/users/{segment(user_id)}")


def list_groups(**options: Any) -> Call[Page[Group]]:
    """One page of the organisation's groups."""
    return get(f"{API}/groups", page_of(Group), **options)


def create_group(name: str, **options: Any) -> Call[Group]:
    """Create a group."""
    return post(f"{API}/groups", Group.read, name=name, **options)


def get_group(group_id: str) -> Call[Group]:
    """One group."""
    return get(f"{API}/groups/{segment(group_id)}", Group.read)


def update_group(group_id: str, **changes: Any) -> Call[Group]:
    """Rename or describe a group."""
    return _patch(f"{API}/groups/{segment(group_id)}", Group.read, **changes)


def delete_group(group_id: str) -> Call[None]:
    """Delete a group."""
    return _delete(f"{API}/groups/{segment(group_id)}")


def list_group_members(group_id: str, **options: Any) -> Call[Page[GroupMember]]:
    """One page of a group's people."""
    return get(f"{API}/groups/{segment(group_id)}/members", page_of(GroupMember), **options)


def add_group_member(group_id: str, user_id: str) -> Call[None]:
    """Put a member of the organisation into a group."""
    return Call("PUT", f"{API}/groups/{segment(group_id)}/members/{segment(user_id)}", nothing)


def remove_group_member(group_id: str, user_id: str) -> Call[None]:
    """Take a person out of a group."""
    return _delete(f"{API}/groups/{segment(group_id)}/members/{segment(user_id)}")


def list_invitations(**options: Any) -> Call[Page[Invitation]]:
    """One page of the organisation's invitations."""
    return get(f"{API}/invitations", page_of(Invitation), **options)


def create_invitation(email: str, *, workspaces: Mapping[str, str], **options: Any) -> Call[Invitation]:
    """Invite an address."""
    named = [{"workspace": workspace, "role": role} for workspace, role in workspaces.items()]
    return post(f"{API}/invitations", Invitation.read, email=email, workspaces=named, **options)


def resend_invitation(invitation_id: str, **options: Any) -> Call[Invitation]:
    """Make a new link for an invitation."""
    return post(f"{API}/invitations/{segment(invitation_id)}/resend", Invitation.read, **options)


def revoke_invitation(invitation_id: str) -> Call[None]:
    """Revoke an invitation."""
    return _delete(f"{API}/invitations/{segment(invitation_id)}")


def list_keys(**options: Any) -> Call[Page[ApiKey]]:
    """One page of the workspace's keys."""
    return get(f"{API}/api-keys", page_of(ApiKey), **options)


def create_key(scopes: Sequence[str], **options: Any) -> Call[ApiKey]:
    """Create a key."""
    return post(f"{API}/api-keys", ApiKey.read, scopes=list(scopes), **options)


def rotate_key(key_id: str, **options: Any) -> Call[ApiKey]:
    """Replace a key by a new one."""
    return post(f"{API}/api-keys/{segment(key_id)}/rotate", ApiKey.read, **options)


def revoke_key(key_id: str) -> Call[None]:
    """End a key."""
    return _delete(f"{API}/api-keys/{segment(key_id)}")


def list_service_accounts(**options: Any) -> Call[Page[ServiceAccount]]:
    """One page of service accounts."""
    return get(f"{API}/service-accounts", page_of(ServiceAccount), **options)


def create_service_account(name: str, **options: Any) -> Call[ServiceAccount]:
    """Create a program's account."""
    return post(f"{API}/service-accounts", ServiceAccount.read, name=name, **options)


def get_service_account(account_id: str) -> Call[ServiceAccount]:
    """One account."""
    return get(f"{API}/service-accounts/{segment(account_id)}", ServiceAccount.read)


def update_service_account(account_id: str, **changes: Any) -> Call[ServiceAccount]:
    """Change an account."""
    return _patch(f"{API}/service-accounts/{segment(account_id)}", ServiceAccount.read, **changes)


def delete_service_account(account_id: str) -> Call[None]:
    """Delete an account with its keys."""
    return _delete(f"{API}/service-accounts/{segment(account_id)}")
