"""Workspaces, people, credentials and the audit log, as resources of the asynchronous client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ragecho_sdk import tenancy_calls as calls
from ragecho_sdk.calls import Call
from ragecho_sdk.models import Organization, Page, Workspace
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

T = TypeVar("T")


class Sender(Protocol):
    """What sends a call; the client itself."""

    async def send(self, call: Call[T]) -> T:
        """Return the call's value."""
        ...


class Resource:
    """What the resources share."""

    def __init__(self, echo: Sender) -> None:
        self._echo = echo


class AsyncWorkspaces(Resource):
    """Workspaces that the caller may see; a workspace is named by its id or slug."""

    async def list(
        self,
        *,
        status: str | None = None,
        q: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[Workspace]:
        """Return one page, newest first. `status` is active or archived; `q` is text in slug, name or description."""
        return await self._echo.send(calls.list_workspaces(status=status, q=q, limit=limit, offset=offset))

    async def create(
        self,
        slug: str,
        *,
        name: str | None = None,
        description: str | None = None,
        embedding_model: str | None = None,
        embedding_dimensions: int | None = None,
    ) -> Workspace:
        """Create a workspace and return it; without `embedding_model` it gets the server's default."""
        return await self._echo.send(
            calls.create_workspace(
                slug,
                name=name,
                description=description,
                embedding_model=embedding_model,
                embedding_dimensions=embedding_dimensions,
            )
        )

    async def get(self, workspace: str) -> Workspace:
        """Return one workspace."""
        return await self._echo.send(calls.get_workspace(workspace))

    async def update(
        self, workspace: str, *, slug: str | None = None, name: str | None = None, description: str | None = None
    ) -> Workspace:
        """Rename or describe a workspace."""
        return await self._echo.send(calls.update_workspace(workspace, slug=slug, name=name, description=description))

    async def archive(self, workspace: str, *, reason: str | None = None) -> Workspace:
        """Archive a workspace: it can be read, and every write raises `EchoConflictError` (`workspace_archived`)."""
        return await self._echo.send(calls.set_workspace_status(workspace, "archive", reason=reason))

    async def restore(self, workspace: str, *, reason: str | None = None) -> Workspace:
        """Restore an archived workspace."""
        return await self._echo.send(calls.set_workspace_status(workspace, "restore", reason=reason))

    async def delete(self, workspace: str, *, confirm: str) -> None:
        """Delete an archived workspace with all its documents, for good; `confirm` repeats its slug."""
        return await self._echo.send(calls.delete_workspace(workspace, confirm=confirm))

    async def preview(
        self, *, status: str | None = None, q: str | None = None, sample_limit: int | None = None
    ) -> WorkspacePreview:
        """Return what a filter selects now, before changing all of it."""
        return await self._echo.send(calls.preview_workspaces(status=status, q=q, sample_limit=sample_limit))

    async def archive_many(self, ids: Sequence[str], *, reason: str | None = None) -> BulkResult:
        """Archive several workspaces, all or none."""
        return await self._echo.send(calls.set_status_of_many("archive", ids, reason=reason))

    async def restore_many(self, ids: Sequence[str], *, reason: str | None = None) -> BulkResult:
        """Restore several workspaces, all or none."""
        return await self._echo.send(calls.set_status_of_many("restore", ids, reason=reason))

    async def archive_matching(
        self, *, expected_total: int, status: str | None = None, q: str | None = None, reason: str | None = None
    ) -> BulkResult:
        """Archive all that a filter selects; raises `EchoConflictError` when that is not the expected number any more."""
        return await self._echo.send(
            calls.set_status_of_matching("archive", expected_total=expected_total, status=status, q=q, reason=reason)
        )

    async def restore_matching(
        self, *, expected_total: int, status: str | None = None, q: str | None = None, reason: str | None = None
    ) -> BulkResult:
        """Restore all that a filter selects; as `archive_matching`."""
        return await self._echo.send(
            calls.set_status_of_matching("restore", expected_total=expected_total, status=status, q=q, reason=reason)
        )

    async def audit_log(self, **filters: Any) -> Page[AuditEvent]:
        """Return what was done to workspaces and in them; filters as for `AsyncAudit.list`."""
        return await self._echo.send(calls.workspace_acts(filters))

    async def members(
        self, workspace: str, *, q: str | None = None, limit: int | None = None, offset: int | None = None
    ) -> Page[WorkspaceMember]:
        """Return who may enter a workspace."""
        return await self._echo.send(calls.list_workspace_members(workspace, q=q, limit=limit, offset=offset))

    async def set_member(self, workspace: str, user_id: str, role: str) -> WorkspaceMember:
        """Give a member of the organisation a role in a workspace: reader, editor or admin."""
        return await self._echo.send(calls.put_workspace_member(workspace, user_id, role))

    async def remove_member(self, workspace: str, user_id: str) -> None:
        """Take a person out of a workspace."""
        return await self._echo.send(calls.remove_workspace_member(workspace, user_id))


class AsyncAudit(Resource):
    """The audit log of the organisation."""

    async def list(self, **filters: Any) -> Page[AuditEvent]:
        """Return one page, newest first.

        Filters: `action`, `workspace`, `request_id`, `actor`, `target_kind`, `target_id`, `from` and `to` (RFC 3339; pass
        `**{"from": …}`), `limit` and `offset`.
        """
        return await self._echo.send(calls.organization_acts(filters))


class AsyncOrganizations(Resource):
    """Organisations that the caller is in."""

    async def list(self, *, limit: int | None = None, offset: int | None = None) -> Page[Organization]:
        """Return one page, oldest membership first."""
        return await self._echo.send(calls.list_organizations(limit=limit, offset=offset))

    async def create(self, name: str) -> Organization:
        """Create an organisation that the caller owns, where the server allows it."""
        return await self._echo.send(calls.create_organization(name))

    async def rename(self, organization_id: str, name: str) -> Organization:
        """Rename the organisation that the caller acts in."""
        return await self._echo.send(calls.update_organization(organization_id, name=name))

    async def require_second_factor(self, organization_id: str, *, is_required: bool) -> Organization:
        """Decide whether members of the organisation sign in with a second factor, from their next sign-in on."""
        return await self._echo.send(calls.update_organization(organization_id, require_second_factor=is_required))


class AsyncMembers(Resource):
    """People of the organisation."""

    async def list(
        self,
        *,
        q: str | None = None,
        role: str | None = None,
        suspended: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[Member]:
        """Return one page, newest first."""
        return await self._echo.send(
            calls.list_members(q=q, role=role, suspended=suspended, limit=limit, offset=offset)
        )

    async def get(self, user_id: str) -> Member:
        """Return one person."""
        return await self._echo.send(calls.get_member(user_id))

    async def set_role(self, user_id: str, role: str) -> Member:
        """Make a member an owner, admin or member."""
        return await self._echo.send(calls.set_member_role(user_id, role))

    async def suspend(self, user_id: str, *, reason: str | None = None) -> Member:
        """Suspend a membership, from the person's next request on."""
        return await self._echo.send(calls.set_member_state(user_id, "suspend", reason=reason))

    async def reactivate(self, user_id: str, *, reason: str | None = None) -> Member:
        """Let a suspended member in again."""
        return await self._echo.send(calls.set_member_state(user_id, "reactivate", reason=reason))

    async def remove(self, user_id: str) -> None:
        """Remove a person from the organisation; their keys here are revoked."""
        return await self._echo.send(calls.remove_member(user_id))


class AsyncGroups(Resource):
    """Groups of people."""

    async def list(self, *, q: str | None = None, limit: int | None = None, offset: int | None = None) -> Page[Group]:
        """Return one page, newest first."""
        return await self._echo.send(calls.list_groups(q=q, limit=limit, offset=offset))

    async def create(self, name: str, *, description: str | None = None) -> Group:
        """Create a group."""
        return await self._echo.send(calls.create_group(name, description=description))

    async def get(self, group_id: str) -> Group:
        """Return one group."""
        return await self._echo.send(calls.get_group(group_id))

    async def update(self, group_id: str, *, name: str | None = None, description: str | None = None) -> Group:
        """Rename or describe a group."""
        return await self._echo.send(calls.update_group(group_id, name=name, description=description))

    async def delete(self, group_id: str) -> None:
        """Delete a group."""
        return await self._echo.send(calls.delete_group(group_id))

    async def members(self, group_id: str, *, limit: int | None = None, offset: int | None = None) -> Page[GroupMember]:
        """Return one page of a group's people."""
        return await self._echo.send(calls.list_group_members(group_id, limit=limit, offset=offset))

    async def add_member(self, group_id: str, user_id: str) -> None:
        """Put a member of the organisation into a group."""
        return await self._echo.send(calls.add_group_member(group_id, user_id))

    async def remove_member(self, group_id: str, user_id: str) -> None:
        """Take a person out of a group."""
        return await self._echo.send(calls.remove_group_member(group_id, user_id))


class AsyncInvitations(Resource):
    """Invitations into the organisation."""

    async def list(
        self,
        *,
        status: str | None = None,
        q: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[Invitation]:
        """Return one page, newest first. `status` is pending, accepted, revoked or expired."""
        return await self._echo.send(calls.list_invitations(status=status, q=q, limit=limit, offset=offset))

    async def create(
        self,
        email: str,
        *,
        role: str | None = None,
        workspaces: Mapping[str, str] | None = None,
        expires_in_days: int | None = None,
        send_mail: bool | None = None,
    ) -> Invitation:
        """Invite an address, with a role in each of `workspaces` (name to role); `accept_url` is given this once."""
        return await self._echo.send(
            calls.create_invitation(
                email, workspaces=workspaces or {}, role=role, expires_in_days=expires_in_days, send_mail=send_mail
            )
        )

    async def resend(
        self, invitation_id: str, *, expires_in_days: int | None = None, send_mail: bool | None = None
    ) -> Invitation:
        """Make a new link for an invitation; earlier ones end."""
        return await self._echo.send(
            calls.resend_invitation(invitation_id, expires_in_days=expires_in_days, send_mail=send_mail)
        )

    async def revoke(self, invitation_id: str) -> None:
        """Revoke an invitation that is not taken up."""
        return await self._echo.send(calls.revoke_invitation(invitation_id))


class AsyncKeys(Resource):
    """API keys of the workspace."""

    async def list(
        self,
        *,
        mine: bool | None = None,
        service_account_id: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[ApiKey]:
        """Return one page, newest first."""
        return await self._echo.send(
            calls.list_keys(mine=mine, service_account_id=service_account_id, limit=limit, offset=offset)
        )

    async def create(
        self,
        scopes: Sequence[str],
        *,
        name: str | None = None,
        expires_in_days: int | None = None,
        service_account_id: str | None = None,
        workspace_only: bool | None = None,
    ) -> ApiKey:
        """Create a key; `key` is given this once. It never gets more than the caller has."""
        return await self._echo.send(
            calls.create_key(
                scopes,
                name=name,
                expires_in_days=expires_in_days,
                service_account_id=service_account_id,
                workspace_only=workspace_only,
            )
        )

    async def rotate(
        self, key_id: str, *, overlap_seconds: int | None = None, expires_in_days: int | None = None
    ) -> ApiKey:
        """Replace a key by a new one; the old one ends now, or after the overlap."""
        return await self._echo.send(
            calls.rotate_key(key_id, overlap_seconds=overlap_seconds, expires_in_days=expires_in_days)
        )

    async def revoke(self, key_id: str) -> None:
        """End a key; it fails from the next request on."""
        return await self._echo.send(calls.revoke_key(key_id))


class AsyncServiceAccounts(Resource):
    """Programs with a name, roles and keys of their own."""

    async def list(
        self, *, q: str | None = None, limit: int | None = None, offset: int | None = None
    ) -> Page[ServiceAccount]:
        """Return one page, newest first."""
        return await self._echo.send(calls.list_service_accounts(q=q, limit=limit, offset=offset))

    async def create(
        self,
        name: str,
        *,
        workspace: str | None = None,
        workspace_role: str | None = None,
        organization_role: str | None = None,
        description: str | None = None,
    ) -> ServiceAccount:
        """Create an account of a workspace, or without one of the organisation."""
        return await self._echo.send(
            calls.create_service_account(
                name,
                workspace=workspace,
                workspace_role=workspace_role,
                organization_role=organization_role,
                description=description,
            )
        )

    async def get(self, account_id: str) -> ServiceAccount:
        """Return one account."""
        return await self._echo.send(calls.get_service_account(account_id))

    async def update(
        self,
        account_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        workspace_role: str | None = None,
        organization_role: str | None = None,
        disabled: bool | None = None,
    ) -> ServiceAccount:
        """Rename, describe or disable an account or change its roles; its keys follow at once."""
        return await self._echo.send(
            calls.update_service_account(
                account_id,
                name=name,
                description=description,
                workspace_role=workspace_role,
                organization_role=organization_role,
                disabled=disabled,
            )
        )

    async def delete(self, account_id: str) -> None:
        """Delete an account with its keys."""
        return await self._echo.send(calls.delete_service_account(account_id))
