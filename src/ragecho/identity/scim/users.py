"""People of a directory: created, changed, closed. What it may do to an account depends on whose the account is.

A directory decides over memberships of its own organisation, and over accounts that it made (or that were made by sign-in
with an address of a domain that the organisation controls). It never gets hold of anybody else's account.
"""

from typing import Any
from uuid import UUID

from scim2_models import (
    ConflictException,
    ForbiddenException,
    InvalidValueException,
    NotFoundException,
    UniquenessException,
)

from ragecho.identity.federation.claims import domain_of
from ragecho.identity.scim import store
from ragecho.identity.scim.filters import USERS, condition_of, order_of
from ragecho.identity.scim.model import Directory, ProvisionedUser, Query
from ragecho.identity.scim.resources import ScimUser, address_of, document_of, name_of, user_resource
from ragecho.kernel.errors import EchoError, LastOwner
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import members

MAX_TEXT = 500
MAX_DOCUMENT = 64 * 1024


async def get_user(session: Session, user_id: UUID, *, base_url: str) -> Any:
    """Return a person's resource. Raises `NotFoundException`."""
    return await _resource(session, await _find(session, user_id), base_url=base_url)


async def list_users(session: Session, query: Query, *, base_url: str) -> tuple[list[Any], int]:
    """Return one page of resources and how many there are."""
    found, total = await store.list_users(session, query)
    groups = await store.groups_of(session, [one.user_id for one in found])
    return [user_resource(one, groups.get(one.user_id, []), base_url=base_url) for one in found], total


def user_query(*, text: str | None, sort_by: str | None, is_descending: bool, start: int, count: int) -> Query:
    """Return which people are asked for. Raises `InvalidFilterException`."""
    return Query(
        condition_of(ScimUser, USERS, text) if text else None,
        order_of(ScimUser, USERS, sort_by) if sort_by else None,
        is_descending,
        start,
        count,
    )


async def create_user(directory: Directory, session: Session, wanted: Any, *, base_url: str) -> Any:
    """Provision a person and return the resource. Raises SCIM's exceptions."""
    caller = directory.caller
    await store.lock_directory(session, caller.organization_id)
    user_name, external_id, email = _checked(wanted)
    if await store.find_user(session, user_name=user_name, external_id=external_id) is not None:
        raise UniquenessException(detail="A person with that userName or externalId is provisioned already.")
    user_id = await _account(directory, session, wanted, email=email)
    if await store.find_user(session, user_id=user_id) is not None:
        raise UniquenessException(detail="A person with that e-mail address is provisioned already.")
    await store.put_user(
        session,
        caller.organization_id,
        user_id,
        user_name=user_name,
        external_id=external_id,
        resource=_document(wanted),
    )
    await record(
        session, caller, "member.provisioned", Target("member", user_id), details={"token": str(directory.token_id)}
    )
    await _set_active(directory, session, user_id, is_active=wanted.active is not False)
    return await get_user(session, user_id, base_url=base_url)


async def replace_user(directory: Directory, session: Session, user_id: UUID, wanted: Any, *, base_url: str) -> Any:
    """Make a person what the resource says and return it. Raises SCIM's exceptions."""
    await store.lock_directory(session, directory.caller.organization_id)
    before = await _find(session, user_id)
    user_name, external_id, email = _checked(wanted)
    await _refuse_taken(session, before, user_name=user_name, external_id=external_id)
    if before.is_managed:
        if email.lower() != before.email.lower():
            await _refuse_foreign_address(session, before, email)
        await store.update_person(session, before.user_id, email=email, name=name_of(wanted))
    await store.put_user(
        session,
        directory.caller.organization_id,
        before.user_id,
        user_name=user_name,
        external_id=external_id,
        resource=_document(wanted),
    )
    is_active = before.is_active if wanted.active is None else wanted.active
    await _set_active(directory, session, before.user_id, is_active=is_active)
    return await get_user(session, user_id, base_url=base_url)


