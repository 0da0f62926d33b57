"""People in the organisation and in its workspaces."""

from ragecho.kernel.authorization import OrganizationRole, Permission, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, NotFound
from ragecho.kernel.ids import UserId
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import store_keys, store_people
from ragecho.tenancy.access import require_role_over, workspace_for
from ragecho.tenancy.model import Member, WorkspaceMember


async def list_members(
    caller: Caller,
    session: Session,
    *,
    text: str | None = None,
    role: OrganizationRole | None = None,
    is_suspended: bool | None = None,
    limit: int,
    offset: int,
) -> tuple[list[Member], int]:
    """Return one page of the organisation's people."""
    return await store_people.list_members(
        session, text_in_name=text, role=role, is_suspended=is_suspended, limit=limit, offset=offset
    )


async def get_member(caller: Caller, session: Session, user_id: UserId) -> Member:
    """Return one person of the organisation. Raises `NotFound`."""
    return await _member(session, user_id)


async def change_role(caller: Caller, session: Session, user_id: UserId, role: OrganizationRole) -> Member:
    """Give a member another role in the organisation. Raises `NotFound`, `Forbidden`, `LastOwner`.

    Only owners make and unmake owners; nobody hands out more than they have.
    """
    before = await _member(session, user_id, for_update=True)
    require_role_over(caller, before.role)
    require_role_over(caller, role)
    if before.role is role:
        return before
    await store_people.set_role(session, user_id, role)
    await record(
        session,
        caller,
        "member.role_changed",
        Target("member", user_id),
        details={"before": {"role": str(before.role)}, "after": {"role": str(role)}},
    )
    return await _member(session, user_id)


async def set_suspended(
    caller: Caller, session: Session, user_id: UserId, *, is_suspended: bool, reason: str | None = None
) -> Member:
    """Suspend or reactivate a membership, from the person's next request on; repeating it changes nothing.

    Raises `NotFound`, `Forbidden`, `Conflict` for oneself, `LastOwner`.
    """
    before = await _member(session, user_id, for_update=True)
    require_role_over(caller, before.role)
    if is_suspended and user_id == caller.user_id:
        raise Conflict("Nobody suspends themselves; ask another administrator.")
    if (before.suspended_at is not None) == is_suspended:
        return before
    await store_people.set_suspended(session, user_id, is_suspended=is_suspended)
    action = "member.suspended" if is_suspended else "member.reactivated"
    await record(session, caller, action, Target("member", user_id), reason=reason)
    return await _member(session, user_id)


async def remove_member(caller: Caller, session: Session, user_id: UserId) -> None:
    """End a membership, those in workspaces and groups, and the person's keys here. Raises as `set_suspended`."""
    before = await _member(session, user_id, for_update=True)
    require_role_over(caller, before.role)
    keys = await store_keys.revoke_of_user(session, user_id)
    await store_people.remove_member(session, user_id)
    await record(
        session,
        caller,
        "member.removed",
        Target("member", user_id),
        details={"before": {"role": str(before.role)}, "revoked_keys": keys},
    )


async def list_workspace_members(
    caller: Caller, session: Session, workspace: str, *, text: str | None = None, limit: int, offset: int
) -> tuple[list[WorkspaceMember], int]:
    """Return one page of who may enter a workspace, the organisation's administrators included. Raises `NotFound`."""
    found, _ = await workspace_for(caller, session, workspace, Permission.MEMBERS_READ)
    return await store_people.list_workspace_members(session, found.id, text_in_name=text, limit=limit, offset=offset)


async def put_workspace_member(
    caller: Caller, session: Session, workspace: str, user_id: UserId, role: WorkspaceRole
) -> WorkspaceMember:
    """Give a member of the organisation a role in a workspace. Raises `NotFound` or `Forbidden`."""
    found, there = await workspace_for(caller, session, workspace, Permission.MEMBERS_ADMINISTER)
    member = await _member(session, user_id)
    if member.suspended_at is not None or member.is_disabled:
        raise Conflict("That person is suspended. Reactivate them first.")
    before = await store_people.put_workspace_member(session, caller.organization_id, found.id, user_id, role)
    if before != role:
        await record(
            session,
            there,
            "workspace_member.added" if before is None else "workspace_member.role_changed",
            Target("member", user_id),
            workspace_id=found.id,
            details={"before": {"role": before}, "after": {"role": str(role)}},
        )
    present = await store_people.find_workspace_member(session, found.id, user_id)
    assert present is not None
    return present


async def remove_workspace_member(caller: Caller, session: Session, workspace: str, user_id: UserId) -> None:
    """Take a person out of a workspace, from their next request on. Raises `NotFound`, `Forbidden`.

    `Conflict` for an administrator of the organisation, who is in each of its workspaces by that role.
    """
    found, there = await workspace_for(caller, session, workspace, Permission.MEMBERS_ADMINISTER)
    role = await store_people.remove_workspace_member(session, found.id, user_id)
    if role is None:
        if await store_people.find_workspace_member(session, found.id, user_id) is not None:
            raise Conflict(
                "Administrators of the organisation are in each of its workspaces; change that role instead."
            )
        raise NotFound("That person is not in the workspace.")
    await record(
        session,
        there,
        "workspace_member.removed",
        Target("member", user_id),
        workspace_id=found.id,
        details={"before": {"role": role}},
    )


async def _member(session: Session, user_id: UserId, *, for_update: bool = False) -> Member:
    found = await store_people.find_member(session, user_id, for_update=for_update)
    if found is None:
        raise NotFound("There is no such member.")
    return found
