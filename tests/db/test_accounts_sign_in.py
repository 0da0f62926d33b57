import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from tests.db.accounts_driver import PASSWORD, browser, identity_database, make_account, new_email, services, subjects
from tests.db.conftest import Tenant

from ragecho.identity.accounts import sessions, store
from ragecho.identity.accounts.build import AccountServices
from ragecho.identity.accounts.digests import digest_of
from ragecho.identity.accounts.errors import AccountSuspended, BadCredentials, TooManyAttempts
from ragecho.identity.accounts.model import ACR_SINGLE, LoggedIn
from ragecho.kernel.errors import Unauthenticated
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def accounts(owner_url: str, anyio_backend: str) -> AsyncIterator[AccountServices]:
    database = identity_database(owner_url)
    yield services(database)
    await database.close()


async def login(accounts: AccountServices, email: str, password: str = PASSWORD, **where: Any) -> LoggedIn:
    entered = await accounts.sign_in.login(email, password, browser=browser(**where))
    assert isinstance(entered, LoggedIn)
    return entered


async def current(accounts: AccountServices, secret: str | None) -> sessions.BrowserSession | None:
    async with accounts.tools.database.anonymous() as db:
        return await sessions.current_session(db, secret)


async def test_the_right_password_gives_a_session_and_a_wrong_one_does_not(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts)
    entered = await login(accounts, email.upper())
    assert entered.session.user_id == user_id
    assert (entered.session.amr, entered.session.acr) == (("pwd",), ACR_SINGLE)
    assert await current(accounts, entered.secret) == entered.session
    with pytest.raises(BadCredentials):
        await login(accounts, email, "another one entirely")


@pytest.mark.parametrize("password", ["", "\x00", "\ud800", "x" * 5000])
async def test_odd_passwords_are_just_wrong(accounts: AccountServices, password: str) -> None:
    _, email = await make_account(accounts)
    with pytest.raises(BadCredentials):
        await login(accounts, email, password)


@pytest.mark.parametrize(
    "email", ["", "\x00", "a\x00@example.com", "\ud800@example.com", "x" * 5000, "nobody@example.com"]
)
async def test_addresses_that_nobody_has_get_the_answer_of_a_wrong_password(
    accounts: AccountServices, email: str
) -> None:
    with pytest.raises(BadCredentials) as refused:
        await login(accounts, email)
    _, known = await make_account(accounts)
    with pytest.raises(BadCredentials) as wrong:
        await login(accounts, known, "another one entirely")
    assert refused.value.message == wrong.value.message


async def test_an_account_without_a_password_cannot_sign_in_with_one(accounts: AccountServices) -> None:
    _, email = await make_account(accounts, password=None)
    with pytest.raises(BadCredentials):
        await login(accounts, email)