async def delete_user(directory: Directory, session: Session, user_id: UUID) -> None:
    """Deprovision: the membership is suspended, from the next request on; what the person made stays. Raises SCIM's."""
    await store.lock_directory(session, directory.caller.organization_id)
    before = await _find(session, user_id)
    await _set_active(directory, session, before.user_id, is_active=False)
    await store.delete_user(session, before.user_id)
    await record(
        session,
        directory.caller,
        "member.deprovisioned",
        Target("member", before.user_id),
        details={"token": str(directory.token_id)},
    )


async def _account(directory: Directory, session: Session, wanted: Any, *, email: str) -> UserId:
    """Return the account to provision: a member's, one of the organisation's own domain, or a new one.

    What is said about an address of a domain that is not the organisation's depends on its members alone: whether
    somebody else on this server has it is not to be learned here.
    """
    organization_id = directory.caller.organization_id
    member = await store.find_member(session, email=email)
    if member is not None:
        return member
    domain = domain_of(email)
    if not await store.controls_domain(session, domain):
        raise InvalidValueException(
            detail=f"The organisation has not verified the domain {domain}: verify it, or invite the person first."
        )
    user_id = await store.person_of_own_domain(session, email)
    if user_id is None:
        user_id = UserId(uuid7())
        if not await store.insert_person(session, organization_id, user_id, email=email, name=name_of(wanted)):
            raise ConflictException(detail="That address was taken in this very moment. Try again.")
    await store.insert_member(session, organization_id, user_id, directory.workspaces)
    return user_id


async def _set_active(directory: Directory, session: Session, user_id: UserId, *, is_active: bool) -> None:
    """Suspend or reactivate the membership, and the account where it is the organisation's own."""
    try:
        await members.set_suspended(
            directory.caller, session, user_id, is_suspended=not is_active, reason="by the directory (SCIM)"
        )
    except LastOwner as error:
        raise ForbiddenException(detail=error.message) from error
    except EchoError as error:
        raise ForbiddenException(detail=f"{error.message} Directories have no power over owners.") from error
    await store.set_account_closed(session, user_id, is_closed=not is_active)


async def _find(session: Session, user_id: UUID) -> ProvisionedUser:
    found = await store.find_user(session, user_id=UserId(user_id))
    if found is None:
        raise NotFoundException(detail="There is no such user.")
    return found


async def _resource(session: Session, user: ProvisionedUser, *, base_url: str) -> Any:
    groups = await store.groups_of(session, [user.user_id])
    return user_resource(user, groups.get(user.user_id, []), base_url=base_url)


async def _refuse_taken(session: Session, before: ProvisionedUser, *, user_name: str, external_id: str | None) -> None:
    for named in ({"user_name": user_name}, {"external_id": external_id}):
        other = await store.find_user(session, **named)
        if other is not None and other.user_id != before.user_id:
            raise UniquenessException(detail="Another person has that userName or externalId.")


async def _refuse_foreign_address(session: Session, before: ProvisionedUser, email: str) -> None:
    domain = domain_of(email)
    if not await store.controls_domain(session, domain):
        raise InvalidValueException(detail=f"The organisation has not verified the domain {domain}.")
    other = await store.person_of_own_domain(session, email)
    if other is not None and other != before.user_id:
        raise UniquenessException(detail="Another account has that e-mail address.")


def _checked(wanted: Any) -> tuple[str, str | None, str]:
    """Return user name, external id and address. Raises `InvalidValueException`."""
    user_name = (wanted.user_name or "").strip()
    if not user_name or len(user_name) > MAX_TEXT or len(wanted.external_id or "") > MAX_TEXT:
        raise InvalidValueException(detail=f"userName and externalId have 1 to {MAX_TEXT} characters.")
    email = address_of(wanted)
    if email is None:
        raise InvalidValueException(detail="An e-mail address is needed, in emails or as the userName.")
    return user_name, wanted.external_id or None, email


def _document(wanted: Any) -> dict[str, Any]:
    import orjson

    found = document_of(wanted)
    if len(orjson.dumps(found, default=str)) > MAX_DOCUMENT:
        raise InvalidValueException(detail=f"A user has at most {MAX_DOCUMENT} bytes.")
    return found
