"""Organisations, workspaces, owners and API keys."""

import re
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from ragecho.kernel.authorization import OrganizationRole, Scope, WorkspaceRole
from ragecho.kernel.caller import WORKSPACE_PRINCIPAL, Caller
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import ApiKeyId, OrganizationId, UserId, WorkspaceId, uuid7
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.database import Database, Session
from ragecho.tenancy import secrets, store
from ragecho.tenancy.model import (
    DEFAULT_ORGANIZATION,
    DEFAULT_WORKSPACE,
    Administrator,
    ApiKey,
    NewApiKey,
    Workspace,
)

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
MAX_NAME = 200


def local_administrator(organization_id: OrganizationId = DEFAULT_ORGANIZATION) -> Caller:
    """Return the caller for commands run on the machine that holds the database; never made from a request."""
    return Caller(
        organization_id,
        DEFAULT_WORKSPACE,
        (WORKSPACE_PRINCIPAL,),
        frozenset(Scope),
        workspace_role=WorkspaceRole.ADMIN,
        organization_role=OrganizationRole.OWNER,
    )


async def ensure_default_tenant(database: Database, space: EmbeddingSpace) -> None:
    """Make the default organisation and workspace exist. Safe to call from many processes at once."""
    async with database.transaction(local_administrator()) as session:
        await store.insert_space(session, asdict(space))
        await store.insert_organization(session, DEFAULT_ORGANIZATION, slug="default", name="Default organization")
        await store.insert_workspace(
            session,
            DEFAULT_WORKSPACE,
            DEFAULT_ORGANIZATION,
            slug="default",
            name="Default",
            description="",
            space_id=space.id,
        )


async def create_owner(caller: Caller, session: Session, *, email: str, password_hash: str | None) -> Administrator:
    """Create an owner of the caller's organisation. Raises `InvalidInput` or `Conflict`."""
    address = email.strip()
    if not EMAIL.fullmatch(address):
        raise InvalidInput("That is not an e-mail address.")
    user_id = UserId(uuid7())
    if not await store.insert_owner(
        session, user_id, caller.organization_id, email=address, password_hash=password_hash
    ):
        raise Conflict("An account with that e-mail address exists already.")
    return Administrator(user_id, address)


async def first_owner(caller: Caller, session: Session) -> UserId | None:
    """Return the longest-standing owner of the caller's organisation, if it has one."""
    return await store.first_owner(session)


async def create_workspace(
    caller: Caller, session: Session, *, slug: str, name: str, description: str, space: EmbeddingSpace
) -> Workspace:
    """Create a workspace in the caller's organisation. Raises `InvalidInput` or `Conflict`."""
    if not SLUG.fullmatch(slug):
        raise InvalidInput("A workspace's slug has 1 to 63 of a-z, 0-9 and '-', and starts with a letter or digit.")
    if not name.strip() or len(name) > MAX_NAME:
        raise InvalidInput(f"A workspace's name has 1 to {MAX_NAME} characters.")
    await store.insert_space(session, asdict(space))
    if not await store.insert_workspace(
        session,
        WorkspaceId(uuid7()),
        caller.organization_id,
        slug=slug,
        name=name.strip(),
        description=description,
        space_id=space.id,
    ):
        raise Conflict(f"A workspace with the slug '{slug}' exists already.")
    return await get_workspace(caller, session, slug)


async def get_workspace(caller: Caller, session: Session, name: str) -> Workspace:
    """Return a workspace by id or slug. Raises `NotFound`, also where the caller's key is bound to another one."""
    found = await store.find_workspace(session, name)
    if found is None or (caller.api_key_id is not None and found.id != caller.workspace_id):
        raise NotFound("There is no such workspace.")
    return found


async def list_workspaces(caller: Caller, session: Session, *, limit: int, offset: int) -> tuple[list[Workspace], int]:
    """Return the workspaces that the caller may enter; a key enters just its own."""
    only = caller.workspace_id if caller.api_key_id is not None else None
    return await store.list_workspaces(session, only=only, limit=limit, offset=offset)


async def create_api_key(
    caller: Caller,
    session: Session,
    *,
    workspace: str,
    name: str,
    scopes: Iterable[Scope],
    expires_in_days: int | None,
    user_id: UserId | None,
) -> NewApiKey:
    """Create a key bound to one workspace, acting for `user_id`. Raises `InvalidInput` or `NotFound`."""
    wanted = sorted(set(scopes))
    if not wanted:
        raise InvalidInput("A key needs at least one of the scopes read, write, admin.")
    if not name.strip() or len(name) > MAX_NAME:
        raise InvalidInput(f"A key's name has 1 to {MAX_NAME} characters.")
    bound_to = await get_workspace(caller, session, workspace)
    secret = secrets.new_secret()
    key = await store.insert_api_key(
        session,
        ApiKeyId(uuid7()),
        organization_id=caller.organization_id,
        workspace_id=bound_to.id,
        user_id=user_id,
        name=name.strip(),
        prefix=secrets.handle_of(secret),
        digest=secrets.digest(secret),
        scopes=wanted,
        expires_at=datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None,
    )
    return NewApiKey(key, secret)


async def list_api_keys(
    caller: Caller, session: Session, *, workspace: str, limit: int, offset: int
) -> tuple[list[ApiKey], int]:
    """Return a page of a workspace's keys."""
    found = await get_workspace(caller, session, workspace)
    return await store.list_api_keys(session, found.id, limit=limit, offset=offset)


async def revoke_api_key(caller: Caller, session: Session, key_id: ApiKeyId) -> None:
    """End a key; it fails from the next request on. Raises `NotFound`."""
    bound = caller.workspace_id if caller.api_key_id is not None else None
    if not await store.revoke_api_key(session, key_id, workspace_id=bound):
        raise NotFound("There is no such API key.")
