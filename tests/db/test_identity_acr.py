"""How surely a request wants to know who it is: step-up, essential levels, and what an organisation requires."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from joserfc import jws
from tests.db.conftest import Tenant
from tests.db.identity_protocol_driver import COOKIE, Party, Person, World, answer_of, provider

from ragecho.identity.accounts.sessions import current_session, step_up

pytestmark = pytest.mark.anyio
ONE, TWO = "urn:echo:acr:1", "urn:echo:acr:2"


@pytest.fixture
async def world(owner_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGECHO_IDENTITY_SECRET", hashlib.sha512(b"tests").hexdigest())
        async with provider(owner_url, tmp_path) as world:
            yield world


@pytest.fixture
async def person(world: World) -> Person:
    return await world.person()


def insisting(*values: str) -> str:
    return orjson.dumps({"id_token": {"acr": {"essential": True, "values": list(values)}}}).decode()


async def has_authenticator(world: World, person: Person) -> None:
    await world.run(
        "insert into identity_totp (user_id, secret_sealed, confirmed_at) values (:id, 'sealed', now())", id=person.id
    )


async def shows_it(world: World, person: Person) -> Person:
    """Return the person with a session of two factors."""
    async with world.services.database.anonymous() as db:
        session = await current_session(db, person.cookies[COOKIE])
        assert session is not None
        _, secret = await step_up(db, session.id, amr=("pwd", "otp", "mfa"))
    return Person(person.id, person.session_id, {**person.cookies, COOKIE: secret})


async def asked_for(world: World, party: Party, person: Person, **changes: str) -> Any:
    """Return the page that the browser is sent to, or the parameters for the client."""
    asked, _ = party.request(scope="openid read", **changes)
    await world.allow(person, party, asked["scope"])
    answer = await world.authorize(asked, person)
    if answer.headers["location"].startswith("/"):
        return answer.headers["location"]
    return answer_of(answer)


async def acr_of(party: Party, person: Person, **changes: str) -> str:
    tokens = await party.sign_in(person, scope="openid read", **changes)
    return str(orjson.loads(jws.extract_compact(tokens["id_token"].encode()).payload)["acr"])


async def test_who_has_a_second_factor_is_asked_for_it_and_goes_on(world: World, person: Person) -> None:
    party = await world.client()
    await has_authenticator(world, person)
    wishes: list[dict[str, str]] = [{"acr_values": TWO}, {"acr_values": f"{TWO} {ONE}"}, {"claims": insisting(TWO)}]
    for wish in wishes:
        page = await asked_for(world, party, person, **wish)
        assert page.startswith("/identity/login/step-up?interaction="), wish
        async with world.http(person.cookies) as http:
            shown = await http.get(page)
            assert shown.status_code == 303
            assert urlsplit(shown.headers["location"]).path == "/identity/login/second-factor"
            again = await http.get(page.replace("login/step-up", "authorize/continue"))
            assert again.headers["location"] == page, "nothing is issued before it was shown"
        both = await shows_it(world, person)
        async with world.http(both.cookies) as http:
            done = await http.get(page.replace("login/step-up", "authorize/continue"))
            assert "code" in answer_of(done)
        assert await acr_of(party, both, **wish) == TWO
        await world.run("update identity_sessions set acr = :acr where user_id = :id", acr=ONE, id=person.id)
        person.cookies.update(both.cookies)


async def test_without_a_second_factor_a_wish_is_no_demand(world: World, person: Person) -> None:
    party = await world.client()
    assert await acr_of(party, person, acr_values=TWO) == ONE
    assert await acr_of(party, person, acr_values="urn:unknown") == ONE
    wish = orjson.dumps({"id_token": {"acr": {"values": [TWO]}}}).decode()
    assert await acr_of(party, person, claims=wish) == ONE


async def test_what_is_essential_and_cannot_be_met_is_refused(world: World, person: Person) -> None:
    party = await world.client()
    for claims in (insisting(TWO), insisting("urn:unknown")):
        for more in ({}, {"prompt": "none"}):
            back = await asked_for(world, party, person, claims=claims, **more)
            assert back["error"] == "unmet_authentication_requirements"
    await has_authenticator(world, person)
    silent = await asked_for(world, party, person, claims=insisting(TWO), prompt="none")
    assert silent["error"] == "unmet_authentication_requirements"
    silent = await asked_for(world, party, person, acr_values=TWO, prompt="none")
    assert silent["error"] == "login_required"
    malformed = orjson.dumps({"id_token": {"acr": {"essential": True, "values": [1]}}}).decode()
    assert (await asked_for(world, party, person, claims=malformed))["error"] == "invalid_request"


async def test_a_higher_level_meets_a_lower_one(world: World, person: Person) -> None:
    party = await world.client()
    await has_authenticator(world, person)
    both = await shows_it(world, person)
    assert await acr_of(party, both, acr_values=ONE) == TWO
    assert await acr_of(party, both, claims=insisting(ONE)) == ONE, "told as what was asked for"


async def test_an_organisation_that_requires_a_second_factor_gets_it_from_its_members(
    world: World, person: Person, tenant: Tenant, owner_url: str
) -> None:
    party = await world.client()
    assert "code" in await asked_for(world, party, person)
    ids = {"o": tenant.organization_id, "u": person.id}
    await world.run(
        "insert into organization_members (organization_id, user_id, role) values (:o, :u, 'member')", **ids
    )
    require(owner_url, tenant)
    page = await asked_for(world, party, person)
    assert page.startswith("/identity/login/step-up?")
    async with world.http(person.cookies) as http:
        shown = await http.get(page)
        assert shown.status_code == 200
        assert "/identity/account/security" in shown.text
        device = await http.get("/identity/device")
        assert device.headers["location"].startswith("/identity/login/step-up?")
    silent = await asked_for(world, party, person, prompt="none")
    assert silent["error"] == "login_required"
    await has_authenticator(world, person)
    async with world.http(person.cookies) as http:
        shown = await http.get(page)
        assert urlsplit(shown.headers["location"]).path == "/identity/login/second-factor"
    assert "code" in await asked_for(world, party, await shows_it(world, person))


async def test_an_address_that_starts_very_many_sign_ins_is_slowed_down(world: World) -> None:
    party = await world.client()
    asked, _ = party.request()
    await world.authorize(asked)
    await world.run("update identity_throttle set failures = 700, blocked_until = now() + interval '1 minute'")
    answer = await world.authorize(asked)
    assert answer.status_code == 429
    await world.run("delete from identity_throttle")
    assert (await world.authorize(asked)).status_code == 303


def require(owner_url: str, tenant: Tenant) -> None:
    from sqlalchemy import create_engine, text

    from ragecho.platform.database import driver_url

    engine = create_engine(driver_url(owner_url))
    with engine.begin() as connection:
        connection.execute(
            text("update organizations set require_second_factor = true where id = :id"), {"id": tenant.organization_id}
        )
    engine.dispose()
