"""What each route needs, stated as data on the route: checked before it runs, and told in the OpenAPI description.

A route names its permission where it asks for its caller:

    Reading = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_READ)]

    @router.get("")
    async def list_documents(caller: Reading) -> Page[DocumentOut]: ...

The permission is a security scope of the route (OpenAPI 3.1 has role names there for any scheme), from which the operation
gets `x-permission` and a sentence. A route that anybody may call says why:
`@router.get("/health", openapi_extra=anyone("says whether the process answers"))`. A test fails for a route without either.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Security

from ragecho.kernel.authorization import RULES, Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound

Authenticate = Callable[..., Awaitable[Caller]]

PERMISSION = "x-permission"
PUBLIC = "x-public"
# The value of x-permission where any valid credential will do.
AUTHENTICATED = "authenticated"


def requires(authenticate: Authenticate, permission: Permission) -> Any:
    """Return the dependency of a route for callers with this permission in the workspace of their request."""

    async def permitted(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
        caller.require(permission)
        return caller

    return Security(permitted, scopes=[str(permission)])


def requires_own_organization(authenticate: Authenticate, permission: Permission) -> Any:
    """Return the dependency of a route under `{organization_id}`: the caller's own; any other does not exist."""

    async def of_this_organization(
        caller: Annotated[Caller, requires(authenticate, permission)], organization_id: UUID
    ) -> Caller:
        if caller.organization_id != organization_id:
            raise NotFound("There is no such organisation.")
        return caller

    return Depends(of_this_organization)


def requires_in_service(authenticate: Authenticate, permission: Permission) -> Any:
    """Return the dependency of a route that needs this permission on what its path names, which its service checks.

    For routes about another workspace than the caller's own: only the service can look up the caller's role there. The
    credential's scope is checked here all the same.
    """

    async def carrying(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
        caller.require_credential(permission)
        return caller

    return Security(carrying, scopes=[str(permission)])


def signed_in(authenticate: Authenticate) -> Any:
    """Return the dependency of a route for any valid credential, e.g. what says who the caller is."""
    return Security(authenticate, scopes=[AUTHENTICATED])


def anyone(why: str) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that asks for no credential of the API, with the reason."""
    return {PUBLIC: why}


def declare_permission(operation: dict[str, Any]) -> None:
    """Write `x-permission`, and a sentence that says what is needed, into an operation whose route names a permission."""
    named = {scope for scheme in operation.get("security", []) for scopes in scheme.values() for scope in scopes}
    if not named:
        return
    operation[PERMISSION] = " ".join(sorted(named))
    needed = [f"{RULES[one].needs()} (`{one}`)" for one in Permission if one in named]
    sentence = f"Needs {'; '.join(needed)}." if needed else "Needs any valid credential."
    operation["description"] = f"{operation.get('description', '').rstrip()}\n\n{sentence}".strip()
