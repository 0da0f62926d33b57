"""HTTP shapes of API keys and service accounts."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.kernel.authorization import OrganizationRole, Scope, WorkspaceRole
from ragecho.tenancy.model import ApiKey, NewApiKey, ServiceAccount
from ragecho.tenancy.schemas import Description, Name


class ApiKeyIn(BaseModel):
    """A key to create, bound to the caller's workspace."""

    model_config = ConfigDict(extra="forbid")

    name: Name = "key"
    scopes: list[Scope] = Field(min_length=1)
    expires_in_days: int | None = Field(None, ge=1, le=3650)
    service_account_id: UUID | None = Field(None, description="The program that it acts for; else it acts for you.")
    workspace_only: bool = Field(
        False, description="Whether it acts in this workspace only, and not in the organisation as you do."
    )


class RotateIn(BaseModel):
    """How a key is rotated."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: int = Field(0, ge=0, le=7 * 24 * 3600, description="How long the old key still answers.")
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class ApiKeyOut(BaseModel):
    """A key without its secret. `organization_role` is the most that it may act as in the organisation."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    workspace_id: UUID
    user_id: UUID | None
    service_account_id: UUID | None
    name: str
    prefix: str
    scopes: list[Scope]
    organization_role: OrganizationRole | None
    replaces: UUID | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Return the shape of a key."""
        return cls.model_validate(key)


class NewApiKeyOut(ApiKeyOut):
    """A key just made. `key` is shown this once."""

    key: str

    @classmethod
    def made(cls, new: NewApiKey) -> Self:
        """Return the shape of a key just made."""
        return cls(key=new.secret, **ApiKeyOut.of(new.key).model_dump())


class ServiceAccountIn(BaseModel):
    """A program's account to create: of one workspace, or of the organisation."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Description = ""
    workspace: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="Id or slug; without it the account is the organisation's."
    )
    organization_role: OrganizationRole | None = Field(
        None, description="`admin` or `member`; without a workspace only."
    )
    workspace_role: WorkspaceRole | None = Field(
        None, description="Role in the workspace; of an organisation's account, in every workspace."
    )


class ServiceAccountPatch(BaseModel):
    """What to change about an account; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    description: Description | None = None
    organization_role: OrganizationRole | None = None
    workspace_role: WorkspaceRole | None = None
    disabled: bool | None = None


class ServiceAccountOut(BaseModel):
    """A program's account."""

    id: UUID
    workspace_id: UUID | None
    name: str
    description: str
    organization_role: OrganizationRole | None
    workspace_role: WorkspaceRole | None
    disabled: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, account: ServiceAccount) -> Self:
        """Return the shape of an account."""
        return cls(
            id=account.id,
            workspace_id=account.workspace_id,
            name=account.name,
            description=account.description,
            organization_role=account.organization_role,
            workspace_role=account.workspace_role,
            disabled=account.is_disabled,
            created_at=account.created_at,
            updated_at=account.updated_at,
        )