async def test_every_sign_in_is_a_session_of_its_own(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    first, second = await login(accounts, email), await login(accounts, email)
    assert first.session.id != second.session.id
    assert first.secret != second.secret


async def test_signing_in_again_in_the_same_browser_renews_its_session_and_kills_the_old_cookie(
    accounts: AccountServices,
) -> None:
    _, email = await make_account(accounts)
    first = await login(accounts, email)
    again = await login(accounts, email, session=first.session)
    assert again.session.id == first.session.id
    assert again.session.authenticated_at > first.session.authenticated_at
    assert await current(accounts, first.secret) is None
    assert await current(accounts, again.secret) is not None


async def test_signing_in_as_somebody_else_ends_the_session_that_was_there(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    other_id, other = await make_account(accounts)
    first = await login(accounts, email)
    second = await login(accounts, other, session=first.session)
    assert second.session.user_id == other_id
    assert second.session.id != first.session.id
    assert await current(accounts, first.secret) is None


async def test_step_up_rotates_the_secret_and_fails_for_an_ended_session(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts)
    entered = await login(accounts, email)
    async with accounts.tools.database.anonymous() as db:
        renewed, secret = await sessions.step_up(db, entered.session.id, amr=("pwd", "otp", "mfa"))
    assert renewed.id == entered.session.id
    assert renewed.acr == "urn:echo:acr:2"
    assert await current(accounts, entered.secret) is None
    async with accounts.tools.database.anonymous() as db:
        assert await sessions.end_session(db, renewed.id, user_id)
    assert await current(accounts, secret) is None
    with pytest.raises(Unauthenticated):
        async with accounts.tools.database.anonymous() as db:
            await sessions.step_up(db, renewed.id, amr=("pwd",))


async def test_a_person_ends_their_own_sessions_and_nobody_elses(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts)
    stranger, _ = await make_account(accounts)
    here, there = await login(accounts, email), await login(accounts, email)
    async with accounts.tools.database.anonymous() as db:
        assert not await sessions.end_session(db, here.session.id, stranger)
        assert [session.id for session in await sessions.list_sessions(db, stranger)] == []
        assert {session.id for session in await sessions.list_sessions(db, user_id)} == {
            here.session.id,
            there.session.id,
        }
        assert await sessions.end_other_sessions(db, user_id, keep=here.session.id) == [there.session.id]
    assert await current(accounts, there.secret) is None
    assert await current(accounts, here.secret) is not None


@pytest.mark.parametrize(
    "change",
    [
        "last_seen_at = now() - make_interval(secs => idle_seconds + 1)",
        "expires_at = now() - interval '1 second'",
    ],
)
async def test_a_session_ends_when_unused_and_at_its_absolute_end(accounts: AccountServices, change: str) -> None:
    _, email = await make_account(accounts)
    entered = await login(accounts, email)
    async with accounts.tools.database.anonymous() as db:
        await db.execute(text(f"update identity_sessions set {change} where id = :id"), {"id": entered.session.id})
    assert await current(accounts, entered.secret) is None


async def test_use_keeps_a_session_alive(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    entered = await login(accounts, email)
    async with accounts.tools.database.anonymous() as db:
        await db.execute(
            text("update identity_sessions set last_seen_at = now() - interval '1 hour' where id = :id"),
            {"id": entered.session.id},
        )
    before = await current(accounts, entered.secret)
    after = await current(accounts, entered.secret)
    assert before is not None
    assert after is not None
    assert after.last_seen_at > before.last_seen_at


@pytest.mark.parametrize("cookie", [None, "", "unknown", "\x00", "\ud800", "x" * 10_000])
async def test_cookies_that_mean_nothing_are_nobody(accounts: AccountServices, cookie: str | None) -> None:
    assert await current(accounts, cookie) is None


async def test_suspension_by_anybody_ends_sessions_at_once_and_coming_back_does_not_revive_them(
    accounts: AccountServices,
) -> None:
    user_id, email = await make_account(accounts)
    entered = await login(accounts, email)
    async with accounts.tools.database.anonymous() as db:
        await store.set_disabled(db, user_id, is_disabled=True)
    assert await current(accounts, entered.secret) is None
    with pytest.raises(AccountSuspended):
        await login(accounts, email)
    with pytest.raises(BadCredentials):
        await login(accounts, email, "another one entirely")
    async with accounts.tools.database.anonymous() as db:
        await store.set_disabled(db, user_id, is_disabled=False)
        reason = await db.execute(
            text("select end_reason from identity_sessions where id = :id"), {"id": entered.session.id}
        )
        assert reason.scalar_one() == "suspended"
    assert await current(accounts, entered.secret) is None
    await login(accounts, email)


async def test_a_hash_with_old_parameters_is_replaced_at_sign_in(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts, password=None)
    old = PasswordHasher(time_cost=2, memory_cost=2048, parallelism=1).hash(PASSWORD)
    async with accounts.tools.database.anonymous() as db:
        await store.save_password(db, user_id, old)
    await login(accounts, email)
    async with accounts.tools.database.anonymous() as db:
        stored = await store.password_of(db, user_id)
    assert stored is not None
    assert stored != old
    await login(accounts, email)


async def test_many_wrong_guesses_at_once_get_no_more_tries_than_one_after_another(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    here = browser()

    async def guess(number: int) -> type[Exception]:
        try:
            await accounts.sign_in.login(email, f"guess number {number}", browser=here)
        except (BadCredentials, TooManyAttempts) as error:
            return type(error)
        raise AssertionError

    outcomes = await asyncio.gather(*(guess(number) for number in range(20)))
    assert outcomes.count(BadCredentials) == 5
    assert outcomes.count(TooManyAttempts) == 15


async def test_the_victim_of_guessing_gets_in_from_elsewhere_and_from_a_known_browser(
    accounts: AccountServices,
) -> None:
    _, email = await make_account(accounts)
    before = await login(accounts, email)
    attacker = browser()
    for number in range(5):
        with pytest.raises(BadCredentials):
            await accounts.sign_in.login(email, f"guess number {number}", browser=attacker)
    with pytest.raises(TooManyAttempts) as refused:
        await accounts.sign_in.login(email, PASSWORD, browser=attacker)
    assert refused.value.facts["retry_after_seconds"] == 1
    await login(accounts, email)
    known = replace(attacker, device_secret=before.device_secret)
    entered = await accounts.sign_in.login(email, PASSWORD, browser=known)
    assert isinstance(entered, LoggedIn)
    assert entered.device_secret == before.device_secret


async def test_a_device_is_known_for_its_own_account_only(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    _, victim = await make_account(accounts)
    own = await login(accounts, email)
    attacker = replace(browser(), device_secret=own.device_secret)
    for number in range(5):
        with pytest.raises(BadCredentials):
            await accounts.sign_in.login(victim, f"guess number {number}", browser=attacker)
    with pytest.raises(TooManyAttempts):
        await accounts.sign_in.login(victim, PASSWORD, browser=attacker)


async def test_an_account_under_attack_from_everywhere_gives_each_address_one_guess_and_its_owner_a_way_in(
    accounts: AccountServices,
) -> None:
    _, email = await make_account(accounts)
    for number in range(50):
        with pytest.raises(BadCredentials):
            await accounts.sign_in.login(email, f"guess number {number}", browser=browser())
    newcomer = browser()
    with pytest.raises(BadCredentials):
        await accounts.sign_in.login(email, "one more", browser=newcomer)
    with pytest.raises(TooManyAttempts) as refused:
        await accounts.sign_in.login(email, "one more", browser=newcomer)
    assert refused.value.facts["retry_after_seconds"] in range(30, 61)
    await login(accounts, email)


async def test_one_address_guessing_at_many_accounts_is_slowed_down(accounts: AccountServices) -> None:
    attacker = browser()
    for _ in range(30):
        with pytest.raises(BadCredentials):
            await accounts.sign_in.login(new_email(), "password of many", browser=attacker)
    with pytest.raises(TooManyAttempts):
        await accounts.sign_in.login(new_email(), "password of many", browser=attacker)


async def test_the_application_may_not_read_what_people_sign_in_with(
    database: Database, accounts: AccountServices
) -> None:
    _, email = await make_account(accounts)
    entered = await login(accounts, email)
    async with accounts.tools.database.anonymous() as db:
        found = await db.execute(
            text("select secret_sha256 from identity_sessions where id = :id"), {"id": entered.session.id}
        )
        assert bytes(found.scalar_one()) == digest_of(entered.secret)
        tables = await db.execute(
            text("select relname from pg_class where relname like 'identity%' and relkind = 'r' order by 1")
        )
        names = list(tables.scalars())
    assert "identity_passwords" in names
    for name in names:
        async with database.anonymous() as db:
            allowed = await db.execute(
                text("select has_table_privilege(current_user, cast(:name as text), 'select, insert, update, delete')"),
                {"name": name},
            )
            assert not allowed.scalar_one(), name


async def test_a_new_browser_is_told_by_mail_and_the_first_and_known_ones_are_not(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    first = await login(accounts, email)
    await login(accounts, email, device_secret=first.device_secret)
    assert await subjects(accounts, email) == []
    await login(accounts, email)
    assert await subjects(accounts, email) == ["New sign-in to your account"]


async def test_suspension_ends_sessions_however_it_is_noted_and_the_application_may_not_decide_it(
    database: Database, tenant: Tenant, accounts: AccountServices
) -> None:
    user_id, email = await make_account(accounts)
    async with accounts.tools.database.anonymous() as db:
        await store.insert_owner(db, tenant.organization_id, user_id)
    entered = await login(accounts, email)
    for change in ("is_disabled = true", "is_disabled = false", "email_verified_at = now()", "deleted_at = now()"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with database.transaction(tenant.member()) as session:
                await session.execute(text(f"update users set {change} where id = :id"), {"id": user_id})
    assert await current(accounts, entered.secret) is not None
    async with accounts.tools.database.anonymous() as db:
        await db.execute(text("update users set is_disabled = true where id = :id"), {"id": user_id})
    assert await current(accounts, entered.secret) is None
    async with accounts.tools.database.anonymous() as db:
        ended = await db.execute(
            text("select ended_at from identity_sessions where id = :id"), {"id": entered.session.id}
        )
        assert ended.scalar_one() is not None
