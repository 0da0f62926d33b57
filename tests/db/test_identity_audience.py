"""Whom access tokens are for (RFC 8707), and that they end with the browser session that they were given in."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from joserfc import jws
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.identity_protocol_driver import BASE, Person, World, answer_of, provider

from ragecho.identity.accounts.sessions import EndReason, current_session, end_other_sessions, end_session
from ragecho.identity.protocol import device
from ragecho.identity.verifier import AccessTokenVerifier
from ragecho.kernel.errors import InvalidInput, Unauthenticated
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio
ECHO = f"{BASE}/api"
USERINFO = f"{BASE}/identity/userinfo"
REPORTS = "https://reports.example/"
BILLS = "urn:example:bills"


@pytest.fixture
async def world(owner_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGECHO_IDENTITY_SECRET", hashlib.sha512(b"tests").hexdigest())
        async with provider(owner_url, tmp_path) as world:
            yield world


@pytest.fixture
async def person(world: World) -> Person:
    return await world.person()


@pytest.fixture
async def member(world: World, person: Person, tenant: Tenant) -> Person:
    """The same person, in a workspace."""
    ids = {"o": tenant.organization_id, "w": tenant.workspace_id, "u": person.id}
    await world.run(
        "insert into organization_members (organization_id, user_id, role) values (:o, :u, 'member')", **ids
    )
    await world.run(
        "insert into workspace_members (organization_id, workspace_id, user_id, role) values (:o, :w, :u, 'reader')",
        **ids,
    )
    return person


@pytest.fixture
def api(database: Database) -> AccessTokenVerifier:
    """Echo's API, as far as it looks at tokens."""
    return AccessTokenVerifier(database, issuer=f"{BASE}/identity", audience=ECHO)


def audience(tokens: dict[str, Any]) -> Any:
    return orjson.loads(jws.extract_compact(tokens["access_token"].encode()).payload)["aud"]


