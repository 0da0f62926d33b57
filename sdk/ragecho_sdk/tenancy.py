"""Workspaces, people, credentials and the audit log, as resources of the synchronous client."""

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

    def send(self, call: Call[T]) -> T:
        """Return the call's value."""
        ...


class Resource:
    """What the resources share."""

    def __init__(self, echo: Sender) -> None:
        self._echo = echo


class Workspaces(Resource):
    """Workspaces that the caller may see; a workspace is named by its id or slug."""

    def list(
        self,
        *,
        status: str | None = None,
        q: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[Workspace]:
        """Return one page, newest first. `status` is active or archived; `q` is text in slug, name or description."""
        return self._echo.send(calls.list_workspaces(status=status, q=q, limit=limit, offset=offset))

    def create(
        self,
        slug: str,
        *,
        name: str | None = None,
        description: str | None = None,
        embedding_model: str | None = None,
        embedding_dimensions: int | None = None,
    ) -> Workspace:
        """Create a workspace and return it; without `embedding_model` it gets the server's default."""
        return self._echo.send(
            calls.create_workspace(
                slug,
                name=name,
                description=description,
                embedding_model=embedding_model,
                embedding_dimensions=embedding_dimensions,
            )
        )

    def get(self, workspace: str) -> Workspace:
        """Return one workspace."""
        return self._echo.send(calls.get_workspace(workspace))

    def update(
        self, workspace: str, *, slug: str | None = None, name: str | None = None, description: str | None = None
    ) -> Workspace:
        """Rename or describe a workspace."""
        return self._echo.send(calls.update_workspace(workspace, slug=slug, name=name, description=description))

    def archive(self, workspace: str, *, reason: str | None = None) -> Workspace:
        """Archive a workspace: it can be read, and every write raises `EchoConflictError` (`workspace_archived`)."""
        return self._echo.send(calls.set_workspace_status(workspace, "archive", reason=reason))

    def restore(self, workspace: str, *, reason: str | None = None) -> Workspace:
        """Restore an archived workspace."""
        return self._echo.send(calls.set_workspace_status(workspace, "restore", reason=reason))

    def delete(self, workspace: str, *, confirm: str) -> None:
        """Delete an archived workspace with all its documents, for good; `confirm` repeats its slug."""
        return self._echo.send(calls.delete_workspace(workspace, confirm=confirm))

    def preview(
        self, *, status: str | None = None, q: str | None = None, sample_limit: int | None = None
    ) -> WorkspacePreview:
        """Return what a filter selects now, before changing all of it."""
        return self._echo.send(calls.preview_workspaces(status=status, q=q, sample_limit=sample_limit))

    def archive_many(self, ids: Sequence[str], *, reason: str | None = None) -> BulkResult:
        """Archive several workspaces, all or none."""
        return self._echo.send(calls.set_status_of_many("archive", ids, reason=reason))

    def restore_many(self, ids: Sequence[str], *, reason: str | None = None) -> BulkResult:
        """Restore several workspaces, all or none."""
        return self._echo.send(calls.set_status_of_many("restore", ids, reason=reason))

    def archive_matching(
        self, *, expected_total: int, status: str | None = None, q: str | None = None, reason: str | None = None
    ) -> BulkResult:
        """Archive all that a filter selects; raises `EchoConflictError` when that is not the expected number any more."""
        return self._echo.send(
            calls.set_status_of_matching("archive", expected_total=expected_total, status=status, q=q, reason=reason)
        )

    def restore_matching(
        self, *, expected_total: int, status: str | None = None, q: str | None = None, reason: str | None = None
    ) -> BulkResult:
        """Restore all that a filter selects; as `archive_matching`."""
        return self._echo.send(
            calls.set_status_of_matching("restore", expected_total=expected_total, status=status, q=q, reason=reason)
        )

    def audit_log(self, **filters: Any) -> Page[AuditEvent]:
        """Return what was done to workspaces and in them; filters as for `Audit.list`."""
        return self._echo.send(calls.workspace_acts(filters))

    def members(
        self, workspace: str, *, q: str | None = None, limit: int | None = None, offset: int | None = None
    ) -> Page[WorkspaceMember]:
        """Return who may enter a workspace."""
        return self._echo.send(calls.list_workspace_members(workspace, q=q, limit=limit, offset=offset))

    def set_member(self, workspace: str, user_id: str, role: str) -> WorkspaceMember:
        """Give a member of the organisation a role in a workspace: reader, editor or admin."""
        return self._echo.send(calls.put_workspace_member(workspace, user_id, role))

    def remove_member(self, workspace: str, user_id: str) -> None:
        """Take a person out of a workspace."""
        return self._echo.send(calls.remove_workspace_member(workspace, user_id))


class Audit(Resource):
    """The audit log of the organisation."""

    def list(self, **filters: Any) -> Page[AuditEvent]:
        """Return one page, newest first.

        Filters: `action`, `workspace`, `request_id`, `actor`, `target_kind`, `target_id`, `from` and `to` (RFC 3339; pass
        `**{"from": …}`), `limit` and `offset`.
        """
        return self._echo.send(calls.organization_acts(filters))


class Organizations(Resource):
    """Organisations that the caller is in."""

    def list(self, *, limit: int | None = None, offset: int | None = None) -> Page[Organization]:
        """Return one page, oldest membership first."""
        return self._echo.send(calls.list_organizations(limit=limit, offset=offset))

    def create(self, name: str) -> Organization:
        """Create an organisation that the caller owns, where the server allows it."""
        return self._echo.send(calls.create_organization(name))

    def rename(self, organization_id: str, name: str) -> Organization:
        """Rename the organisation that the caller acts in."""
        return self._echo.send(calls.update_organization(organization_id, name=name))

    def require_second_factor(self, organization_id: str, *, is_required: bool) -> Organization:
        """Decide whether members of the organisation sign in with a second factor, from their next sign-in on."""
        return self._echo.send(calls.update_organization(organization_id, require_second_factor=is_required))


class Members(Resource):
    """People of the organisation."""

    def list(
        self,
        *,
        q: str | None = None,
        role: str | None = None,
        suspended: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[Member]:
        """Return one page, newest first."""
        return self._echo.send(calls.list_members(q=q, role=role, suspended=suspended, limit=limit, offset=offset))

    def get(self, user_id: str) -> Member:
        """Return one person."""
        return self._echo.send(calls.get_member(user_id))

    def set_role(self, user_id: str, role: str) -> Member:
        """Make a member an owner, admin or member."""
        return self._echo.send(calls.set_member_role(user_id, role))

    def suspend(self, user_id: str, *, reason: str | None = None) -> Member:
        """Suspend a membership, from the person's next request on."""
        return self._echo.send(calls.set_member_state(user_id, "suspend", reason=reason))

    def reactivate(self, user_id: str, *, reason: str | None = None) -> Member:
        """Let a suspended member in again."""
        return self._echo.send(calls.set_member_state(user_id, "reactivate", reason=reason))

    def remove(self, user_id: str) -> None:
        """Remove a person from the organisation; their keys here are revoked."""
        return self._echo.send(calls.remove_member(user_id))


class Groups(Resource):
    """Groups of people."""

    def list(self, *, q: str | None = None, limit: int | None = None, offset: int | None = None) -> Page[Group]:
        """Return one page, newest first."""
        return self._echo.send(calls.list_groups(q=q, limit=limit, offset=offset))

    def create(self, name: str, *, description: str | None = None) -> Group:
        """Create a group."""
        return self._echo.send(calls.create_group(name, description=description))

    def get(self, group_id: str) -> Group:
        """Return one group."""
        return self._echo.send(calls.get_group(group_id))

    def update(self, group_id: str, *, name: str | None = None, description: str | None = None) -> Group:
        """Rename or describe a group."""
        return self._echo.send(calls.update_group(group_id, name=name, description=description))

    def delete(self, group_id: str) -> None:
        """Delete a group."""
        return self._echo.send(calls.delete_group(group_id))

    def members(self, group_id: str, *, limit: int | None = None, offset: int | None = None) -> Page[GroupMember]:
        """Return one page of a group's people."""
        return self._echo.send(calls.list_group_members(group_id, limit=limit, offset=offset))

    def add_member(self, group_id: str, user_id: str) -> None:
        """Put a member of the organisation into a group."""
        return self._echo.send(calls.add_group_member(group_id, user_id))

    def remove_member(self, group_id: str, user_id: str) -> None:
        """Take a person out of a group."""
        return self._echo.send(calls.remove_group_member(group_id, user_id))


class Invitations(Resource):
    """Invitations into the organisation."""

    def list(
        self,
        *,
        status: str | None = None,
        q: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[Invitation]:
        """Return one page, newest first. `status` is pending, accepted, revoked or expired."""
        return self._echo.send(calls.list_invitations(status=status, q=q, limit=limit, offset=offset))

    def create(
        self,
        email: str,
        *,
        role: str | None = None,
        workspaces: Mapping[str, str] | None = None,
        expires_in_days: int | None = None,
        send_mail: bool | None = None,
    ) -> Invitation:
        """Invite an address, with a role in each of `workspaces` (name to role); `accept_url` is given this once."""
        return self._echo.send(
            calls.create_invitation(
                email, workspaces=workspaces or {}, role=role, expires_in_days=expires_in_days, send_mail=send_mail
            )
        )

    def resend(
        self, invitation_id: str, *, expires_in_days: int | None = None, send_mail: bool | None = None
    ) -> Invitation:
        """Make a new link for an invitation; earlier ones end."""
        return self._echo.send(
            calls.resend_invitation(invitation_id, expires_in_days=expires_in_days, send_mail=send_mail)
        )

    def revoke(self, invitation_id: str) -> None:
        """Revoke an invitation that is not taken up."""
        return self._echo.send(calls.revoke_invitation(invitation_id))


class Keys(Resource):
    """API keys of the workspace."""

    def list(
        self,
        *,
        mine: bool | None = None,
        service_account_id: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Page[ApiKey]:
        """Return one page, newest first."""
        return self._echo.send(
            calls.list_keys(mine=mine, service_account_id=service_account_id, limit=limit, offset=offset)
        )

    def create(
        self,
        scopes: Sequence[str],
        *,
        name: str | None = None,
        expires_in_days: int | None = None,
        service_account_id: str | None = None,
        workspace_only: bool | None = None,
    ) -> ApiKey:
        """Create a key; `key` is given this once. It never gets more than the caller has."""
        return self._echo.send(
            calls.create_key(
                scopes,
                name=name,
                expires_in_days=expires_in_days,
                service_account_id=service_account_id,
                workspace_only=workspace_only,
            )
        )

    def rotate(self, key_id: str, *, overlap_seconds: int | None = None, expires_in_days: int | None = None) -> ApiKey:
        """Replace a key by a new one; the old one ends now, or after the overlap."""
        return self._echo.send(
            calls.rotate_key(key_id, overlap_seconds=overlap_seconds, expires_in_days=expires_in_days)
        )

    def revoke(self, key_id: str) -> None:
        """End a key; it fails from the next request on."""
        return self._echo.send(calls.revoke_key(key_id))


class ServiceAccounts(Resource):
    """Programs with a name, roles and keys of their own."""

    def list(
        self, *, q: str | None = None, limit: int | None = None, offset: int | None = None
    ) -> Page[ServiceAccount]:
        """Return one page, newest first."""
        return self._echo.send(calls.list_service_accounts(q=q, limit=limit, offset=offset))

    def create(
        self,
        name: str,
        *,
        workspace: str | None = None,
        workspace_role: str | None = None,
        organization_role: str | None = None,
        description: str | None = None,
    ) -> ServiceAccount:
        """Create an account of a workspace, or without one of the organisation."""
        return self._echo.send(
            calls.create_service_account(
                name,
                workspace=workspace,
                workspace_role=workspace_role,
                organization_role=organization_role,
                description=description,
            )
        )

    def get(self, account_id: str) -> ServiceAccount:
        """Return one account."""
        return self._echo.send(calls.get_service_account(account_id))

    def update(
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
        return self._echo.send(
            calls.update_service_account(
                account_id,
                name=name,
                description=description,
                workspace_role=workspace_role,
                organization_role=organization_role,
                disabled=disabled,
            )
        )

    def delete(self, account_id: str) -> None:
        """Delete an account with its keys."""
        return self._echo.send(calls.delete_service_account(account_id))
