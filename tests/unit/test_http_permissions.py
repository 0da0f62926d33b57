"""Every route states what it needs, as data that the description tells and the edge enforces."""

from dataclasses import replace
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Security
from fastapi.security import HTTPBearer
from pydantic import SecretStr

from ragecho.kernel.authorization import RULES, OrganizationRole, Permission, Scope, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import OrganizationId, WorkspaceId, uuid7
from ragecho.platform.http import create_app
from ragecho.platform.http.permissions import AUTHENTICATED, anyone, requires, requires_in_service, signed_in
from ragecho.platform.settings import Settings
from ragecho.roles.api import build_app
from ragecho.wiring import build_services

SETTINGS = Settings(
    _env_file=None, database_url=SecretStr("postgresql://reference@localhost/reference"), reranker="none"
)

BEARER = HTTPBearer(auto_error=False)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def app_for(caller: Caller) -> FastAPI:
    async def authenticate(_bearer: Annotated[object, Security(BEARER)]) -> Caller:
        return caller

    router = APIRouter()

    @router.get("/read")
    async def read(caller: Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_READ)]) -> str:
        """Read."""
        return "read"

    @router.post("/write")
    async def write(caller: Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_WRITE)]) -> str:
        return "written"

    @router.get("/elsewhere")
    async def elsewhere(
        caller: Annotated[Caller, requires_in_service(authenticate, Permission.MEMBERS_ADMINISTER)],
    ) -> str:
        return "the service decides"

    @router.get("/me")
    async def me(caller: Annotated[Caller, signed_in(authenticate)]) -> str:
        return "me"

    @router.get("/open", openapi_extra=anyone("is the front door"))
    async def front_door() -> str:
        return "open"

    return create_app(title="t", version="1", routers=[router], settings=SETTINGS)


def caller(*scopes: Scope, role: WorkspaceRole | None = None, is_archived: bool = False) -> Caller:
    return Caller(
        OrganizationId(uuid7()),
        WorkspaceId(uuid7()),
        ("workspace",),
        frozenset(scopes),
        workspace_role=role,
        is_archived=is_archived,
    )


async def statuses(who: Caller) -> dict[str, int]:
    transport = httpx.ASGITransport(app=app_for(who))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        gets = {path: (await client.get(path)).status_code for path in ("/read", "/elsewhere", "/me", "/open")}
        return {**gets, "/write": (await client.post("/write")).status_code}


@pytest.mark.anyio
async def test_a_route_refuses_who_lacks_its_permission_before_it_runs() -> None:
    reader = await statuses(caller(Scope.READ, Scope.WRITE, role=WorkspaceRole.READER))
    assert reader == {"/read": 200, "/write": 403, "/elsewhere": 403, "/me": 200, "/open": 200}
    assert (await statuses(caller(Scope.WRITE, role=WorkspaceRole.EDITOR)))["/read"] == 403
    assert (await statuses(caller(Scope.WRITE, role=WorkspaceRole.EDITOR)))["/write"] == 200
    assert (await statuses(caller(Scope.READ, role=None)))["/read"] == 403
    assert reader["/elsewhere"] == 403  # whatever the role there may be: the key was not made for it
    assert (await statuses(caller(Scope.ADMIN, role=None)))["/elsewhere"] == 200


@pytest.mark.anyio
async def test_a_token_for_single_acts_does_no_other() -> None:
    narrow = replace(caller(*Scope, role=WorkspaceRole.ADMIN), only=frozenset({Permission.DOCUMENTS_READ}))
    assert await statuses(narrow) == {"/read": 200, "/write": 403, "/elsewhere": 403, "/me": 200, "/open": 200}


@pytest.mark.anyio
async def test_an_archived_workspace_is_read_and_refuses_writes() -> None:
    found = await statuses(caller(*Scope, role=WorkspaceRole.ADMIN, is_archived=True))
    assert (found["/read"], found["/write"]) == (200, 409)


def test_the_description_of_a_route_names_its_permission() -> None:
    paths = app_for(caller()).openapi()["paths"]
    assert paths["/read"]["get"]["x-permission"] == "documents:read"
    assert paths["/read"]["get"]["description"].startswith(
        "Read.\n\nNeeds the scope 'read' and the workspace role 'reader'"
    )
    assert paths["/elsewhere"]["get"]["x-permission"] == "members:administer"
    assert paths["/me"]["get"]["x-permission"] == AUTHENTICATED
    assert paths["/open"]["get"]["x-public"] == "is the front door"
    assert "x-permission" not in paths["/open"]["get"]


def test_every_route_names_a_permission_of_the_table_or_says_why_it_needs_none() -> None:
    undeclared, seen = [], set()
    for path, operations in build_app(build_services(SETTINGS)).openapi()["paths"].items():
        for method, operation in operations.items():
            names = set(operation.get("x-permission", "").split())
            seen |= names
            if bool(names) == bool(operation.get("x-public")) or names - {AUTHENTICATED, *map(str, Permission)}:
                undeclared.append(f"{method.upper()} {path}: {sorted(names)}")
    assert undeclared == []
    assert "documents:read" in seen


def test_the_table_has_one_rule_for_every_permission_and_says_what_it_is_for() -> None:
    assert set(RULES) == set(Permission)
    for permission, rule in RULES.items():
        assert rule.permission is permission
        assert rule.does
        assert (rule.workspace_role is None) != (rule.organization_role is None)


@pytest.mark.parametrize("permission", Permission)
def test_a_wider_role_may_what_a_narrower_may(permission: Permission) -> None:
    rule, scopes = RULES[permission], frozenset(Scope)
    for roles in (tuple((role, None) for role in WorkspaceRole), tuple((None, role) for role in OrganizationRole)):
        allowed = [rule.allows(scopes, *pair) for pair in roles]
        assert allowed == sorted(allowed)
    assert rule.allows(scopes, None, OrganizationRole.OWNER)
    assert not rule.allows(scopes, None, None)
    assert not rule.allows(scopes - {rule.scope}, WorkspaceRole.ADMIN, OrganizationRole.OWNER)