async def userinfo(world: World, tokens: dict[str, Any]) -> int:
    async with world.http() as http:
        answer = await http.get("/identity/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
        return answer.status_code


# Audiences


async def test_without_audiences_of_its_own_a_client_gets_tokens_for_echo_and_userinfo(
    world: World, member: Person, api: AccessTokenVerifier
) -> None:
    party = await world.client()
    tokens = await party.sign_in(member)
    assert audience(tokens) == [ECHO, USERINFO]
    assert await api.verify(tokens["access_token"], workspace=None)
    assert await userinfo(world, tokens) == 200
    plain = await party.sign_in(member, scope="read")
    assert audience(plain) == ECHO
    assert await userinfo(world, plain) == 401


async def test_a_token_for_another_service_opens_neither_echo_nor_without_openid_userinfo(
    world: World, member: Person, api: AccessTokenVerifier
) -> None:
    party = await world.client(audiences=[REPORTS])
    tokens = await party.sign_in(member)
    assert audience(tokens) == [REPORTS, USERINFO]
    assert await userinfo(world, tokens) == 200, "the client asked to know who it is"
    narrowed = (await party.post("token", {**refreshing(tokens), "resource": REPORTS})).json()
    assert audience(narrowed) == REPORTS
    assert await userinfo(world, narrowed) == 401
    for token in (tokens, narrowed):
        with pytest.raises(Unauthenticated, match="another audience"):
            await api.verify(token["access_token"], workspace=None)
        told = (await party.post("introspect", {"token": token["access_token"]})).json()
        assert (told["active"], told["aud"]) == (True, audience(token))


async def test_a_client_asks_for_its_audiences_and_no_other(world: World, person: Person) -> None:
    party = await world.client(audiences=[REPORTS, BILLS, "echo"])
    assert audience(await party.sign_in(person)) == [REPORTS, USERINFO]
    assert audience(await party.sign_in(person, resource=BILLS)) == [BILLS, USERINFO]
    assert audience(await party.sign_in(person, resource=ECHO)) == [ECHO, USERINFO]
    for wrong in ("https://other.example/", f"{REPORTS}#part", "reports", "https://[", "x" * 3000):
        asked, _ = party.request(resource=wrong)
        back = answer_of(await world.authorize(asked, person))
        assert back["error"] == "invalid_target", wrong
        pushed = await party.post("par", asked)
        assert (pushed.status_code, pushed.json()["error"]) == (400, "invalid_target")
        form = await party.code(person)
        refused = await party.post("token", {**form, "resource": wrong})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_target")
        assert (await party.post("token", form)).status_code == 200, "the code was not used up"


async def test_a_token_request_narrows_what_the_authorization_request_named(world: World, person: Person) -> None:
    party = await world.client(audiences=[REPORTS, BILLS, "echo"])
    form = await party.code(person, resource=BILLS)
    refused = await party.post("token", {**form, "resource": REPORTS})
    assert refused.json()["error"] == "invalid_target"
    tokens = await party.sign_in(person, resource=BILLS)
    for resource, expected in ((BILLS, BILLS), (USERINFO, USERINFO)):
        tokens |= (await party.post("token", {**refreshing(tokens), "resource": resource})).json()
        assert audience(tokens) == expected
    refused = await party.post("token", {**refreshing(tokens), "resource": ECHO})
    assert refused.json()["error"] == "invalid_target"
    tokens |= (await party.refresh(tokens["refresh_token"])).json()
    assert audience(tokens) == [BILLS, USERINFO]
    await world.run("update identity_clients set audiences = '{echo}' where id = :id", id=party.client.id)
    world.services.provider.clients.forget(party.client.id)
    assert (await party.refresh(tokens["refresh_token"])).json()["error"] == "invalid_target"


async def test_a_pushed_request_and_one_that_waits_for_a_person_keep_their_audiences(
    world: World, person: Person
) -> None:
    party = await world.client(audiences=["echo", REPORTS])
    asked, verifier = party.request(resource=REPORTS)
    reference = (await party.post("par", asked)).json()["request_uri"]
    await world.allow(person, party, asked["scope"])
    back = answer_of(await world.authorize({"client_id": party.client.id, "request_uri": reference}, person))
    form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": asked["redirect_uri"]}
    tokens = (await party.post("token", {**form, "code_verifier": verifier})).json()
    assert audience(tokens) == [REPORTS, USERINFO]


async def test_several_audiences_are_named_one_by_one(world: World, person: Person) -> None:
    party = await world.client(audiences=["echo", REPORTS, BILLS])
    form = await party.code(person)
    body = "&".join(f"{name}={quote(value, safe='')}" for name, value in form.items())
    body += f"&resource={quote(REPORTS, safe='')}&resource={quote(BILLS, safe='')}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with world.http() as http:
        answer = await http.post("/identity/token", content=body, headers=headers, auth=party.auth or ("", ""))
    assert audience(answer.json()) == [REPORTS, BILLS]


async def test_a_device_gets_tokens_for_what_it_asked(world: World, person: Person) -> None:
    party = await world.client(is_public=True, has_device_flow=True, audiences=["echo", REPORTS])
    refused = await party.post("device_authorization", {"scope": "openid", "resource": BILLS})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_target")
    started = (await party.post("device_authorization", {"scope": "openid read", "resource": REPORTS})).json()
    async with world.services.database.anonymous() as db:
        session = await current_session(db, person.cookies["echo_identity"])
        assert session is not None
        await device.approve(db, started["user_code"], session)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": started["device_code"]}
    refused = await party.post("token", {**form, "resource": ECHO})
    assert refused.json()["error"] == "invalid_target"
    await world.run("update identity_device_codes set last_polled_at = null where client_id = :c", c=party.client.id)
    assert audience((await party.post("token", form)).json()) == [REPORTS, USERINFO]


@pytest.mark.parametrize("wrong", ["reports", "https://reports.example/#part", "https://a b/", "", 'https://a/"'])
async def test_an_audience_is_an_absolute_uri(world: World, wrong: str) -> None:
    with pytest.raises(InvalidInput):
        await world.client(audiences=[wrong])


# The end of a session


async def ended_remotely(world: World, person: Person) -> None:
    async with world.services.database.anonymous() as db:
        await end_other_sessions(db, person.id)


async def ended_by_a_password(world: World, person: Person) -> None:
    async with world.services.database.anonymous() as db:
        await end_session(db, person.session_id, person.id, reason=EndReason.PASSWORD_CHANGED)


@pytest.mark.parametrize("end", [ended_remotely, ended_by_a_password])
async def test_tokens_of_a_session_end_with_it_at_the_next_request(
    world: World, member: Person, api: AccessTokenVerifier, end: Any
) -> None:
    party = await world.client()
    bound = await party.sign_in(member, scope="openid read")
    lasting = await party.sign_in(member, scope="openid offline_access read")
    assert await api.verify(bound["access_token"], workspace=None)
    await end(world, member)
    with pytest.raises(Unauthenticated):
        await api.verify(bound["access_token"], workspace=None)
    assert await userinfo(world, bound) == 401
    assert (await party.post("introspect", {"token": bound["access_token"]})).json() == {"active": False}
    assert (await party.refresh(bound["refresh_token"])).json()["error"] == "invalid_grant"
    assert await api.verify(lasting["access_token"], workspace=None)
    assert await userinfo(world, lasting) == 200


async def test_a_token_ends_with_its_grants_time(world: World, member: Person, api: AccessTokenVerifier) -> None:
    party = await world.client()
    tokens = await party.sign_in(member)
    await world.run("update identity_grants set expires_at = now() where user_id = :id", id=member.id)
    with pytest.raises(Unauthenticated):
        await api.verify(tokens["access_token"], workspace=None)
    assert await userinfo(world, tokens) == 401


async def test_what_a_caller_may_read_is_gone_with_the_session(
    world: World, member: Person, api: AccessTokenVerifier, database: Database
) -> None:
    """The look before the prompt, within a request that began before."""
    tokens = await (await world.client()).sign_in(member, scope="openid read")
    caller = await api.verify(tokens["access_token"], workspace=None)
    assert caller is not None

    async def present() -> Any:
        async with database.transaction(caller) as session:
            found = await session.execute(
                text("select ragecho_present_principals(:person, null, :grant)"),
                {"person": caller.user_id, "grant": caller.grant_id},
            )
            return found.scalar_one()

    assert f"user:{member.id}" in await present()
    await ended_remotely(world, member)
    assert await present() is None


def refreshing(tokens: dict[str, Any]) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
