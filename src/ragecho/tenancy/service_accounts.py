"""Service accounts: programs with a name, roles and keys of their own."""

from dataclasses import dataclass
from uuid import UUID

from ragecho.kernel.authorization import OrganizationRole, Permission, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import WorkspaceId, uuid7
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import store_service_accounts as store
from ragecho.tenancy.access import is_organization_admin, require_role_over, workspace_for
from ragecho.tenancy.model import ServiceAccount

MAX_NAME = 200
TAKEN = "A service account of that name exists already."


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What to change; None leaves it."""

    name: str | None = None
    description: str | None = None
    organization_role: OrganizationRole | None = None
    workspace_role: WorkspaceRole | None = None
    is_disabled: bool | None = None


async def create_service_account(
    caller: Caller,
    session: Session,
    *,
    name: str,
    description: str,
    workspace: str | None,
    organization_role: OrganizationRole | None,
    workspace_role: WorkspaceRole | None,
) -> ServiceAccount:
    """Create a program's account, in a workspace (id or slug) or for the organisation. Raises as `list_service_accounts`.

    `InvalidInput` unless the roles fit: a role in the workspace, or one in the organisation and, if it is to read
    documents, one for every workspace.
    """
    workspace_id = await _place(caller, session, workspace)
    _check_roles(workspace_id, organization_role, workspace_role)
    require_role_over(caller, organization_role)
    account_id = uuid7()
    values = {
        "organization_id": caller.organization_id,
        "id": account_id,
        "workspace_id": workspace_id,
        "name": _checked(name),
        "description": description,
        "organization_role": str(organization_role) if organization_role else None,
        "workspace_role": str(workspace_role) if workspace_role else None,
        "created_by": caller.user_id,
    }
    if not await store.insert(session, values):
        raise Conflict(TAKEN)
    made = await _account(caller, session, account_id)
    await record(
        session,
        caller,
        "service_account.created",
        Target("service_account", account_id),
        workspace_id=workspace_id,
        details=_facts(made),
    )
    return made


async def list_service_accounts(
    caller: Caller, session: Session, *, text: str | None = None, limit: int, offset: int
) -> tuple[list[ServiceAccount], int]:
    """Return one page: all of the organisation for its administrators, else those of the caller's workspace.

    Raises `Forbidden` for who does not administer the workspace's members.
    """
    caller.require(Permission.MEMBERS_ADMINISTER)
    only = None if is_organization_admin(caller) else caller.workspace_id
    return await store.list_page(session, workspace_id=only, text_in_name=text, limit=limit, offset=offset)


async def get_service_account(caller: Caller, session: Session, account_id: UUID) -> ServiceAccount:
    """Return one account. Raises `NotFound` or `Forbidden`."""
    return await _account(caller, session, account_id)


async def change_service_account(
    caller: Caller, session: Session, account_id: UUID, change: AccountChange
) -> ServiceAccount:
    """Change name, description, roles, or disable it; its keys follow at once. Raises as `create_service_account`."""
    before = await _account(caller, session, account_id, for_update=True)
    require_role_over(caller, before.organization_role)
    organization_role = change.organization_role or before.organization_role
    workspace_role = change.workspace_role or before.workspace_role
    _check_roles(before.workspace_id, organization_role, workspace_role)
    require_role_over(caller, organization_role)
    values = {
        "id": account_id,
        "name": before.name if change.name is None else _checked(change.name),
        "description": before.description if change.description is None else change.description,
        "organization_role": str(organization_role) if organization_role else None,
        "workspace_role": str(workspace_role) if workspace_role else None,
        "is_disabled": before.is_disabled if change.is_disabled is None else change.is_disabled,
    }
    if not await store.update(session, values):
        raise Conflict(TAKEN)
    after = await _account(caller, session, account_id)
    if _facts(before) != _facts(after):
        await record(
            session,
            caller,
            "service_account.changed",
            Target("service_account", account_id),
            workspace_id=before.workspace_id,
            details={"before": _facts(before), "after": _facts(after)},
        )
    return after


async def delete_service_account(caller: Caller, session: Session, account_id: UUID) -> None:
    """Remove an account with its keys. Raises `NotFound` or `Forbidden`."""
    before = await _account(caller, session, account_id, for_update=True)
    require_role_over(caller, before.organization_role)
    await store.delete(session, account_id)
    await record(
        session,
        caller,
        "service_account.deleted",
        Target("service_account", account_id),
        workspace_id=before.workspace_id,
        details=_facts(before),
    )


async def _place(caller: Caller, session: Session, workspace: str | None) -> WorkspaceId | None:
    if workspace is None:
        caller.require(Permission.ORGANIZATION_ADMINISTER)
        return None
    found, _ = await workspace_for(caller, session, workspace, Permission.MEMBERS_ADMINISTER)
    return found.id


async def _account(caller: Caller, session: Session, account_id: UUID, *, for_update: bool = False) -> ServiceAccount:
    """Return an account that the caller may administer; what lies outside of their reach does not exist for them."""
    found = await store.find(session, account_id, for_update=for_update)
    if found is None:
        raise NotFound("There is no such service account.")
    if is_organization_admin(caller):
        return found
    if found.workspace_id is None:
        raise NotFound("There is no such service account.")
    try:
        await workspace_for(caller, session, str(found.workspace_id), Permission.MEMBERS_ADMINISTER)
    except NotFound:
        raise NotFound("There is no such service account.") from None
    return found


def _check_roles(
    workspace_id: WorkspaceId | None,
    organization_role: OrganizationRole | None,
    workspace_role: WorkspaceRole | None,
) -> None:
    if organization_role is OrganizationRole.OWNER:
        raise InvalidInput("A service account can be admin or member of the organisation, not owner.")
    if workspace_id is not None and (organization_role is not None or workspace_role is None):
        raise InvalidInput("A service account of a workspace has a workspace role, and none in the organisation.")
    if workspace_id is None and organization_role is None:
        raise InvalidInput("A service account of the organisation needs an organisation role.")


def _checked(name: str) -> str:
    title = name.strip()
    if not title or len(title) > MAX_NAME:
        raise InvalidInput(f"A service account's name has 1 to {MAX_NAME} characters.")
    return title


def _facts(account: ServiceAccount) -> dict[str, object]:
    return {
        "name": account.name,
        "description": account.description,
        "organization_role": account.organization_role,
        "workspace_role": account.workspace_role,
        "is_disabled": account.is_disabled,
    }
