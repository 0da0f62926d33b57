"""Groups: people who are granted documents together. Membership counts from a person's next request on."""

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import GroupId, UserId, uuid7
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import store_groups, store_people
from ragecho.tenancy.model import Group, GroupMember

MAX_NAME = 200
TAKEN = "A group of that name exists already."


async def list_groups(
    caller: Caller, session: Session, *, text: str | None = None, limit: int, offset: int
) -> tuple[list[Group], int]:
    """Return one page of the organisation's groups."""
    return await store_groups.list_page(session, text_in_name=text, limit=limit, offset=offset)


async def get_group(caller: Caller, session: Session, group_id: GroupId) -> Group:
    """Return one group. Raises `NotFound`."""
    return await _group(session, group_id)


async def create_group(caller: Caller, session: Session, *, name: str, description: str) -> Group:
    """Create a group. Raises `InvalidInput` or `Conflict`."""
    title = _checked(name)
    group_id = GroupId(uuid7())
    if not await store_groups.insert(session, caller.organization_id, group_id, name=title, description=description):
        raise Conflict(TAKEN)
    await record(session, caller, "group.created", Target("group", group_id), details={"name": title})
    return await _group(session, group_id)


async def change_group(
    caller: Caller, session: Session, group_id: GroupId, *, name: str | None, description: str | None
) -> Group:
    """Rename or describe a group. Raises `NotFound`, `InvalidInput` or `Conflict`."""
    before = await _group(session, group_id, for_update=True)
    title = before.name if name is None else _checked(name)
    text = before.description if description is None else description
    if (title, text) == (before.name, before.description):
        return before
    if not await store_groups.update(session, group_id, name=title, description=text):
        raise Conflict(TAKEN)
    await record(
        session,
        caller,
        "group.changed",
        Target("group", group_id),
        details={
            "before": {"name": before.name, "description": before.description},
            "after": {"name": title, "description": text},
        },
    )
    return await _group(session, group_id)


async def delete_group(caller: Caller, session: Session, group_id: GroupId) -> None:
    """Remove a group; what was granted to it is granted to nobody by that. Raises `NotFound`."""
    before = await _group(session, group_id, for_update=True)
    await store_groups.delete(session, group_id)
    await record(
        session,
        caller,
        "group.deleted",
        Target("group", group_id),
        details={"name": before.name, "members": before.members},
    )


async def list_group_members(
    caller: Caller, session: Session, group_id: GroupId, *, limit: int, offset: int
) -> tuple[list[GroupMember], int]:
    """Return one page of a group's people. Raises `NotFound`."""
    await _group(session, group_id)
    return await store_groups.list_members(session, group_id, limit=limit, offset=offset)


async def add_group_member(caller: Caller, session: Session, group_id: GroupId, user_id: UserId) -> None:
    """Put a member of the organisation into a group; repeating it changes nothing. Raises `NotFound`."""
    await _group(session, group_id)
    if await store_people.find_member(session, user_id) is None:
        raise NotFound("There is no such member.")
    if await store_groups.add_member(session, caller.organization_id, group_id, user_id):
        await record(
            session, caller, "group_member.added", Target("group", group_id), details={"user_id": str(user_id)}
        )


async def remove_group_member(caller: Caller, session: Session, group_id: GroupId, user_id: UserId) -> None:
    """Take a person out of a group. Raises `NotFound`."""
    await _group(session, group_id)
    if not await store_groups.remove_member(session, group_id, user_id):
        raise NotFound("That person is not in the group.")
    await record(session, caller, "group_member.removed", Target("group", group_id), details={"user_id": str(user_id)})


async def _group(session: Session, group_id: GroupId, *, for_update: bool = False) -> Group:
    found = await store_groups.find(session, group_id, for_update=for_update)
    if found is None:
        raise NotFound("There is no such group.")
    return found


def _checked(name: str) -> str:
    title = name.strip()
    if not title or len(title) > MAX_NAME:
        raise InvalidInput(f"A group's name has 1 to {MAX_NAME} characters.")
    return title
