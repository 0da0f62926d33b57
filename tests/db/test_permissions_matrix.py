"""Every route x role x credential x tenant, made from the OpenAPI document and the authorization table, through the real app."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from tests.db.app_driver import key_of, running
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document
from tests.db.people import add_domain, add_group, add_person, run, run_as_identity
from tests.db.token_driver import Issuer
from tests.openapi_requests import Operation, operations_of

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.authorization import RULES, OrganizationRole, Permission, Scope, WorkspaceRole
from ragecho.kernel.ids import uuid7
from ragecho.platform.database import Database, driver_url
from ragecho.platform.http.permissions import AUTHENTICATED
from ragecho.tenancy import secrets

pytestmark = pytest.mark.anyio

SECRET_WORDS = "the vault combination is nineteen heron forty"
RESTORE = "update workspaces set status = 'active', archived_at = null where id = :workspace"
ARCHIVE = "update workspaces set status = 'archived', archived_at = now() where id = :workspace"
ISSUER = "https://accounts.google.com"
# Any valid credential may call these; what they answer then is a rule of their own.
OWN_RULES = {"POST /api/v1/organizations"}


@dataclass(frozen=True, slots=True)
class Who:
    """A credential of a person: what it carries and what its owner is."""

    key: str
    scopes: frozenset[Scope]
    workspace_role: WorkspaceRole | None
    organization_role: OrganizationRole | None
    only: frozenset[Permission] | None = None

    def may(self, permission: str) -> bool:
        if permission == AUTHENTICATED:
            return True
        if self.only is not None and permission not in self.only:
            return False
        return RULES[Permission(permission)].allows(self.scopes, self.workspace_role, self.organization_role)


@pytest.fixture
def issuer(owner_url: str) -> Issuer:
    return Issuer(owner_url)


@pytest.fixture
async def app(
    owner_url: str, tmp_path: Path, embedder: FakeEmbedder
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async with running(owner_url, tmp_path, embedder) as made:
        yield made


def guarded(app: FastAPI) -> list[Operation]:
    found = [operation for operation in operations_of(app.openapi()) if not operation.is_public]
    assert len(found) > 40
    return found


async def everybody(database: Database, tenant: Tenant, issuer: Issuer) -> list[Who]:
    """Return a key and a token for each role with every scope, keys of administrators with each single scope, and more."""
    found = []
    for role in WorkspaceRole:
        person = await add_person(database, tenant, workspace_role=role)
        key = await key_of(database, tenant, person)
        for credential in (key, issuer.for_person(tenant, person)):
            found.append(Who(credential, frozenset(Scope), role, OrganizationRole.MEMBER))
    for organization_role in (OrganizationRole.ADMIN, OrganizationRole.OWNER):
        person = await add_person(database, tenant, role=organization_role, workspace_role=None)
        key = await key_of(database, tenant, person)
        for credential in (key, issuer.for_person(tenant, person)):
            found.append(Who(credential, frozenset(Scope), WorkspaceRole.ADMIN, organization_role))
        for scope in Scope:
            narrow = await key_of(database, tenant, person, scopes=[scope])
            found.append(Who(narrow, frozenset({scope}), WorkspaceRole.ADMIN, organization_role))
    # The same owner, by a key that was not made for the organisation's own affairs.
    bound = await key_of(database, tenant, person, cap=None)
    found.append(Who(bound, frozenset(Scope), WorkspaceRole.ADMIN, None))
    # Tokens for single acts, and a program's own token, whose role is what its scopes amount to.
    for act in (Permission.DOCUMENTS_WRITE, Permission.ORGANIZATION_ADMINISTER):
        token = issuer.for_person(tenant, person, str(act))
        scopes, only = frozenset({RULES[act].scope}), frozenset({act})
        found.append(Who(token, scopes, WorkspaceRole.ADMIN, OrganizationRole.OWNER, only))
    program = issuer.token("read write", issuer.client(tenant))
    found.append(Who(program, frozenset({Scope.READ, Scope.WRITE}), WorkspaceRole.EDITOR, None))
    return found


async def send(client: httpx.AsyncClient, operation: Operation, key: str | None, ids: dict[str, str]) -> httpx.Response:
    method, address, options = operation.request(ids)
    named = options.pop("headers", {})
    headers = named | ({"Authorization": f"Bearer {key}"} if key else {})
    return await client.request(method, address, headers=headers, **options)


async def test_no_route_answers_a_credential_that_does_not_count(
    issuer: Issuer, app: tuple[FastAPI, httpx.AsyncClient], database: Database, tenant: Tenant
) -> None:
    owner = await add_person(database, tenant, role="owner", workspace_role=None)
    good = await key_of(database, tenant, owner)
    bad: dict[str, str | None] = {"none": None, "made up": secrets.new_secret(), "no key": "abc"}
    bad["expired"] = await key_of(database, tenant, owner, expires="-1 second")
    bad["revoked"] = await key_of(database, tenant, owner, is_revoked=True)
    for name, end in (
        ("disabled", "update users set is_disabled = true where id = :user"),
        ("suspended", "update organization_members set suspended_at = now() where user_id = :user"),
        ("removed", "delete from organization_members where user_id = :user"),
    ):
        person = await add_person(database, tenant, role="owner", workspace_role="admin")
        bad[name] = await key_of(database, tenant, person)
        if name != "removed":  # a person without any organisation is somebody, who just sees nothing
            bad[f"token of {name}"] = issuer.for_person(tenant, person)
        change = run_as_identity if end.startswith("update users") else run
        await change(database, tenant, end, user=person)
    client_id = issuer.client(tenant)
    grant_id = issuer.grant(owner, client_id)
    bad["token of a revoked grant"] = issuer.token("read write admin", client_id, user_id=owner, grant_id=grant_id)
    issuer.run("update identity_grants set revoked_at = now() where id = :id", id=grant_id)
    bad["token of no grant"] = issuer.token("read write admin", client_id, user_id=owner)
    bad["expired token"] = issuer.token("read", issuer.client(tenant), seconds=-30)
    bad["token of a disabled client"] = issuer.token("read", client_id)
    issuer.run("update identity_clients set disabled_at = now() where id = :id", id=client_id)
    application, client = app
    assert (await client.get("/api/v1/documents", headers={"X-API-Key": good})).status_code == 200
    wrong = []
    for operation in guarded(application):
        for name, key in bad.items():
            answer = await send(client, operation, key, {"workspace": "main"})
            if answer.status_code != 401 or answer.json()["code"] != "unauthenticated":
                wrong.append((operation.name, name, answer.status_code, answer.text[:200]))
    assert not wrong, "\n".join(map(str, wrong))


async def test_every_route_lets_exactly_those_in_whom_the_table_names(
    issuer: Issuer, app: tuple[FastAPI, httpx.AsyncClient], database: Database, tenant: Tenant
) -> None:
    people = await everybody(database, tenant, issuer)
    application, client = app
    wrong = []
    for operation in guarded(application):
        for who in people:
            answer = await send(client, operation, who.key, {"workspace": "main"})
            is_refused = answer.status_code in (401, 403)
            if operation.name in OWN_RULES:
                continue
            if is_refused == who.may(operation.permission) or answer.status_code >= 500:
                wrong.append(
                    (operation.name, operation.permission, replace(who, key=""), answer.status_code, answer.text[:200])
                )
            if is_refused and not who.may(operation.permission):
                rule = RULES[Permission(operation.permission)]
                assert answer.json()["permission"] == operation.permission
                assert answer.json()["needed_scope"] == rule.scope
            if operation.permission == Permission.WORKSPACES_ADMINISTER:
                # What an allowed call did to the workspace is not the next call's business.
                await run(database, tenant, RESTORE)
    assert not wrong, "\n".join(map(str, wrong))


async def test_an_archived_workspace_refuses_every_write_and_nothing_else(
    app: tuple[FastAPI, httpx.AsyncClient], database: Database, tenant: Tenant
) -> None:
    owner = await add_person(database, tenant, role="owner", workspace_role=None)
    key = await key_of(database, tenant, owner)
    application, client = app
    wrong, writes = [], 0
    for operation in guarded(application):
        await run(database, tenant, ARCHIVE)
        answer = await send(client, operation, key, {"workspace": "main"})
        is_archived = answer.status_code == 409 and answer.json()["code"] == "workspace_archived"
        is_write = operation.permission != AUTHENTICATED and RULES[Permission(operation.permission)].is_write
        writes += is_write
        if is_archived != is_write or answer.status_code >= 500:
            wrong.append((operation.name, operation.permission, answer.status_code, answer.text[:200]))
    assert not wrong, "\n".join(map(str, wrong))
    assert writes >= 8


async def test_no_route_shows_or_changes_anything_of_another_tenant(
    app: tuple[FastAPI, httpx.AsyncClient],
    database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
    embedder: FakeEmbedder,
    owner_url: str,
) -> None:
    application, client = app
    theirs = await everything_of(database, other_tenant, embedder, client)
    mine = await add_person(database, tenant, role="owner", workspace_role=None)
    key = await key_of(database, tenant, mine)
    before = state_of(owner_url, other_tenant)
    wrong, with_ids = [], 0
    for operation in guarded(application):
        names = {part["name"] for part in operation.schema.get("parameters", []) if part["in"] == "path"}
        foreign = names - {"page", "domain"}
        assert foreign <= theirs.keys(), f"say in everything_of what {operation.name} is about: {foreign}"
        answer = await send(client, operation, key, theirs)
        shown = [
            name
            for name, value in theirs.items()
            if name not in ("workspace_slug", "page") and value in echoless(answer, operation)
        ]
        if foreign:
            with_ids += 1
            # What another tenant has is answered in the same words as what nobody has.
            nobodys = {name: value if name in ("page", "domain") else str(uuid7()) for name, value in theirs.items()}
            missing = await send(client, operation, key, nobodys)
            if said(missing) != said(answer):
                wrong.append((operation.name, said(missing), said(answer), ""))
        if shown or "nineteen heron forty" in answer.text or (foreign and answer.status_code != 404):
            wrong.append((operation.name, answer.status_code, shown, answer.text[:200]))
        named = await client.request(
            "GET", "/api/v1/documents", headers={"X-API-Key": key, "X-Workspace-ID": theirs["workspace"]}
        )
        assert named.status_code == 404
    assert not wrong, "\n".join(map(str, wrong))
    assert with_ids > 25
    assert state_of(owner_url, other_tenant) == before


def said(answer: httpx.Response) -> tuple[int, dict[str, object]]:
    """Return what a problem says, without what differs from request to request."""
    own = ("instance", "request_id")
    return answer.status_code, {name: value for name, value in answer.json().items() if name not in own}


def echoless(answer: httpx.Response, operation: Operation) -> str:
    """Return the answer without the address it repeats, which is the caller's own words."""
    if answer.headers.get("content-type") == "application/problem+json":
        return " ".join(str(value) for name, value in answer.json().items() if name != "instance")
    return answer.text


