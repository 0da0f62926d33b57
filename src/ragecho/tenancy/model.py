"""What tenancy hands out."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from ragecho.kernel.authorization import OrganizationRole, Scope, WorkspaceRole
from ragecho.kernel.ids import ApiKeyId, GroupId, OrganizationId, UserId, WorkspaceId

# The organisation and workspace that exist from the first start. Fixed, so that the machine's administrator can name
# them under row-level security before anything has been looked up.
DEFAULT_ORGANIZATION: Final = OrganizationId(UUID("01900000-0000-7000-8000-000000000001"))
DEFAULT_WORKSPACE: Final = WorkspaceId(UUID("01900000-0000-7000-8000-000000000002"))


class WorkspaceStatus(StrEnum):
    """Whether a workspace takes writes."""

    ACTIVE = "active"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A place with documents of its own. `space_id` is the embedding space that its queries use, of the model named."""

    id: WorkspaceId
    organization_id: OrganizationId
    slug: str
    name: str
    description: str
    status: str
    space_id: UUID
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None
    embedding_model: str = ""
    embedding_dimensions: int = 0


@dataclass(frozen=True, slots=True)
class WorkspaceFilter:
    """Which workspaces are meant: those of this status whose slug, name or description holds the text."""

    status: WorkspaceStatus | None = None
    text: str | None = None


class BulkOutcome(StrEnum):
    """What became of one workspace of a bulk operation."""

    DONE = "done"
    UNCHANGED = "unchanged"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class BulkResult:
    """One workspace of a bulk operation."""

    id: WorkspaceId
    outcome: BulkOutcome


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation as one of its people sees it. `role` is None for keys that act for no role in it."""

    id: OrganizationId
    name: str
    role: OrganizationRole | None
    is_suspended: bool
    created_at: datetime
    require_second_factor: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A person in an organisation. `is_disabled` is the person everywhere, `suspended_at` here."""

    user_id: UserId
    email: str
    name: str | None
    role: OrganizationRole
    is_disabled: bool
    suspended_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WorkspaceMember:
    """A person in a workspace; `is_inherited` for administrators of the organisation, who are admin in each."""

    user_id: UserId
    email: str
    name: str | None
    role: WorkspaceRole
    is_inherited: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Group:
    """People who are granted documents together."""

    id: GroupId
    name: str
    description: str
    external_id: str | None
    members: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A person in a group."""

    user_id: UserId
    email: str
    name: str | None
    created_at: datetime


class InvitationStatus(StrEnum):
    """What has become of an invitation."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation into an organisation, with roles in workspaces. Its secret is nowhere stored."""

    id: UUID
    email: str
    role: OrganizationRole
    workspaces: tuple[tuple[WorkspaceId, WorkspaceRole], ...]
    invited_by: UserId | None
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None

    @property
    def status(self) -> InvitationStatus:
        """What has become of it by now."""
        if self.accepted_at is not None:
            return InvitationStatus.ACCEPTED
        if self.revoked_at is not None:
            return InvitationStatus.REVOKED
        return InvitationStatus.EXPIRED if self.expires_at <= datetime.now(UTC) else InvitationStatus.PENDING


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation with the secret of its link, which is shown once."""

    invitation: Invitation
    secret: str


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A program. Without a workspace it is the organisation's, and `workspace_role` is its role in every workspace."""

    id: UUID
    workspace_id: WorkspaceId | None
    name: str
    description: str
    organization_role: OrganizationRole | None
    workspace_role: WorkspaceRole | None
    is_disabled: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret, which is nowhere stored. `organization_role` is the most it may act as."""

    id: ApiKeyId
    workspace_id: WorkspaceId
    user_id: UserId | None
    service_account_id: UUID | None
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    organization_role: OrganizationRole | None
    replaces: ApiKeyId | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key just made; `secret` is shown once."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class WorkspacePreview:
    """What a filter selects now: how many, of which status, and the first of them."""

    total: int
    by_status: dict[str, int] = field(default_factory=dict)
    sample: tuple[Workspace, ...] = ()
