"""Who may do what on which kind of object: one table, from which routes, tests, docs and error messages are made.

A credential carries scopes (what it may be used for); a person has a role in the organisation and one in each workspace
(what they may do). An act needs both: the rule's scope, and its workspace role or its organisation role. Whether a
particular document is readable is not decided here but by its readers, in the search SQL and in row-level security.
"""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a credential may do. `WRITE` does not imply `READ`; keys name each one."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class WorkspaceRole(StrEnum):
    """What a member may do in one workspace; each includes the ones before it."""

    READER = "reader"
    EDITOR = "editor"
    ADMIN = "admin"

    def includes(self, other: "WorkspaceRole") -> bool:
        """Return whether this role may do what `other` may."""
        return _WORKSPACE_ORDER.index(self) >= _WORKSPACE_ORDER.index(other)


class OrganizationRole(StrEnum):
    """What a member may do in the organisation; each includes the ones before it. Admins administer every workspace."""

    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"

    def includes(self, other: "OrganizationRole") -> bool:
        """Return whether this role may do what `other` may."""
        return _ORGANIZATION_ORDER.index(self) >= _ORGANIZATION_ORDER.index(other)


_WORKSPACE_ORDER = tuple(WorkspaceRole)
_ORGANIZATION_ORDER = tuple(OrganizationRole)


class Permission(StrEnum):
    """An act on a kind of object, as `<kind>:<act>`; also the scope names of access tokens."""

    DOCUMENTS_READ = "documents:read"
    DOCUMENTS_WRITE = "documents:write"
    DOCUMENTS_ADMINISTER = "documents:administer"
    INDEX_ADMINISTER = "index:administer"
    SOURCES_READ = "sources:read"
    SOURCES_ADMINISTER = "sources:administer"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    JOBS_ADMINISTER = "jobs:administer"
    ANSWERS_READ = "answers:read"
    ANSWERS_WRITE = "answers:write"
    WORKSPACE_READ = "workspace:read"
    WORKSPACE_ADMINISTER = "workspace:administer"
    WORKSPACES_ADMINISTER = "workspaces:administer"
    MEMBERS_READ = "members:read"
    MEMBERS_ADMINISTER = "members:administer"
    API_KEYS_OWN = "api-keys:own"
    API_KEYS_ADMINISTER = "api-keys:administer"
    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_ADMINISTER = "organization:administer"
    ORGANIZATION_OWN = "organization:own"
    AUDIT_READ = "audit:read"
    ORGANIZATION_AUDIT_READ = "organization-audit:read"


@dataclass(frozen=True, slots=True)
class Rule:
    """What an act needs. Exactly one of the two roles is set; `is_write` acts are refused in an archived workspace."""

    permission: Permission
    does: str
    scope: Scope
    workspace_role: WorkspaceRole | None = None
    organization_role: OrganizationRole | None = None
    is_write: bool = False

    def allows(
        self,
        scopes: frozenset[Scope],
        workspace_role: WorkspaceRole | None,
        organization_role: OrganizationRole | None,
    ) -> bool:
        """Return whether a caller with these may do it."""
        return self.scope in scopes and self.has_role(workspace_role, organization_role)

    def has_role(self, workspace_role: WorkspaceRole | None, organization_role: OrganizationRole | None) -> bool:
        """Return whether the roles suffice, whatever the credential's scopes."""
        if self.organization_role is not None:
            return organization_role is not None and organization_role.includes(self.organization_role)
        if organization_role is not None and organization_role.includes(OrganizationRole.ADMIN):
            return True
        needed = self.workspace_role
        return needed is not None and workspace_role is not None and workspace_role.includes(needed)

    def needs(self) -> str:
        """Return what is needed, in words, for error messages and documentation."""
        if self.organization_role is not None:
            return f"the scope '{self.scope}' and the organisation role '{self.organization_role}'"
        return f"the scope '{self.scope}' and the workspace role '{self.workspace_role}'"


def _workspace(permission: Permission, does: str, scope: Scope, role: WorkspaceRole, *, is_write: bool = False) -> Rule:
    return Rule(permission, does, scope, workspace_role=role, is_write=is_write)


def _organization(permission: Permission, does: str, scope: Scope, role: OrganizationRole) -> Rule:
    return Rule(permission, does, scope, organization_role=role)


_P, _S, _W, _O = Permission, Scope, WorkspaceRole, OrganizationRole
_ALL = (
    _workspace(_P.DOCUMENTS_READ, "list, read and search documents", _S.READ, _W.READER),
    _workspace(_P.DOCUMENTS_WRITE, "upload, replace, change and delete documents", _S.WRITE, _W.EDITOR, is_write=True),
    _workspace(
        # Changing them is refused in an archived workspace by documents:write, which it needs besides.
        _P.DOCUMENTS_ADMINISTER,
        "see and change documents that others keep private",
        _S.ADMIN,
        _W.ADMIN,
    ),
    _workspace(_P.INDEX_ADMINISTER, "check and rebuild the index", _S.ADMIN, _W.ADMIN, is_write=True),
    _workspace(_P.SOURCES_READ, "see sources, what is in them and how their runs went", _S.READ, _W.ADMIN),
    _workspace(_P.SOURCES_ADMINISTER, "set up, change, start and remove sources", _S.ADMIN, _W.ADMIN, is_write=True),
    _workspace(_P.JOBS_READ, "see jobs and their progress", _S.READ, _W.READER),
    _workspace(_P.JOBS_WRITE, "retry and cancel jobs", _S.WRITE, _W.EDITOR, is_write=True),
    _workspace(_P.JOBS_ADMINISTER, "list and discard dead jobs", _S.ADMIN, _W.ADMIN),
    _workspace(_P.ANSWERS_READ, "ask, chat and read one's own answers", _S.READ, _W.READER),
    _workspace(_P.ANSWERS_WRITE, "rate answers", _S.READ, _W.READER, is_write=True),
    _workspace(_P.WORKSPACE_READ, "see the workspace", _S.READ, _W.READER),
    _workspace(_P.WORKSPACE_ADMINISTER, "rename and describe the workspace", _S.ADMIN, _W.ADMIN, is_write=True),
    _workspace(_P.MEMBERS_READ, "see who is in the workspace", _S.READ, _W.READER),
    _workspace(_P.MEMBERS_ADMINISTER, "add, change and remove members of the workspace", _S.ADMIN, _W.ADMIN),
    _workspace(_P.API_KEYS_OWN, "list, create, rotate and revoke one's own API keys", _S.ADMIN, _W.READER),
    _workspace(_P.API_KEYS_ADMINISTER, "list, create, rotate and revoke API keys", _S.ADMIN, _W.ADMIN),
    _workspace(_P.AUDIT_READ, "read the audit log of the workspace", _S.ADMIN, _W.ADMIN),
    _organization(_P.WORKSPACES_ADMINISTER, "create, archive and restore workspaces, one or many", _S.ADMIN, _O.ADMIN),
    _organization(_P.ORGANIZATION_AUDIT_READ, "read the audit log of the whole organisation", _S.ADMIN, _O.ADMIN),
    _organization(_P.ORGANIZATION_READ, "see the organisation, its people and groups", _S.READ, _O.MEMBER),
    _organization(
        _P.ORGANIZATION_ADMINISTER, "change the organisation, its people, groups and invitations", _S.ADMIN, _O.ADMIN
    ),
    _organization(_P.ORGANIZATION_OWN, "name other owners and delete the organisation", _S.ADMIN, _O.OWNER),
)
RULES: dict[Permission, Rule] = {rule.permission: rule for rule in _ALL}
