"""`ragecho admin …`: first accounts and keys without a browser, on the machine that holds the database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ragecho.kernel.authorization import Scope
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import InvalidInput
from ragecho.kernel.ids import ApiKeyId
from ragecho.platform.database import IDENTITY_ROLE, Database, Session
from ragecho.platform.settings import Settings
from ragecho.roles.local import local_database
from ragecho.roles.prepare import prepare
from ragecho.tenancy import service
from ragecho.tenancy.keys import KeyRequest
from ragecho.tenancy.model import DEFAULT_ORGANIZATION, ApiKey, Workspace
from ragecho.wiring import space_of


@dataclass(frozen=True, slots=True)
class AdminCreated:
    """An administrator just made."""

    id: UUID
    email: str
    organization_id: UUID


@dataclass(frozen=True, slots=True)
class ApiKeyCreated:
    """A key just made; `key` is shown this once."""

    id: UUID
    key: str
    workspace_id: UUID
    workspace: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None


def create_administrator(settings: Settings, *, email: str, password: str | None) -> AdminCreated:
    """Create an owner of the default organisation. Raises `InvalidInput` (`PasswordRefused`) or `Conflict`."""
    from ragecho.identity.accounts.first_admin import create_owner
    from ragecho.identity.accounts.passwords import PasswordPolicy, Passwords
    from ragecho.identity.accounts.settings import AccountSettings
    from ragecho.identity.accounts.text import checked_email

    address = checked_email(email)
    if password is not None:
        PasswordPolicy(min_length=AccountSettings().min_password_length).check(password, email=address)

    async def run(url: str) -> AdminCreated:
        hashed = await Passwords().hash(password) if password is not None else None
        # What people sign in with belongs to the identity service: the application's role may not write it.
        database = Database(url, role=IDENTITY_ROLE, pool_size=1, application_name="ragecho admin")
        try:
            async with database.anonymous() as session:
                user_id = await create_owner(session, DEFAULT_ORGANIZATION, email=address, name=None, hashed=hashed)
        finally:
            await database.close()
        return AdminCreated(user_id, address, DEFAULT_ORGANIZATION)

    with local_database(settings) as urls:
        prepare(settings, urls.owner, is_embedded=urls.is_embedded)
        return asyncio.run(run(urls.app))


def create_api_key(
    settings: Settings,
    *,
    workspace: str,
    scopes: Sequence[str],
    name: str,
    expires_in_days: int | None,
    is_workspace_only: bool = False,
) -> ApiKeyCreated:
    """Create a key that acts for the organisation's first owner, if there is one. Raises `InvalidInput`, `NotFound`.

    With the scope `admin` it administers the organisation too, unless `is_workspace_only`.
    """
    unknown = sorted(set(scopes) - set(Scope))
    if unknown:
        raise InvalidInput(f"Unknown scope '{unknown[0]}'; there are read, write and admin.")

    async def work(caller: Caller, session: Session) -> ApiKeyCreated:
        made = await service.create_api_key(
            caller,
            session,
            workspace,
            KeyRequest(
                name=name,
                scopes=frozenset(Scope(scope) for scope in scopes),
                expires_in_days=expires_in_days,
                user_id=await service.first_owner(caller, session),
                is_workspace_only=is_workspace_only,
            ),
        )
        found = await service.get_workspace(caller, session, workspace)
        key = made.key
        return ApiKeyCreated(
            id=key.id,
            key=made.secret,
            workspace_id=key.workspace_id,
            workspace=found.slug,
            name=key.name,
            scopes=tuple(str(scope) for scope in key.scopes),
            created_at=key.created_at,
            expires_at=key.expires_at,
        )

    return _run(settings, work)


def list_api_keys(settings: Settings, *, workspace: str) -> list[ApiKey]:
    """Return a workspace's keys, newest first."""

    async def work(caller: Caller, session: Session) -> list[ApiKey]:
        keys, _ = await service.list_api_keys(caller, session, workspace=workspace, limit=1000, offset=0)
        return keys

    return _run(settings, work)


def revoke_api_key(settings: Settings, *, key_id: str) -> None:
    """End a key now. Raises `NotFound`."""
    try:
        wanted = ApiKeyId(UUID(key_id))
    except ValueError as error:
        raise InvalidInput("A key's id is a UUID; 'ragecho admin api-key ls' lists them.") from error

    async def work(caller: Caller, session: Session) -> None:
        await service.revoke_api_key(caller, session, wanted)

    _run(settings, work)


def create_workspace(settings: Settings, *, slug: str, name: str | None) -> Workspace:
    """Create a workspace in the default organisation. Raises `InvalidInput` or `Conflict`."""

    async def work(caller: Caller, session: Session) -> Workspace:
        return await service.create_workspace(
            caller, session, slug=slug, name=name or slug, description="", space=space_of(settings)
        )

    return _run(settings, work)


def _run[T](settings: Settings, work: Callable[[Caller, Session], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        database = Database(url, pool_size=1, application_name="ragecho admin")
        try:
            caller = service.local_administrator()
            async with database.transaction(caller) as session:
                return await work(caller, session)
        finally:
            await database.close()

    with local_database(settings) as urls:
        prepare(settings, urls.owner, is_embedded=urls.is_embedded)
        return asyncio.run(run(urls.app))
