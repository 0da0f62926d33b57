"""The protocol over a real database: what may happen once, what ends with what, and who may see an interaction."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from fastapi import FastAPI, Form
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.db.conftest import Tenant
from tests.db.identity_protocol_driver import BASE, REDIRECT_URI, Person, World, answer_of, at_once, provider

from ragecho.identity import clients
from ragecho.identity.accounts.sessions import EndReason, current_session, end_session
from ragecho.identity.protocol import device, interactions
from ragecho.identity.protocol.keys import ensure_keys, rotate_keys
from ragecho.identity.protocol.upkeep import Upkeep
from ragecho.identity.verifier import AccessTokenVerifier
from ragecho.kernel.authorization import Permission, Scope
from ragecho.kernel.errors import InvalidInput, NotFound, Unauthenticated
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio
PARALLEL = 8


@pytest.fixture
async def world(owner_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    # One master key for all tests: the signing keys in the database outlive a test's folder.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGECHO_IDENTITY_SECRET", hashlib.sha512(b"tests").hexdigest())
        async with provider(owner_url, tmp_path) as world:
            yield world


@pytest.fixture
async def person(world: World) -> Person:
    return await world.person()


# Codes


async def test_eight_parallel_redemptions_give_one_token_and_reuse_ends_what_it_gave(
    world: World, person: Person
) -> None:
    party = await world.client()
    form = await party.code(person)
    answers = await at_once(*(party.post("token", form) for _ in range(PARALLEL)))
    good = [answer for answer in answers if answer.status_code == 200]
    assert len(good) == 1
    assert {answer.json()["error"] for answer in answers if answer.status_code != 200} == {"invalid_grant"}
    tokens = good[0].json()
    assert (await party.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    async with world.http() as http:
        told = await http.get("/identity/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert told.status_code == 401


async def test_a_code_of_another_client_stays_untouched(world: World, person: Person) -> None:
    party, thief = await world.client(), await world.client()
    form = await party.code(person)
    assert (await thief.post("token", form)).json()["error"] == "invalid_grant"
    assert (await party.post("token", form)).status_code == 200


async def test_a_code_ends_after_its_time(world: World, person: Person) -> None:
    party = await world.client()
    form = await party.code(person)
    await world.run("update identity_codes set expires_at = now() where client_id = :id", id=party.client.id)
    assert (await party.post("token", form)).json()["error"] == "invalid_grant"


async def test_nothing_of_a_sign_in_is_stored_as_it_is(world: World, person: Person) -> None:
    party = await world.client()
    form = await party.code(person)
    tokens = (await party.post("token", form)).json()
    secrets = [form["code"], tokens["access_token"], tokens["refresh_token"], tokens["id_token"], party.secret]
    secrets += list(person.cookies.values())
    names = [
        row["name"]
        for row in await world.rows("select tablename as name from pg_tables where tablename like 'identity%'")
    ]
    assert "identity_grants" in names
    for name in names:
        content = str(await world.rows(f"select to_jsonb(t) as row from {name} t"))
        assert not [secret for secret in secrets if secret and secret in content], name


# Refresh


async def test_refresh_rotates_and_keeps_the_time_of_authentication(world: World, person: Person) -> None:
    party = await world.client()
    first = await party.sign_in(person)
    await world.run(
        "update identity_grants set auth_time = auth_time - interval '1 hour' where user_id = :id", id=person.id
    )
    second = (await party.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    before, after = await claims(world, first["id_token"]), await claims(world, second["id_token"])
    assert after["auth_time"] == before["auth_time"] - 3600
    assert "nonce" not in after
    assert after["sid"] == before["sid"] == str(person.session_id)
    assert (await claims(world, second["access_token"]))["gid"] == (await claims(world, first["access_token"]))["gid"]


async def test_parallel_refreshes_share_one_chain(world: World, person: Person) -> None:
    party = await world.client()
    tokens = await party.sign_in(person)
    answers = await at_once(*(party.refresh(tokens["refresh_token"]) for _ in range(PARALLEL)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    [row] = await world.rows(
        "select count(*) as unused from identity_refresh_tokens t join identity_grants g on g.id = t.grant_id"
        " where g.client_id = :id and t.used_at is null",
        id=party.client.id,
    )
    assert row["unused"] == 1
    assert (await party.refresh(answers[0].json()["refresh_token"])).status_code == 200


async def test_a_refresh_token_before_the_preceding_one_ends_the_family(world: World, person: Person) -> None:
    party = await world.client()
    first = await party.sign_in(person)
    second = (await party.refresh(first["refresh_token"])).json()
    third = (await party.refresh(second["refresh_token"])).json()
    assert (await party.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await party.refresh(third["refresh_token"])).json()["error"] == "invalid_grant"
    [row] = await world.rows("select revoked_because from identity_grants where client_id = :id", id=party.client.id)
    assert row["revoked_because"] == "refresh_reuse"


async def test_after_the_leeway_the_preceding_token_ends_the_family_too(world: World, person: Person) -> None:
    party = await world.client()
    first = await party.sign_in(person)
    second = (await party.refresh(first["refresh_token"])).json()
    await world.run(
        "update identity_refresh_tokens set used_at = used_at - interval '11 seconds' where used_at is not null"
    )
    assert (await party.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await party.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_refresh_can_narrow_but_not_widen_and_a_refused_one_uses_nothing_up(
    world: World, person: Person
) -> None:
    party = await world.client()
    tokens = await party.sign_in(person)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert (await party.post("token", {**form, "scope": "openid admin"})).json()["error"] == "invalid_scope"
    narrow = (await party.post("token", {**form, "scope": "openid"})).json()
    assert narrow["scope"] == "openid"


async def test_no_refresh_goes_beyond_the_grant(world: World, person: Person) -> None:
    party = await world.client()
    tokens = await party.sign_in(person)
    [row] = await world.rows(
        "select max(t.expires_at - g.created_at) <= interval '90 days' as is_bounded from identity_refresh_tokens t"
        " join identity_grants g on g.id = t.grant_id where g.client_id = :id",
        id=party.client.id,
    )
    assert row["is_bounded"]
    await world.run("update identity_grants set expires_at = now() where client_id = :id", id=party.client.id)
    assert (await party.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_disabled_person_ends_at_once(world: World, person: Person) -> None:
    party = await world.client()
    tokens = await party.sign_in(person)
    await world.run("update users set is_disabled = true where id = :id", id=person.id)
    assert (await party.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    asked, _ = party.request(prompt="none")
    assert answer_of(await world.authorize(asked, person))["error"] == "login_required"


# Interactions


async def test_an_interaction_works_in_the_browser_that_started_it_only(world: World, person: Person) -> None:
    party = await world.client()
    asked, _ = party.request()
    browser = Person(person.id, person.session_id, dict(person.cookies))
    to_consent = await world.authorize(asked, browser)
    location = to_consent.headers["location"]
    assert location.startswith("/identity/consent?interaction=")
    interaction_id = UUID(parse_qs(urlsplit(location).query)["interaction"][0])
    async with world.services.database.anonymous() as db:
        session = await current_session(db, browser.cookies["echo_identity"])
        assert session is not None
        for cookie in (None, "", "x" * 43, "\udcff"):
            with pytest.raises(NotFound):
                await interactions.load(db, interaction_id, cookie)
        found = await interactions.load(db, interaction_id, browser.cookies["echo_interaction"])
        with pytest.raises(InvalidInput):
            await interactions.approve(db, found, session, ("openid", "admin"))
        go_on = await interactions.approve(db, found, session, found.scopes)
    async with world.http({**browser.cookies, "echo_interaction": "y" * 43}) as http:
        assert (await http.get(go_on)).status_code == 410
    async with world.http(browser.cookies) as http:
        assert "code" in answer_of(await http.get(go_on))
        assert (await http.get(go_on)).status_code == 410, "one request gives one answer"


async def test_prompt_login_asks_once_and_an_older_session_does_not_do(world: World, person: Person) -> None:
    party = await world.client()
    await world.allow(person, party, "openid offline_access read")
    asked, _ = party.request(prompt="login")
    to_login = await world.authorize(asked, person)
    location = to_login.headers["location"]
    assert location.startswith("/identity/login?interaction=")
    interaction_id = UUID(parse_qs(urlsplit(location).query)["interaction"][0])
    async with world.services.database.anonymous() as db:
        found = await interactions.load(db, interaction_id, person.cookies["echo_interaction"])
        assert found.needs_fresh_login
        old = await current_session(db, person.cookies["echo_identity"])
        assert old is not None
        with pytest.raises(InvalidInput):
            await interactions.complete_login(db, found, old)
    fresh = await world.again(person)
    async with world.services.database.anonymous() as db:
        session = await current_session(db, fresh.cookies["echo_identity"])
        assert session is not None
        go_on = await interactions.complete_login(db, found, session)
    async with world.http(fresh.cookies) as http:
        assert "code" in answer_of(await http.get(go_on))


async def test_max_age_counts_from_the_last_authentication(world: World, person: Person) -> None:
    party = await world.client()
    await world.allow(person, party, "openid offline_access read")
    await world.run(
        "update identity_sessions set authenticated_at = authenticated_at - interval '100 seconds' where id = :id",
        id=person.session_id,
    )
    young, _ = party.request(max_age="1000", prompt="none")
    assert "code" in answer_of(await world.authorize(young, person))
    old, _ = party.request(max_age="10", prompt="none")
    assert answer_of(await world.authorize(old, person))["error"] == "login_required"


async def test_every_answer_to_the_client_names_the_issuer(world: World, person: Person) -> None:
    party = await world.client()
    await world.allow(person, party, "openid offline_access read")
    for changes in ({}, {"prompt": "none login"}, {"response_type": "token"}, {"scope": "nothing"}, {"request": "x"}):
        asked, _ = party.request(**changes)
        back = answer_of(await world.authorize(asked, person))
        assert back["iss"] == f"{BASE}/identity"
        assert back["state"] == "st"


async def test_an_id_token_of_somebody_else_as_hint_needs_a_login(world: World, person: Person) -> None:
    party, other = await world.client(), await world.person()
    await world.allow(person, party, "openid offline_access read")
    hint = (await party.sign_in(other))["id_token"]
    asked, _ = party.request(prompt="none", id_token_hint=hint)
    assert answer_of(await world.authorize(asked, person))["error"] == "login_required"
    assert "code" in answer_of(await world.authorize(asked, other))


async def test_form_post_goes_by_a_script_of_ours(world: World, person: Person) -> None:
    party = await world.client()
    await world.allow(person, party, "openid offline_access read")
    asked, _ = party.request(response_mode="form_post", state='"><script>')
    page = await world.authorize(asked, person)
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert 'name="code"' in page.text
    assert "form-action https://rp.example;" in page.headers["content-security-policy"]


# Pushed requests, devices, services


async def test_a_pushed_request_works_once_and_for_its_client(world: World, person: Person) -> None:
    party, other = await world.client(), await world.client()
    await world.allow(person, party, "openid offline_access read")
    asked, _ = party.request()
    pushed = await party.post("par", {name: value for name, value in asked.items() if name != "client_id"})
    assert pushed.status_code == 201
    reference = pushed.json()["request_uri"]
    foreign = await world.authorize({"client_id": other.client.id, "request_uri": reference}, person)
    assert foreign.status_code == 400
    mine = {"client_id": party.client.id, "request_uri": reference}
    assert "code" in answer_of(await world.authorize(mine, person))
    assert (await world.authorize(mine, person)).status_code == 400


async def test_a_device_gets_one_set_of_tokens_after_its_approval(world: World, person: Person) -> None:
    party = await world.client(is_public=True, has_device_flow=True)
    started = (await party.post("device_authorization", {"scope": "openid read offline_access"})).json()
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": started["device_code"]}
    assert (await party.post("token", form)).json()["error"] == "authorization_pending"
    assert (await party.post("token", form)).json()["error"] == "slow_down"
    async with world.services.database.anonymous() as db:
        session = await current_session(db, person.cookies["echo_identity"])
        assert session is not None
        typed = started["user_code"].lower().replace("-", " ")
        waiting = await device.find(db, typed)
        assert waiting is not None
        assert waiting.scopes == ("openid", "read", "offline_access")
        await device.approve(db, typed, session)
        with pytest.raises(NotFound):
            await device.approve(db, typed, session)
    answers = await at_once(*(party.post("token", form) for _ in range(PARALLEL)))
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(good) == 1
    assert (await claims(world, good[0]["id_token"]))["sub"] == str(person.id)
    assert (await party.refresh(good[0]["refresh_token"])).status_code == 200


async def test_a_denied_or_expired_device_is_told_so(world: World) -> None:
    party = await world.client(is_public=True, has_device_flow=True)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
    first, second = [(await party.post("device_authorization", {"scope": "openid"})).json() for _ in range(2)]
    async with world.services.database.anonymous() as db:
        await device.deny(db, first["user_code"])
    denied = await party.post("token", {**form, "device_code": first["device_code"]})
    assert denied.json()["error"] == "access_denied"
    await world.run("update identity_device_codes set expires_at = now() where user_code = :c", c=second["user_code"])
    expired = await party.post("token", {**form, "device_code": second["device_code"]})
    assert expired.json()["error"] == "expired_token"


async def test_a_service_token_acts_in_its_workspace_until_it_is_revoked_or_its_client_removed(
    world: World, database: Database, tenant: Tenant
) -> None:
    async with world.services.database.anonymous() as db:
        made = await clients.create_service_client(
            db, name="Importer", scopes=["documents:write", "read"], workspace=str(tenant.workspace_id)
        )
    async with world.http() as http:
        auth = (made.client.id, str(made.secret))

        async def ask(**form: str) -> dict[str, Any]:
            answer = await http.post("/identity/token", data={"grant_type": "client_credentials", **form}, auth=auth)
            return dict(answer.json())

        assert (await ask(scope="admin"))["error"] == "invalid_scope"
        tokens = await ask()
        assert "refresh_token" not in tokens
        verifier = AccessTokenVerifier(database, issuer=f"{BASE}/identity", audience=f"{BASE}/api")
        caller = await verifier.verify(tokens["access_token"], workspace=None)
        assert caller is not None
        assert caller.workspace_id == tenant.workspace_id
        assert caller.scopes == {Scope.READ, Scope.WRITE}
        assert caller.may(Permission.DOCUMENTS_WRITE)
        assert not caller.may(Permission.JOBS_WRITE), "a permission is not the whole scope"
        revoked = await http.post("/identity/revoke", data={"token": tokens["access_token"]}, auth=auth)
        assert revoked.status_code == 200
        with pytest.raises(Unauthenticated):
            await verifier.verify(tokens["access_token"], workspace=None)
        told = await http.post("/identity/introspect", data={"token": tokens["access_token"]}, auth=auth)
        assert told.json() == {"active": False}
        other = (await ask())["access_token"]
        async with world.services.database.anonymous() as db:
            await clients.delete_client(db, made.client.id)
        with pytest.raises(Unauthenticated):
            await verifier.verify(other, workspace=None)


# Keys


async def test_the_next_key_is_published_before_it_signs_and_old_tokens_stay_valid(
    world: World, person: Person
) -> None:
    party, services = await world.client(), world.services
    before = (await party.sign_in(person))["id_token"]
    known = await published(world)
    async with services.database.anonymous() as db:
        await rotate_keys(db, services.vault)
    await services.provider.keys.state(is_fresh=True)
    after = (await party.sign_in(person))["id_token"]
    first, second = kid_of(before), kid_of(after)
    assert first != second
    assert second in {key["kid"] for key in known}, "it was published ahead"
    now = {key["kid"] for key in await published(world)}
    assert {first, second} <= now
    assert len(now - {key["kid"] for key in known}) == 2, "one new next key for each algorithm"
    jwt.decode(before, KeySet.import_key_set({"keys": await published(world)}), algorithms=["ES256"])


async def test_keys_are_made_once_and_replaced_by_age(world: World) -> None:
    services = world.services

    async def ensure() -> None:
        async with services.database.anonymous() as db:
            await ensure_keys(db, services.vault, rotation_days=90)

    known = {key["kid"] for key in await published(world)}
    await at_once(ensure(), ensure())
    assert {key["kid"] for key in await published(world)} == known
    await world.run(
        "update identity_signing_keys set activated_at = now() - interval '91 days' where status = 'current'"
    )
    await at_once(ensure(), ensure())
    assert len({key["kid"] for key in await published(world)} - known) == 2


async def test_the_application_sees_public_keys_and_nothing_else(world: World, database: Database) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import ProgrammingError

    async with database.anonymous() as session:
        rows = (await session.execute(text("select * from ragecho_signing_keys()"))).mappings().all()
    assert rows
    assert not [row for row in rows if "d" in row["public_jwk"]]
    for table in ("identity_signing_keys", "identity_clients", "identity_grants", "identity_refresh_tokens"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with database.anonymous() as session:
                await session.execute(text(f"select 1 from {table}"))


# Sessions that end


async def test_the_end_of_a_session_ends_its_grants_but_offline_access(world: World, person: Person) -> None:
    party = await world.client()
    online = await party.sign_in(person, scope="openid read")
    offline = await party.sign_in(person)
    async with world.services.database.anonymous() as db:
        await end_session(db, person.session_id, person.id, reason=EndReason.PASSWORD_CHANGED)
    assert (await party.refresh(online["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await party.refresh(offline["refresh_token"])).status_code == 200
    await Upkeep(world.services.provider, allows_private_addresses=True).notice_ends()
    [row] = await world.rows(
        "select count(*) as ended from identity_grants where client_id = :id and revoked_because = 'session_ended'",
        id=party.client.id,
    )
    assert row["ended"] == 1, "where access tokens are accepted, it is the grant that is looked at"


async def test_a_client_is_told_of_a_logout_and_again_where_it_did_not_answer(world: World, person: Person) -> None:
    import httpx

    told: list[str] = []
    rp = FastAPI()

    @rp.post("/logout")
    async def logout(logout_token: str = Form()) -> dict[str, str]:
        told.append(logout_token)
        if len(told) == 1:
            raise ValueError("not now")
        return {}

    party = await world.client(backchannel_logout_uri="https://rp.example/logout")
    tokens = await party.sign_in(person)
    async with world.http(person.cookies) as http:
        parameters = {"id_token_hint": tokens["id_token"]}
        assert (await http.get("/identity/logout", params=parameters)).status_code == 200
        assert (await http.get("/identity/authorize", params=party.request(prompt="none")[0])).status_code == 303
    upkeep = Upkeep(world.services.provider, allows_private_addresses=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(rp, raise_app_exceptions=False)) as client:
        await upkeep.deliver(client)
        assert len(told) == 1
        await world.run("update identity_logout_deliveries set next_attempt_at = now() where delivered_at is null")
        await upkeep.deliver(client)
        await world.run("update identity_logout_deliveries set next_attempt_at = now() where delivered_at is null")
        await upkeep.deliver(client)
    assert len(told) == 2
    said = await claims(world, told[1])
    assert said["sub"] == str(person.id)
    assert said["sid"] == str(person.session_id)
    assert said["aud"] == party.client.id
    assert list(said["events"]) == ["http://schemas.openid.net/event/backchannel-logout"]
    assert "nonce" not in said


# Echo's own clients


async def test_echos_own_clients_need_no_consent_and_keep_their_secret(world: World, person: Person) -> None:
    services = world.services
    first = await services.web_client()
    async with services.database.anonymous() as db:
        await clients.ensure_first_party_clients(db, services.settings, services.vault, is_serving=True)
    assert await services.web_client() == first
    asked = {
        "response_type": "code",
        "client_id": first[0],
        "redirect_uri": f"{BASE}/auth/callback",
        "scope": "openid",
        "code_challenge": "c" * 43,
        "code_challenge_method": "S256",
    }
    answer = await world.authorize(asked, person)
    assert answer.headers["location"].startswith(f"{BASE}/auth/callback?code=")


async def test_a_wrong_redirect_uri_is_never_redirected_to(world: World, person: Person) -> None:
    party = await world.client()
    for uri in (f"{REDIRECT_URI}/", f"{REDIRECT_URI}?x=1", "https://evil.example/", "javascript:alert(1)"):
        answer = await world.authorize(party.request(redirect_uri=uri)[0], person)
        assert answer.status_code == 400
        assert "location" not in answer.headers


async def claims(world: World, token: str) -> dict[str, Any]:
    keys = KeySet.import_key_set({"keys": await published(world)})
    return dict(jwt.decode(token, keys, algorithms=["ES256", "RS256"]).claims)


async def published(world: World) -> list[dict[str, Any]]:
    return list((await world.services.provider.keys.state(is_fresh=True)).published["keys"])


def kid_of(token: str) -> str:
    import base64
    import json

    head = token.split(".", maxsplit=1)[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])
