"""HTTP shapes of tenancy."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.kernel.authorization import Scope
from ragecho.tenancy.model import ApiKey, NewApiKey, Workspace

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class WorkspaceIn(BaseModel):
    """A workspace to create."""

    model_config = ConfigDict(extra="forbid")

    slug: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    name: Name | None = None
    description: Annotated[str, StringConstraints(max_length=2000)] = ""


class WorkspaceOut(BaseModel):
    """A workspace."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    slug: str
    name: str
    description: str
    status: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        """Return the shape of a workspace."""
        return cls.model_validate(workspace)


class ApiKeyIn(BaseModel):
    """A key to create, bound to the caller's workspace."""

    model_config = ConfigDict(extra="forbid")

    name: Name = "key"
    scopes: list[Scope] = Field(min_length=1)
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class ApiKeyOut(BaseModel):
    """A key without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    workspace_id: UUID
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
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
