"""Writes the audit log: who did what, in the transaction of the act, so that neither exists without the other.

Below every feature, so that each can write; `ragecho.audit.trail` reads. Details hold what changed (before, after), never
content of documents or secrets.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import WorkspaceId, uuid7

# Where the request came from; set by the HTTP edge (platform/http/observability.py).
client_address: ContextVar[str | None] = ContextVar("ragecho_client_address", default=None)

INSERT = text("""
    insert into audit_events (organization_id, id, workspace_id, action, actor_kind, actor_id, actor_user_id, api_key_id,
                              client_id, target_kind, target_id, request_id, reason, details, ip)
    values (:organization_id, :id, :workspace_id, :action, :actor_kind, :actor_id, :actor_user_id, :api_key_id, :client_id,
            :target_kind, :target_id, :request_id, :reason, cast(:details as jsonb), :ip)""")


@dataclass(frozen=True, slots=True)
class Target:
    """What was acted on: a kind (`workspace`, `member`, `document`) and its id."""

    kind: str
    id: object | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. `action` is `<kind>.<what happened>`, like `workspace.archived`; no workspace means the organisation's."""

    action: str
    target: Target
    workspace_id: WorkspaceId | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


async def record(
    session: AsyncConnection,
    caller: Caller,
    action: str,
    target: Target,
    *,
    workspace_id: WorkspaceId | None = None,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write one act of the caller into its organisation's log; it is kept when the transaction commits."""
    await record_all(session, caller, [AuditEntry(action, target, workspace_id, reason, details or {})])


async def record_all(session: AsyncConnection, caller: Caller, entries: Sequence[AuditEntry]) -> None:
    """Write several acts of the caller, in order."""
    if not entries:
        return
    kind, actor_id = _actor_of(caller)
    shared = {
        "organization_id": caller.organization_id,
        "actor_kind": kind,
        "actor_id": actor_id,
        "actor_user_id": caller.user_id,
        "api_key_id": caller.api_key_id,
        "client_id": caller.client_id,
        "request_id": structlog.contextvars.get_contextvars().get("request_id"),
        "ip": client_address.get(),
    }
    await session.execute(INSERT, [shared | _row(entry) for entry in entries])


def _row(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "workspace_id": entry.workspace_id,
        "action": entry.action,
        "target_kind": entry.target.kind,
        "target_id": None if entry.target.id is None else str(entry.target.id),
        "reason": entry.reason or None,
        "details": orjson.dumps(dict(entry.details), default=str).decode(),
    }


def _actor_of(caller: Caller) -> tuple[str, str | None]:
    """Return kind and id of who acts: the credential that stands for itself, else the person."""
    candidates: tuple[tuple[str, UUID | str | None], ...] = (
        ("service_account", caller.service_account_id),
        ("api_key", caller.api_key_id),
        ("user", caller.user_id),
        ("client", caller.client_id),
    )
    for kind, actor_id in candidates:
        if actor_id is not None:
            return kind, str(actor_id)
    return "system", None
