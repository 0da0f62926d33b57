"""SCIM 2.0 as Okta and Entra ID speak it, on a real database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import httpx
import pytest
from scim2_models import ScimFilter
from sqlalchemy import text
from tests.db.accounts_driver import ISSUER, VAULT
from tests.db.conftest import Tenant
from tests.db.people import add_group, add_key, add_person, run_as_identity

from ragecho.identity.federation.build import build_federation
from ragecho.identity.scim import tokens
from ragecho.identity.scim.model import WorkspaceGrant
from ragecho.identity.scim.resources import ScimUser
from ragecho.identity.scim.routes import build_scim_router
from ragecho.kernel.authorization import WorkspaceRole
from ragecho.kernel.errors import NotFound, Unauthenticated
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import IDENTITY_ROLE, Database
from ragecho.platform.http import create_app
from ragecho.platform.settings import Settings

pytestmark = pytest.mark.anyio

BASE = "http://echo.test/scim/v2"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@dataclass
class Scim:
    """The directory of an organisation with one verified domain."""

    http: httpx.AsyncClient
    database: Database
    tenant: Tenant
    domain: str
    token: str

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        content: dict[str, Any] = {}
        if body is not None:
            content = {"json": body}
            headers["Content-Type"] = "application/scim+json"
        answer = await self.http.request(method, path, headers=headers, **content)
        assert answer.status_code == status, (answer.status_code, answer.text)
        if answer.content:
            assert answer.headers["content-type"] == "application/scim+json"
            return answer.json()
        return None

    async def list(self, path: str, **parameters: Any) -> Any:
        query = httpx.QueryParams(parameters)
        return await self.call("GET", f"{path}?{query}")

    def okta(self, name: str = "ada", **more: Any) -> dict[str, Any]:
        """A user as Okta sends one."""
        return {
            "schemas": [USER],
            "userName": f"{name}@{self.domain}",
            "name": {"givenName": name.title(), "familyName": "Lovelace"},
            "emails": [{"primary": True, "value": f"{name}@{self.domain}", "type": "work"}],
            "displayName": f"{name.title()} Lovelace",
            "locale": "en-US",
            "externalId": f"00u-{name}",
            "groups": [],
            "password": "1mz050nq",
            "active": True,
            **more,
        }

    async def add(self, name: str = "ada", **more: Any) -> dict[str, Any]:
        return dict(await self.call("POST", "/Users", self.okta(name, **more), status=201))

    async def patch(self, path: str, *operations: Any, status: int = 200) -> Any:
        return await self.call("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, status=status)

    async def row(self, statement: str, **values: Any) -> Any:
        async with self.database.transaction(self.tenant.member()) as session:
            return (await session.execute(text(statement), values)).mappings().first()

    async def person(self, user_id: str) -> Any:
        return await self.row(
            "select u.*, m.role, m.suspended_at from users u join organization_members m on m.user_id = u.id"
            " where u.id = cast(:id as uuid)",
            id=user_id,
        )


async def set_up(identity: Database, database: Database, tenant: Tenant) -> Scim:
    domain = f"corp-{str(tenant.organization_id)[-12:]}.example"
    federation = build_federation(Settings(), identity, VAULT, issuer=ISSUER)
    await federation.administration.vouch_for_domain(tenant.member(), domain)
    grant = WorkspaceGrant(tenant.workspace_id, WorkspaceRole.READER)
    async with database.transaction(tenant.member()) as session:
        _, secret = await tokens.create_token(
            tenant.member(), session, name="okta", expires_in_days=None, workspaces=[grant]
        )
    app = create_app(title="t", version="1", routers=[build_scim_router(database, base_url=BASE)], settings=Settings())
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)
    return Scim(http, database, tenant, domain, secret)


@pytest.fixture
async def identity(owner_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(owner_url, role=IDENTITY_ROLE, pool_size=3)
    yield database
    await database.close()


@pytest.fixture
async def scim(identity: Database, database: Database, tenant: Tenant) -> AsyncIterator[Scim]:
    found = await set_up(identity, database, tenant)
    yield found
    await found.http.aclose()


@pytest.fixture
async def other(identity: Database, database: Database, other_tenant: Tenant) -> AsyncIterator[Scim]:
    found = await set_up(identity, database, other_tenant)
    yield found
    await found.http.aclose()


async def test_a_provisioned_person_is_a_member_with_an_account_of_the_organisations_own(scim: Scim) -> None:
    made = await scim.add()
    assert made["userName"] == f"ada@{scim.domain}"
    assert made["active"] is True
    assert made["externalId"] == "00u-ada"
    assert made["meta"]["resourceType"] == "User"
    assert made["meta"]["location"] == f"{BASE}/Users/{made['id']}"
    assert "password" not in repr(made)
    person = await scim.person(made["id"])
    assert (person["email"], person["name"], person["role"]) == (f"ada@{scim.domain}", "Ada Lovelace", "member")
    assert person["managed_by_organization_id"] == scim.tenant.organization_id
    stored = await scim.row("select resource::text from scim_users where user_id = cast(:id as uuid)", id=made["id"])
    assert "1mz050nq" not in repr(dict(stored))
    member = await scim.row("select role from workspace_members where user_id = cast(:id as uuid)", id=made["id"])
    assert member["role"] == "reader"
    assert await scim.call("GET", f"/Users/{made['id']}") == made


async def test_a_name_that_is_taken_is_a_conflict(scim: Scim) -> None:
    await scim.add()
    for changed in (
        {"externalId": "another"},
        {"userName": "another", "externalId": "another"},
        {"userName": f"ADA@{scim.domain}", "externalId": "x", "emails": [{"value": f"b@{scim.domain}"}]},
    ):
        error = await scim.call("POST", "/Users", scim.okta(**changed), status=409)
        assert error["scimType"] == "uniqueness"
        assert error["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert error["status"] == "409"


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "value": {"active": False}},  # Okta
        {"op": "Replace", "path": "active", "value": "False"},  # Entra ID
        {"op": "replace", "path": "active", "value": False},
        {"op": "Add", "path": f"{USER}:active", "value": False},
    ],
    ids=str,
)
async def test_deactivation_ends_everything_at_once_and_activation_gives_it_back(
    scim: Scim, identity: Database, operation: dict[str, Any]
) -> None:
    made = await scim.add()
    user_id = UserId((await scim.person(made["id"]))["id"])
    _, key = await add_key(scim.database, scim.tenant, user_id=user_id)
    async with identity.anonymous() as db:
        await db.execute(
            text(
                "insert into identity_sessions (id, user_id, secret_sha256, authenticated_at, amr, acr, expires_at, idle_seconds)"
                " values (:id, :user, :digest, now(), '{pwd}', 'x', now() + interval '1 day', 3600)"
            ),
            {"id": uuid7(), "user": user_id, "digest": sha256(user_id.bytes).digest()},
        )

    async def key_counts() -> bool:
        async with scim.database.anonymous() as session:
            found = await session.execute(text("select * from ragecho_caller_of_key(:d)"), {"d": key})
            return found.first() is not None

    async def sessions() -> int:
        async with identity.anonymous() as db:
            found = await db.execute(
                text("select count(*) from identity_sessions where user_id = :u and ended_at is null"), {"u": user_id}
            )
            return int(found.scalar_one())

    assert await key_counts()
    assert await sessions() == 1
    changed = await scim.patch(f"/Users/{made['id']}", operation)
    assert changed["active"] is False
    assert not await key_counts()
    assert await sessions() == 0
    assert (await scim.person(made["id"]))["is_disabled"] is True
    back = await scim.patch(f"/Users/{made['id']}", {"op": "replace", "value": {"active": True}})
    assert back["active"] is True
    assert await key_counts()
    assert await sessions() == 0


async def test_deleting_deprovisions_and_provisioning_again_brings_the_same_person_back(scim: Scim) -> None:
    made = await scim.add()
    await scim.call("DELETE", f"/Users/{made['id']}", status=204)
    await scim.call("GET", f"/Users/{made['id']}", status=404)
    await scim.call("DELETE", f"/Users/{made['id']}", status=404)
    person = await scim.person(made["id"])
    assert person["suspended_at"] is not None
    assert person["is_disabled"] is True
    again = await scim.add()
    assert again["id"] == made["id"]
    assert (await scim.person(made["id"]))["suspended_at"] is None


async def test_entra_id_changes_a_person_by_paths(scim: Scim) -> None:
    made = await scim.add()
    changed = await scim.patch(
        f"/Users/{made['id']}",
        {"op": "Replace", "path": "displayName", "value": "Countess"},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": f"countess@{scim.domain}"},
        {"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "+44 1"},
        {"op": "Add", "path": "name.familyName", "value": "King"},
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Engines"},
        {"op": "Replace", "path": "userName", "value": f"countess@{scim.domain}"},
        {"op": "Add", "path": "unheardOf", "value": "x"},
    )
    assert changed["displayName"] == "Countess"
    assert changed["name"] == {"givenName": "Ada", "familyName": "King"}
    assert changed["phoneNumbers"] == [{"type": "mobile", "value": "+44 1"}]
    assert changed[ENTERPRISE] == {"department": "Engines"}
    assert ENTERPRISE in changed["schemas"]
    person = await scim.person(made["id"])
    assert (person["name"], person["email"]) == ("Countess", f"countess@{scim.domain}")
    removed = await scim.patch(f"/Users/{made['id']}", {"op": "Remove", "path": "phoneNumbers"})
    assert "phoneNumbers" not in removed


async def test_replacing_a_person_forgets_what_is_not_said(scim: Scim) -> None:
    made = await scim.add(title="Analyst")
    assert made["title"] == "Analyst"
    changed = await scim.call("PUT", f"/Users/{made['id']}", scim.okta(displayName="A. L."))
    assert "title" not in changed
    assert changed["id"] == made["id"]
    assert (await scim.person(made["id"]))["name"] == "A. L."


async def test_versions_protect_against_lost_updates(scim: Scim) -> None:
    made = await scim.add()
    path, version = f"/Users/{made['id']}", made["meta"]["version"]
    await scim.call("GET", path, status=304, If_None_Match=version)
    body = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "title", "value": "Analyst"}]}
    changed = await scim.call("PATCH", path, body, If_Match=version)
    assert changed["meta"]["version"] != version
    error = await scim.call("PATCH", path, body, status=412, If_Match=version)
    assert error["status"] == "412"
    await scim.call("PUT", path, scim.okta(), status=412, If_Match=version)
    await scim.call("DELETE", path, status=412, If_Match=version)
    await scim.call("DELETE", path, status=204, If_Match="*")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ('userName eq "ADA@{d}"', "ada"),
        ('userName eq "nobody@{d}"', ""),
        ('externalId eq "00u-bob"', "bob"),
        ('externalId eq "00U-BOB"', ""),
        ('emails.value eq "Bob@{d}"', "bob"),
        ('emails[type eq "work" and value co "bob"]', "bob"),
        ('emails[type eq "home"]', ""),
        ('emails co "{d}"', "ada bob eve"),
        ('emails ne "bob@{d}"', "ada eve"),
        ("active eq true", "ada bob"),
        ("active eq false", "eve"),
        ("not (active eq true)", "eve"),
        ('displayName sw "A"', "ada"),
        ('displayName ew "lovelace"', "ada bob eve"),
        ('name.givenName co "O"', "bob"),
        ('title eq "Boss"', "bob"),
        ('title ne "Boss"', "ada eve"),
        ("title pr", "bob"),
        ("not (title pr)", "ada eve"),
        ("phoneNumbers pr", ""),
        ("emails pr", "ada bob eve"),
        ("name pr", "ada bob eve"),
        ('urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "engines"', "eve"),
        ('userName eq "ada@{d}" or (active eq true and title pr)', "ada bob"),
        ('meta.created gt "2020-01-01T00:00:00Z"', "ada bob eve"),
        ('meta.lastModified lt "2020-01-01T00:00:00Z"', ""),
        ('schemas eq "x"', None),
        ('title eq "100%"', ""),
        ("title eq \"'; drop table users; --\"", ""),
        ('title eq "\\":f0 %(x)s"', ""),
        ("title eq null", "ada eve"),
        ('userName gt "b"', "bob eve"),
        ("unheardOf pr", None),
        ('userName like "x"', None),
        ("active gt true", None),
        ("userName eq", None),
        ("((((", None),
        ('password eq "x"', None),
        ("(" * 400 + "title pr" + ")" * 400, "bob"),
        ("x" * 3000, None),
    ],
)  # fmt: skip
async def test_filters(scim: Scim, wanted: str, found: str | None) -> None:
    await scim.add("ada")
    await scim.add("bob", title="Boss")
    await scim.add("eve", active=False, **{ENTERPRISE: {"department": "Engines"}})
    query = httpx.QueryParams(filter=wanted.replace("{d}", scim.domain))
    if found is None:
        error = await scim.call("GET", f"/Users?{query}", status=400)
        assert error["scimType"] in ("invalidFilter", "invalidValue", "invalidPath")
        return
    answer = await scim.call("GET", f"/Users?{query}")
    assert sorted(one["userName"].partition("@")[0] for one in answer["Resources"]) == found.split()
    assert answer["totalResults"] == len(found.split())
    # The library's own evaluation in memory says the same.
    everybody = [ScimUser.model_validate(one) for one in (await scim.list("/Users"))["Resources"]]
    parsed = ScimFilter[ScimUser](wanted.replace("{d}", scim.domain))
    matching = [one.user_name.partition("@")[0] for one in everybody if parsed.match(one)]
    assert sorted(matching) == found.split()


async def test_lists_come_in_pages_and_in_order(scim: Scim) -> None:
    for name in ("cy", "ada", "bob"):
        await scim.add(name)

    async def names(**parameters: Any) -> list[str]:
        answer = await scim.list("/Users", **parameters)
        assert answer["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]
        assert answer["totalResults"] == 3
        return [one["userName"].partition("@")[0] for one in answer.get("Resources", [])]

    assert await names() == ["cy", "ada", "bob"]
    assert await names(startIndex=2, count=1) == ["ada"]
    assert await names(startIndex=-4, count=1) == ["cy"]
    assert await names(count=0) == []
    assert await names(startIndex=9) == []
    assert await names(sortBy="userName") == ["ada", "bob", "cy"]
    assert await names(sortBy="name.givenName", sortOrder="descending") == ["cy", "bob", "ada"]
    assert await names(sortBy="userName", filter='userName co "@"') == ["ada", "bob", "cy"]
    for bad in ({"count": "many"}, {"sortBy": "emails"}, {"startIndex": 10**12}):
        await scim.call("GET", f"/Users?{httpx.QueryParams(bad)}", status=400)
    searched = await scim.call(
        "POST",
        "/Users/.search",
        {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
            "filter": 'userName sw "a"',
            "attributes": ["userName"],
        },
    )
    assert [sorted(one) for one in searched["Resources"]] == [["id", "schemas", "userName"]]


async def test_attributes_are_chosen(scim: Scim) -> None:
    made = await scim.add()
    only = await scim.list(f"/Users/{made['id']}", attributes="userName")
    assert sorted(only) == ["id", "schemas", "userName"]
    without = await scim.list(f"/Users/{made['id']}", excludedAttributes="emails,name")
    assert "emails" not in without
    assert "displayName" in without


async def test_okta_and_entra_manage_groups(scim: Scim) -> None:
    ada, bob = await scim.add("ada"), await scim.add("bob")
    made = await scim.call(
        "POST",
        "/Groups",
        {"schemas": [GROUP], "displayName": "Engines", "externalId": "g-1", "members": [{"value": ada["id"]}]},
        status=201,
    )
    path = f"/Groups/{made['id']}"
    assert [one["value"] for one in made["members"]] == [ada["id"]]
    assert made["members"][0]["$ref"] == f"{BASE}/Users/{ada['id']}"

    def members(group: dict[str, Any]) -> list[str]:
        return sorted(one["value"] for one in group.get("members", []))

    both = sorted([ada["id"], bob["id"]])
    added = await scim.patch(path, {"op": "Add", "path": "members", "value": [{"value": bob["id"]}]})
    assert members(added) == both
    assert members(await scim.patch(path, {"op": "add", "path": "members", "value": [{"value": bob["id"]}]})) == both
    removed = await scim.patch(path, {"op": "remove", "path": f'members[value eq "{ada["id"]}"]'})
    assert members(removed) == [bob["id"]]
    entra = await scim.patch(path, {"op": "Remove", "path": "members", "value": [{"value": bob["id"]}]})
    assert members(entra) == []
    replaced = await scim.patch(path, {"op": "replace", "path": "members", "value": [{"value": ada["id"]}]})
    assert members(replaced) == [ada["id"]]
    renamed = await scim.patch(path, {"op": "replace", "value": {"id": made["id"], "displayName": "Looms"}})
    assert renamed["displayName"] == "Looms"
    assert members(renamed) == [ada["id"]]
    person = await scim.call("GET", f"/Users/{ada['id']}")
    assert [one["display"] for one in person["groups"]] == ["Looms"]

    assert "members" not in await scim.list(path, excludedAttributes="members")
    for wanted in (
        'displayName eq "LOOMS"',
        'externalId eq "g-1"',
        f'members.value eq "{ada["id"]}"',
        f'id eq "{made["id"]}"',
    ):
        assert (await scim.list("/Groups", filter=wanted))["totalResults"] == 1, wanted
    assert (await scim.list("/Groups", filter='members eq "x"'))["totalResults"] == 0
    await scim.call("PUT", path, {"schemas": [GROUP], "displayName": "Empty"})
    assert members(await scim.call("GET", path)) == []
    await scim.call("DELETE", path, status=204)
    await scim.call("GET", path, status=404)


async def test_groups_refuse_taken_names_and_strangers(scim: Scim, other: Scim) -> None:
    group = {"schemas": [GROUP], "displayName": "Engines"}
    await scim.call("POST", "/Groups", group, status=201)
    assert (await scim.call("POST", "/Groups", group, status=409))["scimType"] == "uniqueness"
    stranger = await other.add()
    for value in (stranger["id"], str(uuid7()), "no id", ""):
        error = await scim.call(
            "POST", "/Groups", {**group, "displayName": "More", "members": [{"value": value}]}, status=400
        )
        assert error["scimType"] == "invalidValue"
    assert (await scim.list("/Groups"))["totalResults"] == 1


async def test_groups_made_by_hand_can_be_matched_by_the_directory(scim: Scim) -> None:
    group_id = await add_group(scim.database, scim.tenant)
    found = await scim.list("/Groups", filter=f'displayName eq "{group_id}"')
    assert [one["id"] for one in found["Resources"]] == [str(group_id)]


async def test_another_organisations_people_and_groups_do_not_exist(scim: Scim, other: Scim) -> None:
    made = await scim.add()
    group = await scim.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "Engines"}, status=201)
    for path, body in ((f"/Users/{made['id']}", other.okta()), (f"/Groups/{group['id']}", group)):
        await other.call("GET", path, status=404)
        await other.call("PUT", path, body, status=404)
        await other.patch(path, {"op": "replace", "value": {"displayName": "x"}}, status=404)
        await other.call("DELETE", path, status=404)
    assert (await other.list("/Users"))["totalResults"] == 0
    assert (await other.list("/Users", filter=f'userName eq "ada@{scim.domain}"'))["totalResults"] == 0
    assert (await other.list("/Groups"))["totalResults"] == 0
    assert (await scim.call("GET", f"/Users/{made['id']}"))["active"] is True


async def test_nobodys_account_is_taken_over_by_its_address(scim: Scim, other: Scim) -> None:
    victim = await add_person(other.database, other.tenant, email=f"victim-{uuid7()}@elsewhere.example")
    email = (await other.person(str(victim)))["email"]
    unknown = f"nobody-{uuid7()}@elsewhere.example"
    answers = [
        await scim.call("POST", "/Users", {"schemas": [USER], "userName": one}, status=400) for one in (email, unknown)
    ]
    # Neither is it told whether somebody has the address.
    assert answers[0] == answers[1]
    theirs = await other.add("bob")
    error = await scim.call("POST", "/Users", {"schemas": [USER], "userName": f"bob@{other.domain}"}, status=400)
    assert "has not verified the domain" in error["detail"]
    mine = await scim.add()
    for address in (email, f"bob@{other.domain}"):
        await scim.patch(
            f"/Users/{mine['id']}", {"op": "replace", "path": "emails", "value": [{"value": address}]}, status=400
        )
    assert (await other.call("GET", f"/Users/{theirs['id']}"))["active"] is True


async def test_a_member_who_was_invited_is_adopted_but_the_account_stays_their_own(scim: Scim) -> None:
    address = f"guest-{uuid7()}@elsewhere.example"
    guest = await add_person(scim.database, scim.tenant, email=address)
    made = await scim.call(
        "POST", "/Users", {"schemas": [USER], "userName": address, "displayName": "Renamed"}, status=201
    )
    assert made["id"] == str(guest)
    await scim.patch(f"/Users/{guest}", {"op": "replace", "path": "active", "value": False})
    person = await scim.person(str(guest))
    assert person["suspended_at"] is not None
    assert (person["is_disabled"], person["name"], person["email"]) == (False, None, address)


async def test_what_the_operator_closed_the_directory_does_not_open(scim: Scim) -> None:
    made = await scim.add()
    await run_as_identity(
        scim.database,
        scim.tenant,
        "update users set is_disabled = true where id = cast(:id as uuid)",
        id=made["id"],
    )
    await scim.patch(f"/Users/{made['id']}", {"op": "replace", "path": "active", "value": True})
    assert (await scim.person(made["id"]))["is_disabled"] is True


async def test_a_directory_has_no_power_over_owners(scim: Scim) -> None:
    address = f"owner@{scim.domain}"
    owner = await add_person(scim.database, scim.tenant, email=address, role="owner")
    made = await scim.call("POST", "/Users", {"schemas": [USER], "userName": address}, status=403)
    assert "owner" in made["detail"]
    assert (await scim.person(str(owner)))["suspended_at"] is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "invalidValue"),
        ({"schemas": [USER]}, "invalidValue"),
        ({"schemas": [USER], "userName": ""}, "invalidValue"),
        ({"schemas": [USER], "userName": "no address"}, "invalidValue"),
        ({"schemas": [USER], "userName": "x" * 600}, "invalidValue"),
        ({"schemas": [USER], "userName": 7}, "invalidValue"),
        ({"schemas": [USER], "userName": "a", "emails": "b"}, "invalidValue"),
        ({"schemas": [USER], "userName": "a", "emails": [{"value": "b"}]}, "invalidValue"),
        ([], "invalidSyntax"),
        ("x", "invalidSyntax"),
    ],
)
async def test_a_malformed_user_is_refused_in_scims_own_words(scim: Scim, body: Any, kind: str) -> None:
    error = await scim.call("POST", "/Users", body, status=400)
    assert error["scimType"] == kind, error
    assert error["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [{"op": "explode"}],
        [{"op": "remove"}],
        [{"op": "replace", "path": "id", "value": "x"}],
        [{"op": "replace", "path": "groups", "value": []}],
        [{"op": "remove", "path": "userName"}],
        [{"op": "replace", "path": "emails[", "value": "x"}],
        [{"op": "replace", "path": "active", "value": "perhaps"}],
        [{"op": "replace", "path": "title", "value": {"a": 1}}],
        [{"op": "replace", "path": "title", "value": "kept?"}, {"op": "remove", "path": "userName"}],
        "x",
    ],
    ids=str,
)
async def test_a_malformed_patch_changes_nothing(scim: Scim, operations: Any) -> None:
    made = await scim.add()
    await scim.call("PATCH", f"/Users/{made['id']}", {"schemas": [PATCH], "Operations": operations}, status=400)
    assert await scim.call("GET", f"/Users/{made['id']}") == made


async def test_the_service_describes_itself(scim: Scim) -> None:
    config = await scim.call("GET", "/ServiceProviderConfig")
    assert config["patch"] == config["etag"] == config["sort"] == {"supported": True}
    assert config["filter"] == {"supported": True, "maxResults": 200}
    assert config["bulk"]["supported"] is False
    kinds = await scim.call("GET", "/ResourceTypes")
    assert {one["endpoint"] for one in kinds["Resources"]} == {"/Users", "/Groups"}
    assert (await scim.call("GET", "/ResourceTypes/User"))["schemaExtensions"][0]["schema"] == ENTERPRISE
    schemas = await scim.call("GET", "/Schemas")
    assert {one["id"] for one in schemas["Resources"]} == {USER, GROUP, ENTERPRISE}
    assert (await scim.call("GET", f"/Schemas/{USER}"))["name"] == "User"
    await scim.call("GET", "/Schemas/unheard-of", status=404)
    await scim.call("GET", "/Schemas?filter=x", status=403)
    await scim.call("GET", "/Me", status=501)
    await scim.call("POST", "/Bulk", {}, status=501)
    await scim.call("GET", "/Cars", status=404)
    await scim.call("GET", "/Users/not-an-id", status=404)


async def test_nothing_is_answered_without_a_token_that_counts(scim: Scim) -> None:
    for header in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {scim.token}x"},
                   {"Authorization": f"Bearer {tokens.PREFIX}_AAAAAAAA_{'A' * 43}"}):  # fmt: skip
        for path in ("/Users", "/Groups", "/ServiceProviderConfig", "/Schemas", "/Me", "/nothing"):
            answer = await scim.http.get(path, headers=header)
            assert answer.status_code == 401, path
            assert answer.json()["status"] == "401"
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_tokens_are_digests_that_are_rotated_and_revoked(scim: Scim, other: Scim) -> None:
    caller = scim.tenant.member()
    row = await scim.row("select id, secret_sha256, prefix from scim_tokens")
    assert row["secret_sha256"] == sha256(scim.token.encode()).digest()
    assert scim.token.startswith(row["prefix"])
    async with scim.database.transaction(other.tenant.member()) as session:
        with pytest.raises(NotFound):
            await tokens.rotate_token(other.tenant.member(), session, row["id"])
        with pytest.raises(NotFound):
            await tokens.revoke_token(other.tenant.member(), session, row["id"])
    async with scim.database.transaction(caller) as session:
        made, secret = await tokens.rotate_token(caller, session, row["id"])
    with pytest.raises(Unauthenticated):
        await tokens.authenticate(scim.database, scim.token)
    assert (await tokens.authenticate(scim.database, secret)).caller.organization_id == caller.organization_id
    async with scim.database.transaction(caller) as session:
        await tokens.revoke_token(caller, session, made.id)
    with pytest.raises(Unauthenticated):
        await tokens.authenticate(scim.database, secret)


async def test_what_the_directory_does_is_in_the_audit_log(scim: Scim) -> None:
    made = await scim.add()
    await scim.call("DELETE", f"/Users/{made['id']}", status=204)
    async with scim.database.transaction(scim.tenant.member()) as session:
        found = await session.execute(
            text("select action, actor_kind from audit_events where target_id = :id order by id"), {"id": made["id"]}
        )
        assert [tuple(row) for row in found] == [
            ("member.provisioned", "client"),
            ("member.suspended", "client"),
            ("member.deprovisioned", "client"),
        ]
