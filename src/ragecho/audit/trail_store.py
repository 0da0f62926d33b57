"""SQL of reading the audit log. It is written by platform/audit_log.py, and nobody may change it."""
# ruff: noqa: S608 - SQL is assembled from constants of the module; values are always bound

from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.audit.trail import AuditEvent, AuditFilter

COLUMNS = """e.id, e.at, e.workspace_id, e.action, e.actor_kind, e.actor_id, e.actor_user_id, u.email as actor_email,
    e.api_key_id, e.client_id, e.target_kind, e.target_id, e.request_id, e.reason, e.details, e.ip"""
SELECTED = """audit_events e
    where (cast(:workspace_id as uuid) is null or e.workspace_id = :workspace_id)
    and (not :is_of_workspaces or e.workspace_id is not null)
    and (cast(:action as text) is null or e.action = :action or starts_with(e.action, :action || '.'))
    and (cast(:target_kind as text) is null or e.target_kind = :target_kind)
    and (cast(:target_id as text) is null or e.target_id = :target_id)
    and (cast(:request_id as text) is null or e.request_id = :request_id)
    and (cast(:actor as text) is null or e.actor_id = :actor or e.actor_user_id::text = :actor)
    and (cast(:after as timestamptz) is null or e.at >= :after)
    and (cast(:before as timestamptz) is null or e.at < :before)"""


async def list_page(
    session: AsyncConnection, wanted: AuditFilter, *, limit: int, offset: int
) -> tuple[list[AuditEvent], int]:
    """Return one page of what the filter selects in the caller's organisation, newest first, and how many there are."""
    values: dict[str, Any] = {
        "workspace_id": wanted.workspace_id,
        "is_of_workspaces": wanted.is_of_workspaces,
        "action": wanted.action,
        "target_kind": wanted.target_kind,
        "target_id": wanted.target_id,
        "request_id": wanted.request_id,
        "actor": wanted.actor,
        "after": wanted.after,
        "before": wanted.before,
    }
    counted = await session.execute(text(f"select count(*) from {SELECTED}"), values)
    # The page is cut first, so that names are looked up for its rows alone.
    found = await session.execute(
        text(
            f"with e as (select e.* from {SELECTED} order by e.id desc limit :limit offset :offset)"
            f" select {COLUMNS} from e left join users u on u.id = e.actor_user_id order by e.id desc"
        ),
        {**values, "limit": limit, "offset": offset},
    )
    return [_event(row) for row in found.mappings()], int(counted.scalar_one())


def _event(row: RowMapping) -> AuditEvent:
    return AuditEvent(**row)
