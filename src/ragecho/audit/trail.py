"""What the audit log shows: one line per act, and which lines are asked for."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One act. `actor_kind` and `actor_id` name the credential or person, `actor_user_id` the person behind it, if any."""

    id: UUID
    at: datetime
    workspace_id: UUID | None
    action: str
    actor_kind: str
    actor_id: str | None
    actor_user_id: UUID | None
    actor_email: str | None
    api_key_id: UUID | None
    client_id: str | None
    target_kind: str
    target_id: str | None
    request_id: str | None
    reason: str | None
    details: dict[str, Any]
    ip: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which acts are asked for. `action` is one, or a kind of them (`workspace`); `after` is included, `before` is not."""

    workspace_id: UUID | None = None
    is_of_workspaces: bool = False
    action: str | None = None
    target_kind: str | None = None
    target_id: str | None = None
    request_id: str | None = None
    actor: str | None = None
    after: datetime | None = None
    before: datetime | None = None
