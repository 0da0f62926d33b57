"""Write docs/reference/authorization.md and the SDK's table of scopes from the authorization table and the routes.

`python scripts/generate_authorization_reference.py`
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from ragecho.kernel.authorization import RULES, OrganizationRole, Permission, Rule, Scope, WorkspaceRole
from ragecho.kernel.caller import Access, readers_of
from ragecho.platform.settings import Settings
from ragecho.roles.api import build_app
from ragecho.wiring import build_services

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "authorization.md"

SDK_TARGET = Path(__file__).parents[1] / "sdk" / "ragecho_sdk" / "scopes.py"

SDK_HEAD = '''\
"""Which of Echo's scopes stand for others. Made by scripts/generate_authorization_reference.py; a test holds it to the table."""

from collections.abc import Mapping
from types import MappingProxyType

# A token with the broad scope on the right may do what the narrow one on the left names.
BROADER: Mapping[str, str] = MappingProxyType(
    {
'''

HEAD = """\
# Authorization

<!-- Made by scripts/generate_authorization_reference.py; a test holds it equal to the table and the routes. -->

Who may do what is one table (`ragecho.kernel.authorization`); routes, error messages, tests and this page are made from it.

An act needs two things: the **credential's scope** (what it may be used for) and the **caller's role** (what they may do).
The role is looked up at every request: whoever is suspended, removed or given another role has lost or gained it by the
next one, whatever keys and tokens they hold. A key never does more than its owner may.

- **Workspace roles** are reader, editor and admin; each includes the ones before it. They hold in one workspace.
- **Organisation roles** are member, admin and owner; each includes the ones before it. Admins and owners are admin in every
  workspace.
- **Scopes** are `read`, `write` and `admin`; none includes another. An access token may name a single act instead, such as
  `documents:read`.
- **API keys** belong to a workspace and to a person or service account. In the organisation they act only as far as they
  were made to (`organization_role`).
- **An archived workspace** is readable and refuses every act marked "write" with 409 `workspace_archived`.

What a caller may not see does not exist for them (404 `not_found`). An act that they may see the object of but not do is 403
`forbidden`; the answer names the permission, the scope and the role that are needed. A credential that does not count is 401
`unauthenticated`.
"""

DOCUMENTS = """
## Who may read a document

A document's readers are its owner, the people and groups named in `readers`, and whoever its `access` names:
"""

LEVELS = """
**Internal or external** is decided for each member by their verified e-mail address, at every request. An organisation lists
its domains at `/api/v1/organizations/{organization_id}/domains`: a member whose verified address is in one of them is
internal, everybody else is external. Sub-domains are domains of their own. With no domain listed every member is internal.
Service accounts and keys of nobody are internal.

Readers are compared inside the search, before results are cut, and by the database's own row-level security. They are compared
once more, with what the caller is at that moment, before a passage goes into a prompt and before each sentence of an answer is
shown. Joining or leaving a group, and any change of readers, holds from the next query on.

The readers of a private document are for its owner to change. **Administrators** of a workspace (`documents:administer`) may
list, read, change and delete what others keep private, where they ask for it with `?as_administrator=true`; each such act is
written to the audit log. Searching and asking never use this.
"""

ACCESS_MEANING = {
    Access.PRIVATE: "nobody else",
    Access.WORKSPACE: "everybody in the workspace",
    Access.INTERNAL: "internal members in the workspace",
    Access.EXTERNAL: "everybody in the workspace, internal or external",
}
METHODS = ("get", "post", "put", "patch", "delete")


def reference() -> str:
    """Return the text of the reference. Nothing is connected to or loaded."""
    return "\n".join([HEAD, *_table(), DOCUMENTS, *_access(), LEVELS, *_routes()]).rstrip() + "\n"


def sdk_scopes() -> str:
    """Return the SDK's module of scopes."""
    lines = "".join(f'        "{permission}": "{rule.scope}",\n' for permission, rule in RULES.items())
    return f"{SDK_HEAD}{lines}    }}\n)\n"


def _table() -> Iterator[str]:
    yield "## Who may do what\n"
    roles = [*(f"{role}" for role in WorkspaceRole), *(f"org. {role}" for role in OrganizationRole)]
    yield f"| permission | to | scope | {' | '.join(roles)} | |"
    yield f"| --- | --- | --- |{' :---: |' * len(roles)} --- |"
    for permission, rule in RULES.items():
        allowed = [*(_allows(rule, workspace=role) for role in WorkspaceRole)]
        allowed += [_allows(rule, organization=role) for role in OrganizationRole]
        marks = " | ".join("yes" if one else "" for one in allowed)
        yield f"| `{permission}` | {rule.does} | `{rule.scope}` | {marks} | {'write' if rule.is_write else ''} |"


def _allows(
    rule: Rule, *, workspace: WorkspaceRole | None = None, organization: OrganizationRole | None = None
) -> bool:
    return rule.allows(frozenset(Scope), workspace, organization)


def _access() -> Iterator[str]:
    yield "| `access` | besides the owner and those who are named | principals |"
    yield "| --- | --- | --- |"
    for access in Access:
        principals = ", ".join(f"`{one}`" for one in readers_of(access, owner_id=None)) or "none"
        yield f"| `{access}` | {ACCESS_MEANING[access]} | {principals} |"


def _routes() -> Iterator[str]:
    by_permission: dict[str, list[str]] = {}
    public: list[str] = []
    for path, operations in _paths().items():
        for method in METHODS:
            if operation := operations.get(method):
                line = f"`{method.upper()} {path}`"
                if permission := operation.get("x-permission"):
                    by_permission.setdefault(str(permission), []).append(line)
                else:
                    public.append(f"{line}: {operation.get('x-public', '')}")
    yield "## Routes by permission\n"
    order = {str(permission): place for place, permission in enumerate(Permission)}
    for name in sorted(by_permission, key=lambda name: (order.get(name, len(order)), name)):
        title = f"`{name}`" if name in order else "Any valid credential"
        yield f"- {title}: {', '.join(by_permission[name])}"
    yield "\n## Routes that need no credential of the API\n"
    yield from (f"- {line}" for line in public)


def _paths() -> dict[str, dict[str, dict[str, object]]]:
    settings = Settings(
        _env_file=None, database_url=SecretStr("postgresql://reference@localhost/reference"), reranker="none"
    )
    found: dict[str, dict[str, dict[str, object]]] = build_app(build_services(settings)).openapi()["paths"]
    return found


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference(), encoding="utf-8")
    SDK_TARGET.write_text(sdk_scopes(), encoding="utf-8")
