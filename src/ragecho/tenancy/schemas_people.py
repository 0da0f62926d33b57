"""HTTP shapes of members, groups and invitations."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.tenancy.model import (
    Group,
    GroupMember,
    Invitation,
    InvitationStatus,
    Member,
    NewInvitation,
    WorkspaceMember,
)
from ragecho.tenancy.schemas import Description, Name

Email = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=254)]


class MemberOut(BaseModel):
    """A person in the organisation. `disabled` is the person everywhere, `suspended_at` only here."""

    user_id: UUID
    email: str
    name: str | None
    role: OrganizationRole
    disabled: bool
    suspended_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, member: Member) -> Self:
        """Return the shape of a member."""
        return cls(
            user_id=member.user_id,
            email=member.email,
            name=member.name,
            role=member.role,
            disabled=member.is_disabled,
            suspended_at=member.suspended_at,
            created_at=member.created_at,
        )


class MemberPatch(BaseModel):
    """A member's new role in the organisation."""

    model_config = ConfigDict(extra="forbid")

    role: OrganizationRole


class WorkspaceMemberOut(BaseModel):
    """A person in a workspace; `inherited` for administrators of the organisation, who are admin in each."""

    user_id: UUID
    email: str
    name: str | None
    role: WorkspaceRole
    inherited: bool
    created_at: datetime

    @classmethod
    def of(cls, member: WorkspaceMember) -> Self:
        """Return the shape of a workspace's member."""
        return cls(
            user_id=member.user_id,
            email=member.email,
            name=member.name,
            role=member.role,
            inherited=member.is_inherited,
            created_at=member.created_at,
        )


class WorkspaceMemberIn(BaseModel):
    """A person's role in a workspace."""

    model_config = ConfigDict(extra="forbid")

    role: WorkspaceRole


class GroupIn(BaseModel):
    """A group to create."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Description = ""


class GroupPatch(BaseModel):
    """What to change about a group; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    description: Description | None = None


class GroupOut(BaseModel):
    """A group; `members` counts its people."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    description: str
    external_id: str | None
    members: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, group: Group) -> Self:
        """Return the shape of a group."""
        return cls.model_validate(group)


class GroupMemberOut(BaseModel):
    """A person in a group."""

    model_config = ConfigDict(from_attributes=True)

    user_id: UUID
    email: str
    name: str | None
    created_at: datetime

    @classmethod
    def of(cls, member: GroupMember) -> Self:
        """Return the shape of a group's member."""
        return cls.model_validate(member)


class InvitedWorkspace(BaseModel):
    """A workspace (id or slug) and the role there."""

    model_config = ConfigDict(extra="forbid")

    workspace: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    role: WorkspaceRole


class InvitationIn(BaseModel):
    """An invitation to send."""

    model_config = ConfigDict(extra="forbid")

    email: Email
    role: OrganizationRole = OrganizationRole.MEMBER
    workspaces: list[InvitedWorkspace] = Field(default_factory=list, max_length=100)
    expires_in_days: int | None = Field(None, ge=1, le=90)
    send_mail: bool = Field(True, description="Whether the address gets a mail; the link is in the answer in any case.")


class ResendIn(BaseModel):
    """How an invitation is sent again."""

    model_config = ConfigDict(extra="forbid")

    expires_in_days: int | None = Field(None, ge=1, le=90)
    send_mail: bool = True


class InvitationOut(BaseModel):
    """An invitation without its link."""

    id: UUID
    email: str
    role: OrganizationRole
    workspaces: list[InvitedWorkspace]
    status: InvitationStatus
    invited_by: UUID | None
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, invitation: Invitation) -> Self:
        """Return the shape of an invitation."""
        return cls(
            id=invitation.id,
            email=invitation.email,
            role=invitation.role,
            workspaces=[InvitedWorkspace(workspace=str(one), role=role) for one, role in invitation.workspaces],
            status=invitation.status,
            invited_by=invitation.invited_by,
            created_at=invitation.created_at,
            expires_at=invitation.expires_at,
            accepted_at=invitation.accepted_at,
            revoked_at=invitation.revoked_at,
        )


class NewInvitationOut(InvitationOut):
    """An invitation just made. `accept_url` is shown this once."""

    accept_url: str

    @classmethod
    def made(cls, new: NewInvitation, *, accept_page: str) -> Self:
        """Return the shape of an invitation just made."""
        return cls(accept_url=f"{accept_page}?token={new.secret}", **InvitationOut.of(new.invitation).model_dump())
