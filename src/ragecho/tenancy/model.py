"""What tenancy hands out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ragecho.kernel.authorization import Scope
from ragecho.kernel.ids import ApiKeyId, OrganizationId, UserId, WorkspaceId

# The organisation and workspace that exist from the first start. Fixed, so that the machine's administrator can name
# them under row-level security before anything has been looked up.
DEFAULT_ORGANIZATION: Final = OrganizationId(UUID("01900000-0000-7000-8000-000000000001"))
DEFAULT_WORKSPACE: Final = WorkspaceId(UUID("01900000-0000-7000-8000-000000000002"))


@dataclass(frozen=True, slots=True)
class Workspace:
    """A place with documents of its own. `space_id` is the embedding space that its queries use."""

    id: WorkspaceId
    organization_id: OrganizationId
    slug: str
    name: str
    description: str
    status: str
    space_id: UUID
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret, which is nowhere stored."""

    id: ApiKeyId
    workspace_id: WorkspaceId
    user_id: UserId | None
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key just made; `secret` is shown once."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class Administrator:
    """The owner of an organisation."""

    user_id: UserId
    email: str
