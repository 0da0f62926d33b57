"""What SCIM hands around."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ragecho.kernel.authorization import WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import GroupId, UserId, WorkspaceId


@dataclass(frozen=True, slots=True)
class WorkspaceGrant:
    """A role in a workspace that newly provisioned people get."""

    workspace_id: WorkspaceId
    role: WorkspaceRole


@dataclass(frozen=True, slots=True)
class Directory:
    """Who is asking: the directory of one organisation. `caller` administers it, but has no power over its owners."""

    caller: Caller
    token_id: UUID
    workspaces: tuple[WorkspaceGrant, ...]


@dataclass(frozen=True, slots=True)
class ScimToken:
    """A directory's token without its secret."""

    id: UUID
    name: str
    prefix: str
    workspaces: tuple[WorkspaceGrant, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProvisionedUser:
    """A person whom the directory provisioned. `resource` is what it says about them, beyond what has columns."""

    user_id: UserId
    user_name: str
    external_id: str | None
    is_active: bool
    is_managed: bool
    email: str
    resource: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ProvisionedGroup:
    """A group of the organisation; `members` is None where nobody asked for them."""

    id: GroupId
    name: str
    external_id: str | None
    members: tuple[tuple[UserId, str], ...] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """A piece of SQL of our own making and the values it binds."""

    sql: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """Which resources are asked for, `start` counted from 1."""

    condition: Condition | None
    order: Condition | None
    is_descending: bool
    start: int
    count: int
