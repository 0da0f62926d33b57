"""Whom something can be granted to: people and groups of the caller's own organisation."""

from collections.abc import Iterable

from ragecho.kernel.caller import Caller, group_principal, user_principal
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.kernel.ids import GroupId, UserId
from ragecho.platform.database import Session
from ragecho.tenancy import store_grants

# Every reader's name stands on every chunk; whoever needs more names makes a group of them.
MAX_NAMED = 100


async def principals_of(
    caller: Caller, session: Session, *, users: Iterable[UserId], groups: Iterable[GroupId]
) -> tuple[str, ...]:
    """Return the principals of these people and groups, none of whom is removed before the transaction ends.

    Raises `NotFound` for anyone who is not of the caller's organisation and `InvalidInput` for too many.
    """
    wanted_users, wanted_groups = sorted(set(users)), sorted(set(groups))
    if len(wanted_users) + len(wanted_groups) > MAX_NAMED:
        raise InvalidInput(f"At most {MAX_NAMED} people and groups can be named; make a group of them.")
    if wanted_users and set(wanted_users) - await store_grants.known_users(session, caller, wanted_users):
        raise NotFound("There is no such person in this organisation.")
    if wanted_groups and set(wanted_groups) - await store_grants.known_groups(session, caller, wanted_groups):
        raise NotFound("There is no such group in this organisation.")
    return (*map(user_principal, wanted_users), *map(group_principal, wanted_groups))
