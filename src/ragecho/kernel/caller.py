"""Who is asking. A `Caller` is made once at the edge and passed first to every function that touches tenant data."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self
from uuid import UUID

from ragecho.kernel.authorization import RULES, OrganizationRole, Permission, Scope, WorkspaceRole
from ragecho.kernel.errors import ARCHIVED_MESSAGE, Forbidden, WorkspaceArchived
from ragecho.kernel.ids import ApiKeyId, GroupId, OrganizationId, ServiceAccountId, UserId, WorkspaceId


class Access(StrEnum):
    """Who may read a document."""

    PRIVATE = "private"
    WORKSPACE = "workspace"
    INTERNAL = "internal"
    EXTERNAL = "external"


WORKSPACE_PRINCIPAL = "workspace"
INTERNAL_PRINCIPAL = "level:internal"
EXTERNAL_PRINCIPAL = "level:external"


def user_principal(user_id: UserId) -> str:
    """Return the principal of one person."""
    return f"user:{user_id}"


def group_principal(group_id: GroupId) -> str:
    """Return the principal of one group."""
    return f"group:{group_id}"


def service_principal(client_id: str | ServiceAccountId) -> str:
    """Return the principal of a program that acts for itself: a service client or service account."""
    return f"service:{client_id}"


def key_principal(api_key_id: ApiKeyId) -> str:
    """Return the principal of an API key that belongs to nobody."""
    return f"key:{api_key_id}"


def level_principal(*, is_internal: bool) -> str:
    """Return the principal of one of the two levels; a caller has exactly one of them."""
    return INTERNAL_PRINCIPAL if is_internal else EXTERNAL_PRINCIPAL


def readers_of(access: Access, *, owner_id: UserId | None, granted: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the principals that may read a document of this access level; its owner and those it was `granted` to always may.

    `internal` is for the organisation's own people; `external` is for everybody in the workspace, guests included.
    """
    owner = (user_principal(owner_id),) if owner_id else ()
    by_access: dict[Access, tuple[str, ...]] = {
        Access.PRIVATE: (),
        Access.WORKSPACE: (WORKSPACE_PRINCIPAL,),
        Access.INTERNAL: (INTERNAL_PRINCIPAL,),
        Access.EXTERNAL: (EXTERNAL_PRINCIPAL, INTERNAL_PRINCIPAL),
    }
    return tuple(sorted({*owner, *by_access[access], *granted}))


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated party in one workspace.

    `principals` are what documents' reader lists are matched against: the workspace, the person, their groups, and one
    of the two levels. The roles are the person's now, never wider than the credential. `sees_all` is set for Echo's own
    workers and for an administrator's act on documents that others keep private, which is written to the audit log.
    `grant_id` is the authorization that an access token came from; None for API keys. `only`, where it is set, are the acts
    that a token with scopes such as `documents:read` is limited to.
    """

    organization_id: OrganizationId
    workspace_id: WorkspaceId
    principals: tuple[str, ...]
    scopes: frozenset[Scope]
    user_id: UserId | None = None
    api_key_id: ApiKeyId | None = None
    sees_all: bool = False
    workspace_role: WorkspaceRole | None = None
    organization_role: OrganizationRole | None = None
    is_archived: bool = False
    client_id: str | None = None
    grant_id: UUID | None = None
    service_account_id: ServiceAccountId | None = None
    only: frozenset[Permission] | None = None

    @classmethod
    def worker(cls, organization_id: OrganizationId, workspace_id: WorkspaceId) -> Self:
        """Return Echo's own worker in one workspace; never made from a request."""
        return cls(
            organization_id,
            workspace_id,
            (),
            frozenset(Scope),
            sees_all=True,
            workspace_role=WorkspaceRole.ADMIN,
        )

    @property
    def own_principal(self) -> str | None:
        """What stands for this caller alone: the person, else the program or the key that acts for itself; None for workers."""
        if self.user_id is not None:
            return user_principal(self.user_id)
        if self.service_account_id is not None:
            return service_principal(self.service_account_id)
        if self.client_id is not None:
            return service_principal(self.client_id)
        return key_principal(self.api_key_id) if self.api_key_id is not None else None

    def may(self, permission: Permission) -> bool:
        """Return whether scopes and roles allow it, whatever the state of the workspace."""
        has_role = RULES[permission].has_role(self.workspace_role, self.organization_role)
        return has_role and self.carries(permission)

    def carries(self, permission: Permission) -> bool:
        """Return whether the credential may be used for it, whatever the caller's roles."""
        return RULES[permission].scope in self.scopes and (self.only is None or permission in self.only)

    def require_credential(self, permission: Permission) -> None:
        """Raise `Forbidden` unless the credential may be used for it; the role is looked up where the act takes place."""
        if not self.carries(permission):
            raise _refusal(permission)

    def require(self, permission: Permission) -> None:
        """Raise `Forbidden` unless scopes and roles allow it, and `WorkspaceArchived` for a write in an archived workspace."""
        rule = RULES[permission]
        if not self.may(permission):
            raise _refusal(permission)
        if rule.is_write and self.is_archived:
            raise WorkspaceArchived(ARCHIVED_MESSAGE)

    def in_workspace(self, workspace_id: WorkspaceId) -> Self:
        """Return the same party in another workspace."""
        return replace(self, workspace_id=workspace_id)

    def as_administrator(self) -> Self:
        """Return the same party seeing every document of the workspace. Raises `Forbidden`; the act must be audited."""
        self.require(Permission.DOCUMENTS_ADMINISTER)
        return replace(self, sees_all=True)


def _refusal(permission: Permission) -> Forbidden:
    rule = RULES[permission]
    return Forbidden(
        f"To {rule.does}, {rule.needs()} are needed.", permission=str(permission), needed_scope=str(rule.scope)
    )
