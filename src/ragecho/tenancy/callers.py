"""Who a credential stands for. Roles, groups and level are the person's at this moment; the credential only narrows them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from ragecho.kernel.authorization import OrganizationRole, Scope, WorkspaceRole
from ragecho.kernel.caller import (
    WORKSPACE_PRINCIPAL,
    Caller,
    group_principal,
    key_principal,
    level_principal,
    service_principal,
    user_principal,
)
from ragecho.kernel.errors import InvalidInput, NotFound, Unauthenticated
from ragecho.kernel.ids import ApiKeyId, UserId
from ragecho.platform.database import Database, Query, Session
from ragecho.tenancy import secrets, store_callers

Row = Mapping[str, Any]


async def caller_of_key(session: Session, digest: bytes, workspace: str | None) -> Caller:
    """Return the caller of the API key whose secret has this digest. One round trip.

    Raises `Unauthenticated` for a key that is unknown, expired or revoked, or whose owner may not enter its workspace any
    more, and `NotFound` for another workspace (id or slug) than the key's.
    """
    return _of_key(await _rows(session, store_callers.of_key(digest)), workspace)


async def caller_of_subject(
    session: Session,
    *,
    user_id: UUID | None,
    client_id: str,
    grant_id: UUID | None,
    workspace: str | None,
    scopes: frozenset[Scope],
) -> Caller:
    """Return the caller of an access token or browser session. One round trip.

    A person acts in `workspace` (id or slug; without it, the one they joined first) with their roles there; without a
    person it is the service client, in its own workspace, with the role that `scopes` amount to, or with the roles of the
    service account that it acts as. Raises `Unauthenticated`
    when the person is disabled or suspended, or the grant or client ended; `NotFound` for a workspace they are not in.
    """
    query = store_callers.of_subject(user_id=user_id, client_id=client_id, grant_id=grant_id, workspace=workspace)
    return _of_subject(
        await _rows(session, query), user_id=user_id, client_id=client_id, grant_id=grant_id, scopes=scopes
    )


class Callers:
    """The same without a session of one's own, in one round trip with its transaction: for the edge of every request."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_key(self, digest: bytes, workspace: str | None) -> Caller:
        """Do as `caller_of_key`."""
        (rows,) = await self._database.read(None, store_callers.of_key(digest))
        return _of_key(rows, workspace)

    async def of_subject(
        self,
        *,
        user_id: UUID | None,
        client_id: str,
        grant_id: UUID | None,
        workspace: str | None,
        scopes: frozenset[Scope],
    ) -> Caller:
        """Do as `caller_of_subject`."""
        query = store_callers.of_subject(user_id=user_id, client_id=client_id, grant_id=grant_id, workspace=workspace)
        (rows,) = await self._database.read(None, query)
        return _of_subject(rows, user_id=user_id, client_id=client_id, grant_id=grant_id, scopes=scopes)


class ApiKeyVerifier:
    """The `token_verifier` port for API keys."""

    def __init__(self, database: Database) -> None:
        self._callers = Callers(database)

    async def verify(self, token: str, *, workspace: str | None) -> Caller | None:
        """Return the key's caller; see the port."""
        if not token.startswith(f"{secrets.PREFIX}_"):
            return None
        if not secrets.is_secret(token):
            raise Unauthenticated("This API key is unknown, expired or revoked.")
        return await self._callers.of_key(secrets.digest(token), workspace)


async def _rows(session: Session, query: Query) -> Sequence[Row]:
    statement, parameters = query
    return [dict(row) for row in (await session.execute(statement, parameters)).mappings()]


def _of_key(rows: Sequence[Row], workspace: str | None) -> Caller:
    if not rows:
        raise Unauthenticated("This API key is unknown, expired or revoked, or its owner may not be here any more.")
    row = rows[0]
    if workspace is not None and workspace.strip().lower() not in (str(row["workspace_id"]), row["workspace_slug"]):
        raise NotFound("There is no such workspace.")
    key_id, user_id, service_id = ApiKeyId(row["key_id"]), row["user_id"], row["service_account_id"]
    scopes = frozenset(Scope(scope) for scope in row["scopes"])
    own = user_principal(user_id) if user_id else service_principal(service_id) if service_id else key_principal(key_id)
    is_nobodys = user_id is None and service_id is None
    role = role_of_scopes(scopes) if is_nobodys else _workspace_role(row)
    return Caller(
        organization_id=row["organization_id"],
        workspace_id=row["workspace_id"],
        principals=_principals(row, own, role),
        scopes=scopes,
        user_id=user_id,
        api_key_id=key_id,
        workspace_role=role,
        organization_role=_organization_role(row),
        is_archived=row["is_archived"],
        service_account_id=service_id,
    )


def _of_subject(
    rows: Sequence[Row], *, user_id: UUID | None, client_id: str, grant_id: UUID | None, scopes: frozenset[Scope]
) -> Caller:
    row = rows[0]
    if row["refusal"] == "ambiguous":
        raise InvalidInput("Several of your organisations have a workspace of that name; give its id instead.")
    if row["refusal"] == "not_found":
        raise NotFound("There is no such workspace.")
    if row["refusal"] is not None:
        raise Unauthenticated("This sign-in does not count any more; sign in again.")
    account = row["service_account_id"]
    is_nobodys = user_id is None and account is None
    role = role_of_scopes(scopes) if is_nobodys else _workspace_role(row)
    own = user_principal(UserId(user_id)) if user_id is not None else service_principal(account or client_id)
    return Caller(
        organization_id=row["organization_id"],
        workspace_id=row["workspace_id"],
        principals=_principals(row, own, role),
        scopes=scopes,
        user_id=None if user_id is None else UserId(user_id),
        workspace_role=role,
        organization_role=_organization_role(row),
        is_archived=row["is_archived"],
        client_id=client_id,
        grant_id=grant_id,
        service_account_id=account,
    )


def role_of_scopes(scopes: frozenset[Scope]) -> WorkspaceRole:
    """Return the role that a credential of nobody has in its workspace."""
    if Scope.ADMIN in scopes:
        return WorkspaceRole.ADMIN
    return WorkspaceRole.EDITOR if Scope.WRITE in scopes else WorkspaceRole.READER


def _principals(row: Row, own: str, role: WorkspaceRole | None) -> tuple[str, ...]:
    if role is None:
        return (own,)  # a program of the organisation that has no part in this workspace
    groups = tuple(group_principal(group_id) for group_id in row["group_ids"])
    return (WORKSPACE_PRINCIPAL, level_principal(is_internal=row["is_internal"]), own, *groups)


def _workspace_role(row: Row) -> WorkspaceRole | None:
    return WorkspaceRole(row["workspace_role"]) if row["workspace_role"] else None


def _organization_role(row: Row) -> OrganizationRole | None:
    return OrganizationRole(row["organization_role"]) if row["organization_role"] else None
