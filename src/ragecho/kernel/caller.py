"""Who is asking. A `Caller` is made once at the edge and passed first to every function that touches tenant data."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from ragecho.kernel.errors import Forbidden
from ragecho.kernel.ids import ApiKeyId, OrganizationId, UserId, WorkspaceId


class Scope(StrEnum):
    """What a credential may do. `WRITE` does not imply `READ`; keys name each one."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Access(StrEnum):
    """Who may read a document."""

    PRIVATE = "private"
    WORKSPACE = "workspace"
    INTERNAL = "internal"
    EXTERNAL = "external"


WORKSPACE_PRINCIPAL = "workspace"


def user_principal(user_id: UserId) -> str:
    """Return the principal of one person."""
    return f"user:{user_id}"


def readers_of(access: Access, *, owner_id: UserId | None) -> tuple[str, ...]:
    """Return the principals that may read a document of this access level; its owner always may.

    `internal` is for the organisation's own people; `external` is for everybody in the workspace, guests included.
    """
    owner = (user_principal(owner_id),) if owner_id else ()
    by_access: dict[Access, tuple[str, ...]] = {
        Access.PRIVATE: (),
        Access.WORKSPACE: (WORKSPACE_PRINCIPAL,),
        Access.INTERNAL: ("level:internal",),
        Access.EXTERNAL: ("level:external", "level:internal"),
    }
    return tuple(sorted({*owner, *by_access[access]}))


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated party in one workspace.

    `principals` are what documents' reader lists are matched against. `sees_all` is set only for Echo's own workers:
    inside their workspace they handle documents that no person's principals need to match.
    """

    organization_id: OrganizationId
    workspace_id: WorkspaceId
    principals: tuple[str, ...]
    scopes: frozenset[Scope]
    user_id: UserId | None = None
    api_key_id: ApiKeyId | None = None
    sees_all: bool = False

    @classmethod
    def worker(cls, organization_id: OrganizationId, workspace_id: WorkspaceId) -> Self:
        """Return Echo's own worker in one workspace; never made from a request."""
        return cls(organization_id, workspace_id, (), frozenset(Scope), sees_all=True)

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the caller's credential carries `scope`."""
        if scope not in self.scopes:
            raise Forbidden(f"This needs a credential with the scope '{scope}'.", needed_scope=str(scope))

    def in_workspace(self, workspace_id: WorkspaceId) -> Self:
        """Return the same party in another workspace."""
        return replace(self, workspace_id=workspace_id)
