"""What the server answers about organisations, people, credentials and the audit log, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field

from ragecho_sdk.models import JSON, Model, Workspace, all_of


@dataclass(frozen=True)
class Member(Model):
    """A person in an organisation. `disabled` is the person everywhere, `suspended_at` only here."""

    user_id: str
    email: str
    name: str | None = None
    role: str | None = None
    disabled: bool = False
    suspended_at: str | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class WorkspaceMember(Model):
    """A person in a workspace; `inherited` for administrators of the organisation."""

    user_id: str
    email: str
    name: str | None = None
    role: str | None = None
    inherited: bool = False
    created_at: str | None = None


@dataclass(frozen=True)
class Group(Model):
    """People who are granted documents together; `members` counts them."""

    id: str
    name: str
    description: str = ""
    external_id: str | None = None
    members: int = 0
    created_at: str | None = None


@dataclass(frozen=True)
class GroupMember(Model):
    """A person in a group."""

    user_id: str
    email: str
    name: str | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class Invitation(Model):
    """An invitation; `status` is pending, accepted, revoked or expired. `accept_url` is given once, when it is made."""

    id: str
    email: str
    role: str
    status: str
    workspaces: tuple[JSON, ...] = ()
    accept_url: str | None = None
    created_at: str | None = None
    expires_at: str | None = None


@dataclass(frozen=True)
class ServiceAccount(Model):
    """A program's account, of one workspace or of the organisation."""

    id: str
    name: str
    description: str = ""
    workspace_id: str | None = None
    organization_role: str | None = None
    workspace_role: str | None = None
    disabled: bool = False
    created_at: str | None = None


@dataclass(frozen=True)
class ApiKey(Model):
    """An API key. `key` is its secret, given once, when it is made."""

    id: str
    name: str
    prefix: str | None = None
    workspace_id: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    scopes: tuple[str, ...] = ()
    organization_role: str | None = None
    key: str | None = field(default=None, repr=False)
    replaces: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    rotated_at: str | None = None
    last_used_at: str | None = None


@dataclass(frozen=True)
class BulkItem(Model):
    """What became of one workspace: `result` is done, unchanged or not_found."""

    id: str
    result: str


@dataclass(frozen=True)
class BulkResult(Model):
    """What became of the workspaces of a bulk operation."""

    total: int
    done: int = 0
    unchanged: int = 0
    not_found: int = 0
    items: tuple[BulkItem, ...] = ()


@dataclass(frozen=True)
class WorkspacePreview(Model):
    """What a filter selects now: how many workspaces, of which status, and the newest of them."""

    total: int
    by_status: JSON = field(default_factory=dict)
    sample: tuple[Workspace, ...] = ()


@dataclass(frozen=True)
class AuditEvent(Model):
    """One act in the audit log; `details` hold what changed."""

    id: str
    at: str
    action: str
    actor_kind: str | None = None
    actor_id: str | None = None
    actor_email: str | None = None
    workspace_id: str | None = None
    target_kind: str | None = None
    target_id: str | None = None
    request_id: str | None = None
    reason: str | None = None
    details: JSON = field(default_factory=dict)
    ip: str | None = None


Invitation._readers = {"workspaces": tuple}
ApiKey._readers = {"scopes": tuple}
BulkResult._readers = {"items": all_of(BulkItem)}
WorkspacePreview._readers = {"sample": all_of(Workspace)}
