"""Invitations into the organisation. They are accepted on the identity service's pages, by who owns the address."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import WorkspaceId, uuid7
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import secrets, store_invitations, store_people
from ragecho.tenancy.access import require_role_over
from ragecho.tenancy.model import Invitation, InvitationStatus, NewInvitation
from ragecho.tenancy.workspaces import find_workspace

EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
MAX_WORKSPACES = 100


async def create_invitation(
    caller: Caller,
    session: Session,
    *,
    email: str,
    role: OrganizationRole,
    workspaces: Mapping[str, WorkspaceRole],
    days: int,
    is_mailed: bool,
) -> NewInvitation:
    """Invite an address, with roles in workspaces (by id or slug). Raises `InvalidInput`, `Forbidden`, `NotFound`, `Conflict`."""
    address = email.strip()
    if not EMAIL.fullmatch(address):
        raise InvalidInput("That is not an e-mail address.")
    if len(workspaces) > MAX_WORKSPACES:
        raise InvalidInput(f"An invitation names at most {MAX_WORKSPACES} workspaces.")
    require_role_over(caller, role)
    if await store_people.find_member_by_email(session, address) is not None:
        raise Conflict("That person is a member already.")
    roles: dict[WorkspaceId, WorkspaceRole] = {}
    for name, workspace_role in workspaces.items():
        roles[(await find_workspace(session, name)).id] = workspace_role
    invitation_id, secret = uuid7(), secrets.new_invitation()
    await store_invitations.revoke_expired(session, address)
    values = {
        "organization_id": caller.organization_id,
        "id": invitation_id,
        "email": address,
        "role": str(role),
        "invited_by": caller.user_id,
        "expires_at": _in_days(days),
    }
    if not await store_invitations.insert(session, values, roles):
        raise Conflict("That address has an invitation that still holds. Resend or revoke it.")
    await _open(caller, session, invitation_id, secret, is_mailed=is_mailed)
    await record(
        session,
        caller,
        "invitation.created",
        Target("invitation", invitation_id),
        details={
            "email": address,
            "role": str(role),
            "workspaces": {str(one): str(workspace_role) for one, workspace_role in roles.items()},
        },
    )
    return NewInvitation(await _invitation(session, invitation_id), secret)


async def list_invitations(
    caller: Caller,
    session: Session,
    *,
    status: InvitationStatus | None,
    text: str | None,
    limit: int,
    offset: int,
) -> tuple[list[Invitation], int]:
    """Return one page of the organisation's invitations."""
    return await store_invitations.list_page(session, status=status, text_in_email=text, limit=limit, offset=offset)


async def get_invitation(caller: Caller, session: Session, invitation_id: UUID) -> Invitation:
    """Return one invitation. Raises `NotFound`."""
    return await _invitation(session, invitation_id)


async def resend_invitation(
    caller: Caller, session: Session, invitation_id: UUID, *, days: int, is_mailed: bool
) -> NewInvitation:
    """Make a new link for an invitation that is not taken up, and let it hold anew; earlier links end.

    Raises `NotFound`, `Forbidden`, or `Conflict` for one that was accepted or revoked.
    """
    found = await _invitation(session, invitation_id, for_update=True)
    require_role_over(caller, found.role)
    if found.status in (InvitationStatus.ACCEPTED, InvitationStatus.REVOKED):
        raise Conflict(f"This invitation was {found.status} already.")
    secret = secrets.new_invitation()
    await store_invitations.prolong(session, invitation_id, _in_days(days))
    await _open(caller, session, invitation_id, secret, is_mailed=is_mailed)
    await record(session, caller, "invitation.resent", Target("invitation", invitation_id))
    return NewInvitation(await _invitation(session, invitation_id), secret)


async def revoke_invitation(caller: Caller, session: Session, invitation_id: UUID) -> None:
    """End an invitation; repeating it changes nothing. Raises `NotFound`, or `Conflict` for one that was accepted."""
    found = await _invitation(session, invitation_id, for_update=True)
    if found.status is InvitationStatus.ACCEPTED:
        raise Conflict("This invitation was accepted already. Remove the member instead.")
    if found.status is InvitationStatus.REVOKED:
        return
    await store_invitations.revoke(session, invitation_id)
    await record(session, caller, "invitation.revoked", Target("invitation", invitation_id))


async def _open(caller: Caller, session: Session, invitation_id: UUID, secret: str, *, is_mailed: bool) -> None:
    await store_invitations.replace_tokens(session, caller.organization_id, invitation_id, secrets.digest(secret))
    if is_mailed:
        await store_invitations.queue_mail(session, caller.organization_id, invitation_id, uuid7())


async def _invitation(session: Session, invitation_id: UUID, *, for_update: bool = False) -> Invitation:
    found = await store_invitations.find(session, invitation_id, for_update=for_update)
    if found is None:
        raise NotFound("There is no such invitation.")
    return found


def _in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
