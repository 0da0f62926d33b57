"""Groups of a directory: the organisation's own groups, which documents are granted to."""

from typing import Any
from uuid import UUID

from scim2_models import Group, InvalidValueException, NotFoundException, UniquenessException

from ragecho.identity.scim import store
from ragecho.identity.scim.filters import GROUPS, condition_of, order_of
from ragecho.identity.scim.model import Directory, ProvisionedGroup, Query
from ragecho.identity.scim.resources import group_resource, member_ids
from ragecho.kernel.errors import Conflict, InvalidInput
from ragecho.kernel.ids import GroupId
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import groups

MAX_EXTERNAL_ID = 500


async def get_group(session: Session, group_id: UUID, *, base_url: str, with_members: bool = True) -> Group:
    """Return a group's resource. Raises `NotFoundException`."""
    return group_resource(await _find(session, group_id, with_members=with_members), base_url=base_url)


async def list_groups(session: Session, query: Query, *, base_url: str, with_members: bool) -> tuple[list[Group], int]:
    """Return one page of resources and how many there are."""
    found, total = await store.list_groups(session, query, with_members=with_members)
    return [group_resource(one, base_url=base_url) for one in found], total


def group_query(*, text: str | None, sort_by: str | None, is_descending: bool, start: int, count: int) -> Query:
    """Return which groups are asked for. Raises `InvalidFilterException`."""
    return Query(
        condition_of(Group, GROUPS, text) if text else None,
        order_of(Group, GROUPS, sort_by) if sort_by else None,
        is_descending,
        start,
        count,
    )


async def create_group(directory: Directory, session: Session, wanted: Group, *, base_url: str) -> Group:
    """Make a group and return the resource. Raises SCIM's exceptions."""
    await store.lock_directory(session, directory.caller.organization_id)
    external_id = await _checked_external_id(session, wanted, None)
    try:
        made = await groups.create_group(directory.caller, session, name=wanted.display_name or "", description="")
    except Conflict as error:
        raise UniquenessException(detail=error.message) from error
    except InvalidInput as error:
        raise InvalidValueException(detail=error.message) from error
    await store.set_group_external_id(session, made.id, external_id)
    await _set_members(directory, session, made.id, wanted)
    return await get_group(session, made.id, base_url=base_url)


async def replace_group(
    directory: Directory, session: Session, group_id: UUID, wanted: Group, *, base_url: str
) -> Group:
    """Make a group what the resource says and return it. Raises SCIM's exceptions."""
    await store.lock_directory(session, directory.caller.organization_id)
    before = await _find(session, group_id, with_members=False)
    external_id = await _checked_external_id(session, wanted, before.id)
    try:
        await groups.change_group(
            directory.caller, session, before.id, name=wanted.display_name or "", description=None
        )
    except Conflict as error:
        raise UniquenessException(detail=error.message) from error
    except InvalidInput as error:
        raise InvalidValueException(detail=error.message) from error
    await store.set_group_external_id(session, before.id, external_id)
    await _set_members(directory, session, before.id, wanted)
    return await get_group(session, group_id, base_url=base_url)


async def delete_group(directory: Directory, session: Session, group_id: UUID) -> None:
    """Remove a group, and what was granted to it. Raises `NotFoundException`."""
    await store.lock_directory(session, directory.caller.organization_id)
    before = await _find(session, group_id, with_members=False)
    await groups.delete_group(directory.caller, session, before.id)


async def _find(session: Session, group_id: UUID, *, with_members: bool) -> ProvisionedGroup:
    found = await store.find_group(session, GroupId(group_id), with_members=with_members)
    if found is None:
        raise NotFoundException(detail="There is no such group.")
    return found


async def _set_members(directory: Directory, session: Session, group_id: GroupId, wanted: Group) -> None:
    try:
        user_ids = member_ids(wanted)
    except ValueError as error:
        raise InvalidValueException(detail="A member's value is the id of a user.") from error
    came, left, unknown = await store.set_group_members(session, directory.caller.organization_id, group_id, user_ids)
    if unknown:
        raise InvalidValueException(detail=f"There is no such member: {unknown[0]}.")
    if came or left:
        await record(
            session,
            directory.caller,
            "group_member.synchronized",
            Target("group", group_id),
            details={"added": came, "removed": left, "token": str(directory.token_id)},
        )


async def _checked_external_id(session: Session, wanted: Group, besides: GroupId | None) -> str | None:
    external_id: Any = wanted.external_id or None
    if external_id is None:
        return None
    if len(external_id) > MAX_EXTERNAL_ID:
        raise InvalidValueException(detail=f"externalId has at most {MAX_EXTERNAL_ID} characters.")
    if await store.is_group_external_id_taken(session, external_id, besides=besides):
        raise UniquenessException(detail="Another group has that externalId.")
    return str(external_id)
