"""SQL of invitations. Who holds a link is looked up by the functions of 0004_tenancy.sql, which the identity service calls."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.kernel.ids import OrganizationId, WorkspaceId
from ragecho.tenancy.model import Invitation, InvitationStatus
from ragecho.tenancy.store import like, page

COLUMNS = """i.id, i.email, i.role, i.invited_by, i.created_at, i.expires_at, i.accepted_at, i.revoked_at,
    array(select w.workspace_id::text || ' ' || w.role from invitation_workspaces w
          where w.organization_id = i.organization_id and w.invitation_id = i.id order by w.workspace_id) as workspaces"""
SELECTED = """invitations i where (cast(:text as text) is null or i.email ilike :text)
    and (cast(:status as text) is null or :status = case
      when i.accepted_at is not null then 'accepted' when i.revoked_at is not null then 'revoked'
      when i.expires_at <= now() then 'expired' else 'pending' end)"""


async def list_page(
    session: AsyncConnection, *, status: InvitationStatus | None, text_in_email: str | None, limit: int, offset: int
) -> tuple[list[Invitation], int]:
    """Return one page of the organisation's invitations, newest first, and how many there are."""
    values = {"status": str(status) if status else None, "text": like(text_in_email)}
    rows, total = await page(
        session, COLUMNS, SELECTED, values, order="i.created_at desc, i.id desc", limit=limit, offset=offset
    )
    return [_invitation(row) for row in rows], total


async def find(session: AsyncConnection, invitation_id: UUID, *, for_update: bool = False) -> Invitation | None:
    """Return one invitation."""
    found = await session.execute(
        text(f"select {COLUMNS} from invitations i where i.id = :id" + (" for update of i" if for_update else "")),
        {"id": invitation_id},
    )
    row = found.mappings().first()
    return _invitation(row) if row else None


async def revoke_expired(session: AsyncConnection, email: str) -> None:
    """Make room for a new invitation to an address whose last one was not taken up in time."""
    await session.execute(
        text(
            "update invitations set revoked_at = now() where lower(email) = lower(:email) and accepted_at is null"
            " and revoked_at is null and expires_at <= now()"
        ),
        {"email": email},
    )


async def insert(
    session: AsyncConnection, values: Mapping[str, Any], workspaces: Mapping[WorkspaceId, WorkspaceRole]
) -> bool:
    """Store an invitation; False when the address has one that still holds."""
    made = await session.execute(
        text(
            "insert into invitations (organization_id, id, email, role, invited_by, expires_at)"
            " values (:organization_id, :id, :email, :role, :invited_by, :expires_at) on conflict do nothing"
        ),
        dict(values),
    )
    if not made.rowcount:
        return False
    if workspaces:
        await session.execute(
            text(
                "insert into invitation_workspaces (organization_id, invitation_id, workspace_id, role)"
                " values (:organization_id, :invitation_id, :workspace_id, :role)"
            ),
            [
                {
                    "organization_id": values["organization_id"],
                    "invitation_id": values["id"],
                    "workspace_id": workspace_id,
                    "role": str(role),
                }
                for workspace_id, role in workspaces.items()
            ],
        )
    return True


async def replace_tokens(
    session: AsyncConnection, organization_id: OrganizationId, invitation_id: UUID, digest: bytes
) -> None:
    """Let this secret lead to the invitation, and no earlier one any more."""
    values = {"organization_id": organization_id, "invitation_id": invitation_id, "digest": digest}
    await session.execute(text("delete from invitation_tokens where invitation_id = :invitation_id"), values)
    await session.execute(
        text(
            "insert into invitation_tokens (organization_id, invitation_id, secret_sha256)"
            " values (:organization_id, :invitation_id, :digest)"
        ),
        values,
    )


async def queue_mail(
    session: AsyncConnection, organization_id: OrganizationId, invitation_id: UUID, mail_id: UUID
) -> None:
    """Ask the identity service to send the invitation; a mail that still waits is not asked for twice."""
    await session.execute(
        text(
            "insert into invitation_mails (organization_id, id, invitation_id) select :organization_id, :id, :invitation_id"
            " where not exists (select from invitation_mails where invitation_id = :invitation_id and claimed_at is null)"
        ),
        {"organization_id": organization_id, "id": mail_id, "invitation_id": invitation_id},
    )


async def prolong(session: AsyncConnection, invitation_id: UUID, expires_at: datetime) -> None:
    """Let an invitation hold until then."""
    await session.execute(
        text("update invitations set expires_at = :expires_at where id = :id"),
        {"id": invitation_id, "expires_at": expires_at},
    )


async def revoke(session: AsyncConnection, invitation_id: UUID) -> None:
    """End an invitation: its links lead nowhere from now on."""
    await session.execute(
        text("update invitations set revoked_at = coalesce(revoked_at, now()) where id = :id"), {"id": invitation_id}
    )
    await session.execute(text("delete from invitation_tokens where invitation_id = :id"), {"id": invitation_id})


def _invitation(row: RowMapping) -> Invitation:
    pairs = (pair.split(" ") for pair in row["workspaces"])
    return Invitation(
        row["id"],
        row["email"],
        OrganizationRole(row["role"]),
        tuple((WorkspaceId(UUID(workspace)), WorkspaceRole(role)) for workspace, role in pairs),
        row["invited_by"],
        row["created_at"],
        row["expires_at"],
        row["accepted_at"],
        row["revoked_at"],
    )