async def everything_of(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, client: httpx.AsyncClient
) -> dict[str, str]:
    """Fill a tenant with one of everything; return what leads to each, by the names that routes give it."""
    owner = await add_person(database, tenant, role="owner", workspace_role="admin")
    member = await add_person(database, tenant)
    group = await add_group(database, tenant, member)
    await add_domain(database, tenant, "theirs.example")
    document = await add_document(database, tenant, embedder, SECRET_WORDS)
    key = await key_of(database, tenant, owner)
    headers = {"X-API-Key": key}
    answer = await client.post("/api/v1/ask", json={"question": "vault combination heron"}, headers=headers)
    uploaded = await client.post("/api/v1/documents", files={"files": ("theirs.txt", b"of theirs")}, headers=headers)
    assert uploaded.status_code == 202, uploaded.text
    keys = await client.get("/api/v1/api-keys", headers=headers)
    found = {
        "workspace": str(tenant.workspace_id),
        "organization_id": str(tenant.organization_id),
        "user_id": str(member),
        "group_id": str(group),
        "document_id": str(document),
        "job_id": uploaded.json()["documents"][0]["job_id"],
        "batch_id": uploaded.json()["batch"],
        "answer_id": answer.json()["id"],
        "key_id": keys.json()["items"][0]["id"],
        "page": "1",
        "domain": "theirs.example",
    }
    organization = f"/api/v1/organizations/{tenant.organization_id}"
    for name, address, body in (
        (
            "provider_id",
            f"{organization}/identity-providers",
            {"name": "Theirs", "client_id": "echo", "issuer": ISSUER},
        ),
        ("domain_id", f"{organization}/verified-domains", {"name": f"{uuid7()}.example"}),
        ("token_id", f"{organization}/scim-tokens", {}),
        ("invitation_id", "/api/v1/invitations", {"email": "new@theirs.example", "role": "member"}),
        (
            "service_account_id",
            "/api/v1/service-accounts",
            {"name": "robot", "workspace": str(tenant.workspace_id), "workspace_role": "reader"},
        ),
        (
            "source_id",
            "/api/v1/sources",
            {"kind": "url", "name": "Theirs", "config": {"url": "https://theirs.example/page"}, "paused": True},
        ),
    ):
        made = await client.post(address, json=body, headers=headers)
        assert made.status_code == 201, (address, made.text)
        found[name] = made.json().get("id") or made.json()[name.removesuffix("_id")]["id"]
    begun = await client.post("/api/v1/uploads", headers=headers | {"Upload-Length": "10"})
    assert begun.status_code == 201, begun.text
    return found | {"upload_id": begun.json()["id"]}


def state_of(owner_url: str, tenant: Tenant) -> dict[str, str]:
    """Return a digest of every row of a tenant, by table."""
    found = {}
    engine = create_engine(driver_url(owner_url))
    with engine.connect() as connection:
        tables = connection.execute(
            text(
                "select distinct c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
                " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition"
                " and a.attname in ('organization_id', 'workspace_id') order by 1, 2"
            )
        ).all()
        for table, column in tables:
            value = tenant.organization_id if column == "organization_id" else tenant.workspace_id
            found[f"{table}.{column}"] = connection.execute(
                text(
                    f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {table} t where {column} = :id"
                ),
                {"id": value},
            ).scalar_one()
    engine.dispose()
    return found
