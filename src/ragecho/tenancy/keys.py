"""API keys: made, rotated, revoked. A key never gets more than whoever makes it has."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ragecho.kernel.authorization import OrganizationRole, Permission, Scope
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ragecho.kernel.ids import ApiKeyId, UserId, WorkspaceId, uuid7
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import secrets, store_keys, store_people, store_service_accounts
from ragecho.tenancy.access import workspace_for
from ragecho.tenancy.model import ApiKey, NewApiKey

MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A key to make. It acts for a person, a service account, or for nobody."""

    name: str
    scopes: frozenset[Scope]
    expires_in_days: int | None = None
    user_id: UserId | None = None
    service_account_id: UUID | None = None
    is_workspace_only: bool = False


async def create_api_key(caller: Caller, session: Session, workspace: str, wanted: KeyRequest) -> NewApiKey:
    """Make a key bound to one workspace. Raises `InvalidInput`, `Forbidden` or `NotFound`.

    It acts in the organisation as a member, with the scope `admin` as its maker does, and not at all if `is_workspace_only`.
    """
    if not wanted.scopes:
        raise InvalidInput("A key needs at least one of the scopes read, write, admin.")
    if not wanted.name.strip() or len(wanted.name) > MAX_NAME:
        raise InvalidInput(f"A key's name has 1 to {MAX_NAME} characters.")
    bound_to, there = await workspace_for(caller, session, workspace, None)
    # A key makes no other keys unless it administers them: it would outlive its own end.
    is_own = wanted.user_id is not None and wanted.user_id == caller.user_id and caller.api_key_id is None
    there.require(Permission.API_KEYS_OWN if is_own else Permission.API_KEYS_ADMINISTER)
    _require_scopes(there, wanted.scopes)
    if wanted.service_account_id is not None:
        account = await store_service_accounts.find(session, wanted.service_account_id)
        if account is None or account.workspace_id not in (None, bound_to.id):
            raise NotFound("There is no such service account in this workspace.")
    elif wanted.user_id is not None and await store_people.find_member(session, wanted.user_id) is None:
        raise NotFound("There is no such member.")
    role = None if wanted.is_workspace_only else _organization_role(caller, wanted.scopes)
    made = await _insert(
        caller,
        session,
        workspace_id=bound_to.id,
        user_id=wanted.user_id,
        service_account_id=wanted.service_account_id,
        name=wanted.name.strip(),
        scopes=wanted.scopes,
        organization_role=role,
        expires_at=_in_days(wanted.expires_in_days),
        replaces=None,
    )
    await _record(caller, session, "api_key.created", made.key, scopes=sorted(wanted.scopes))
    return made


async def list_api_keys(
    caller: Caller,
    session: Session,
    *,
    workspace: str,
    only_own: bool = False,
    service_account_id: UUID | None = None,
    limit: int,
    offset: int,
) -> tuple[list[ApiKey], int]:
    """Return a page of a workspace's keys; who does not administer them sees their own."""
    found, there = await workspace_for(caller, session, workspace, None)
    if not there.may(Permission.API_KEYS_ADMINISTER):
        there.require(Permission.API_KEYS_OWN)
        only_own = True
    if only_own and caller.user_id is None:
        own = await store_keys.find(session, caller.api_key_id) if caller.api_key_id else None
        return ([own], 1) if own is not None and not offset else ([], 1 if own else 0)
    return await store_keys.list_page(
        session,
        found.id,
        user_id=caller.user_id if only_own else None,
        service_account_id=service_account_id,
        limit=limit,
        offset=offset,
    )


async def revoke_api_key(caller: Caller, session: Session, key_id: ApiKeyId) -> None:
    """End a key; it fails from the next request on. People end their own, administrators any. Raises `NotFound`."""
    key = await _manageable(caller, session, key_id)
    if key.revoked_at is None:
        await store_keys.revoke(session, key.id)
        await _record(caller, session, "api_key.revoked", key)


