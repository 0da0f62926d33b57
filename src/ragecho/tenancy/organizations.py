"""The organisation itself, and which ones a person is in."""

from dataclasses import replace

from ragecho.kernel.authorization import OrganizationRole, Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Forbidden, InvalidInput, NotFound
from ragecho.kernel.ids import OrganizationId, uuid7
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Database, Session
from ragecho.tenancy import store
from ragecho.tenancy.model import Organization
from ragecho.tenancy.workspaces import create_workspace

MAX_NAME = 200


async def list_organizations(caller: Caller, session: Session) -> list[Organization]:
    """Return the organisations that a signed-in person is in; a key or program sees its own."""
    if caller.user_id is None or caller.api_key_id is not None:
        return [await _own(caller, session)]
    return await store.list_organizations(session, caller.user_id)


async def get_organization(caller: Caller, session: Session, organization_id: OrganizationId) -> Organization:
    """Return one of the organisations that `list_organizations` returns. Raises `NotFound`."""
    for organization in await list_organizations(caller, session):
        if organization.id == organization_id:
            return organization
    raise NotFound("There is no such organisation.")


async def rename_organization(
    caller: Caller, session: Session, organization_id: OrganizationId, *, name: str
) -> Organization:
    """Rename the organisation that the caller acts in. Raises `NotFound`, `Forbidden` or `InvalidInput`."""
    if organization_id != caller.organization_id:
        raise NotFound("There is no such organisation, or the request is made in another one.")
    caller.require(Permission.ORGANIZATION_ADMINISTER)
    before = await _own(caller, session)
    title = _checked(name)
    if title == before.name:
        return before
    await store.rename_organization(session, organization_id, title)
    await record(
        session,
        caller,
        "organization.renamed",
        Target("organization", organization_id),
        details={"before": {"name": before.name}, "after": {"name": title}},
    )
    return await _own(caller, session)


async def require_second_factor(
    caller: Caller, session: Session, organization_id: OrganizationId, *, is_required: bool
) -> Organization:
    """Decide whether members sign in with a second factor, from their next sign-in on. Raises as `rename_organization`."""
    if organization_id != caller.organization_id:
        raise NotFound("There is no such organisation, or the request is made in another one.")
    caller.require(Permission.ORGANIZATION_ADMINISTER)
    before = await _own(caller, session)
    if is_required == before.require_second_factor:
        return before
    await store.require_second_factor(session, organization_id, is_required=is_required)
    await record(
        session,
        caller,
        "organization.second_factor",
        Target("organization", organization_id),
        details={"before": {"required": not is_required}, "after": {"required": is_required}},
    )
    return await _own(caller, session)


async def create_organization(
    caller: Caller, database: Database, space: EmbeddingSpace, *, name: str, is_allowed: bool
) -> Organization:
    """Create an organisation that the signed-in person owns, with a workspace `default`. Raises `Forbidden`, `InvalidInput`."""
    if not is_allowed:
        raise Forbidden("Organisations are made by who runs this server (RAGECHO_TENANCY_ORGANIZATION_CREATION).")
    if caller.user_id is None or caller.api_key_id is not None:
        raise Forbidden("An organisation is made by a person who is signed in, who then owns it.")
    title = _checked(name)
    organization_id = OrganizationId(uuid7())
    owner = replace(caller, organization_id=organization_id, organization_role=OrganizationRole.OWNER)
    async with database.transaction(owner) as session:
        # The slug is opaque: a name that is taken would tell one tenant about another.
        await store.insert_organization(session, organization_id, slug=str(organization_id), name=title)
        await store.insert_member(session, organization_id, caller.user_id, OrganizationRole.OWNER)
        await record(
            session, owner, "organization.created", Target("organization", organization_id), details={"name": title}
        )
        await create_workspace(owner, session, slug="default", name="Default", description="", space=space)
        return await _own(owner, session)


async def _own(caller: Caller, session: Session) -> Organization:
    found = await store.find_organization(session)
    if found is None:
        raise NotFound("There is no such organisation.")
    return Organization(
        found["id"],
        found["name"],
        caller.organization_role,
        is_suspended=False,
        created_at=found["created_at"],
        require_second_factor=found["require_second_factor"],
    )


def _checked(name: str) -> str:
    title = name.strip()
    if not title or len(title) > MAX_NAME:
        raise InvalidInput(f"An organisation's name has 1 to {MAX_NAME} characters.")
    return title