async def rotate_api_key(
    caller: Caller, session: Session, key_id: ApiKeyId, *, overlap_seconds: int = 0, expires_in_days: int | None = None
) -> NewApiKey:
    """Make a key that takes over from this one, which ends now or after the overlap. Raises `NotFound`, `Forbidden`, `Conflict`.

    The new one lives as long as the old one was made for, unless said. Nobody rotates another person's key: they would
    hold a secret that acts as that person.
    """
    key = await _manageable(caller, session, key_id)
    if key.user_id is not None and key.user_id != caller.user_id:
        raise Forbidden("A person's key can be rotated by that person only. Revoke it instead.")
    now = datetime.now(UTC)
    if (
        key.revoked_at is not None
        or (key.expires_at is not None and key.expires_at <= now)
        or key.rotated_at is not None
    ):
        raise Conflict("This key has ended or was rotated before.")
    _require_scopes(caller, frozenset(key.scopes))
    if key.organization_role is not None and (
        caller.organization_role is None or not caller.organization_role.includes(key.organization_role)
    ):
        raise Forbidden(f"This key acts as the organisation's {key.organization_role}; so must whoever rotates it.")
    lifetime = key.expires_at - key.created_at if key.expires_at is not None else None
    made = await _insert(
        caller,
        session,
        workspace_id=key.workspace_id,
        user_id=key.user_id,
        service_account_id=key.service_account_id,
        name=key.name,
        scopes=frozenset(key.scopes),
        organization_role=key.organization_role,
        expires_at=_in_days(expires_in_days) or (now + lifetime if lifetime is not None else None),
        replaces=key.id,
    )
    await store_keys.retire(session, key.id, ends_at=now + timedelta(seconds=overlap_seconds))
    await _record(caller, session, "api_key.rotated", key, new_key_id=str(made.key.id), overlap_seconds=overlap_seconds)
    return made


async def _manageable(caller: Caller, session: Session, key_id: ApiKeyId) -> ApiKey:
    """Return the key, locked, if the caller may manage it. Raises `NotFound`, or `Forbidden` in the caller's workspace."""
    key = await store_keys.find(session, key_id, for_update=True)
    if key is None:
        raise NotFound("There is no such API key.")
    is_own = key.user_id is not None and key.user_id == caller.user_id and caller.api_key_id is None
    if is_own:
        return key
    try:
        await workspace_for(caller, session, str(key.workspace_id), Permission.API_KEYS_ADMINISTER)
    except NotFound:
        raise NotFound("There is no such API key.") from None
    return key


def _organization_role(caller: Caller, scopes: frozenset[Scope]) -> OrganizationRole | None:
    """Return the most that a key may act as in the organisation: as its maker, and only with `admin` as more than a member."""
    if caller.organization_role is None or Scope.ADMIN in scopes:
        return caller.organization_role
    return OrganizationRole.MEMBER


def _require_scopes(caller: Caller, scopes: Iterable[Scope]) -> None:
    missing = sorted(set(scopes) - caller.scopes)
    if missing:
        raise Forbidden(f"A key gets no scope that its maker lacks: '{missing[0]}'.", missing_scopes=missing)


async def _insert(
    caller: Caller,
    session: Session,
    *,
    workspace_id: WorkspaceId,
    user_id: UserId | None,
    service_account_id: UUID | None,
    name: str,
    scopes: Iterable[Scope],
    organization_role: OrganizationRole | None,
    expires_at: datetime | None,
    replaces: ApiKeyId | None,
) -> NewApiKey:
    secret = secrets.new_secret()
    key = await store_keys.insert(
        session,
        {
            "id": ApiKeyId(uuid7()),
            "organization_id": caller.organization_id,
            "workspace_id": workspace_id,
            "user_id": user_id,
            "service_account_id": service_account_id,
            "name": name,
            "prefix": secrets.handle_of(secret),
            "digest": secrets.digest(secret),
            "scopes": sorted(str(scope) for scope in scopes),
            "organization_role": str(organization_role) if organization_role else None,
            "created_by": caller.user_id,
            "replaces": replaces,
            "expires_at": expires_at,
        },
    )
    return NewApiKey(key, secret)


def _in_days(days: int | None) -> datetime | None:
    return datetime.now(UTC) + timedelta(days=days) if days else None


async def _record(caller: Caller, session: Session, action: str, key: ApiKey, **details: object) -> None:
    facts = {"name": key.name, "prefix": key.prefix, **details}
    await record(session, caller, action, Target("api_key", key.id), workspace_id=key.workspace_id, details=facts)
