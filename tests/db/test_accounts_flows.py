import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from tests.db.accounts_driver import (
    PASSWORD,
    browser,
    identity_database,
    mailed_token,
    mails,
    make_account,
    new_email,
    services,
    signed_in,
    subjects,
)

from ragecho.identity.accounts import sessions, store
from ragecho.identity.accounts.build import AccountServices
from ragecho.identity.accounts.errors import (
    AccountExists,
    BadCredentials,
    LinkNotValid,
    PasswordRefused,
    ReauthenticationRequired,
    RegistrationClosed,
    TooManyAttempts,
)
from ragecho.identity.accounts.model import LoggedIn
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import OrganizationId, UserId, uuid7
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio
NEW_PASSWORD = "seven swans a-swimming"


@pytest.fixture
async def accounts(owner_url: str, anyio_backend: str) -> AsyncIterator[AccountServices]:
    database = identity_database(owner_url)
    yield services(database, registration="open")
    await database.close()


async def is_live(accounts: AccountServices, secret: str) -> bool:
    async with accounts.tools.database.anonymous() as db:
        return await sessions.current_session(db, secret) is not None


async def outcomes_of(work: Callable[[], Awaitable[Any]], *, times: int = 8) -> list[Any]:
    return await asyncio.gather(*(work() for _ in range(times)), return_exceptions=True)


def stale(entered: LoggedIn) -> sessions.BrowserSession:
    return replace(entered.session, authenticated_at=datetime.now(UTC) - timedelta(hours=1))


# Registration


async def test_somebody_registers_by_the_mailed_link_and_is_signed_in_with_a_confirmed_address(
    accounts: AccountServices,
) -> None:
    email = new_email()
    await accounts.registrations.start(email, browser=browser())
    token = await mailed_token(accounts, email)
    assert await accounts.registrations.address_of(token) == email
    entered = await accounts.registrations.finish(token, password=PASSWORD, name=" Ada ", browser=browser())
    account = await accounts.accounts.get(entered.session.user_id)
    assert (account.email, account.name) == (email, "Ada")
    assert account.email_verified_at is not None
    assert (await signed_in(accounts, email)).session.user_id == account.id
    with pytest.raises(LinkNotValid):
        await accounts.registrations.finish(token, password=PASSWORD, name=None, browser=browser())


async def test_registering_an_address_that_has_an_account_answers_the_same_and_tells_its_owner(
    accounts: AccountServices,
) -> None:
    _, email = await make_account(accounts)
    assert await accounts.registrations.start(email.upper(), browser=browser()) is None  # type: ignore[func-returns-value] # the answer is nothing
    assert await subjects(accounts, email) == ["You already have an account"]


async def test_a_refused_password_leaves_the_link_good(accounts: AccountServices) -> None:
    email = new_email()
    await accounts.registrations.start(email, browser=browser())
    token = await mailed_token(accounts, email)
    with pytest.raises(PasswordRefused):
        await accounts.registrations.finish(token, password="short", name=None, browser=browser())
    await accounts.registrations.finish(token, password=PASSWORD, name=None, browser=browser())


async def test_a_newer_registration_link_ends_the_older_one(accounts: AccountServices) -> None:
    email = new_email()
    await accounts.registrations.start(email, browser=browser())
    older = await mailed_token(accounts, email)
    await accounts.registrations.start(email, browser=browser())
    assert await accounts.registrations.address_of(older) is None


async def test_eight_uses_of_one_registration_link_make_one_account(accounts: AccountServices) -> None:
    email = new_email()
    await accounts.registrations.start(email, browser=browser())
    token = await mailed_token(accounts, email)
    outcomes = await outcomes_of(
        lambda: accounts.registrations.finish(token, password=PASSWORD, name=None, browser=browser())
    )
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, (LinkNotValid, AccountExists)) for outcome in outcomes) == 7


@pytest.mark.parametrize("registration", ["invited", "closed"])
async def test_nobody_registers_where_it_is_closed_whoever_exists(owner_url: str, registration: str) -> None:
    database = identity_database(owner_url)
    accounts = services(database, registration=registration)
    _, known = await make_account(accounts)
    for email in (known, new_email()):
        with pytest.raises(RegistrationClosed):
            await accounts.registrations.start(email, browser=browser(), invitation="made up")
        assert await mails(accounts, email) == []
    await database.close()


async def test_nobody_is_flooded_with_mail_and_nobody_is_told(accounts: AccountServices) -> None:
    email = new_email()
    for _ in range(6):
        await accounts.registrations.start(email, browser=browser())
    assert len(await mails(accounts, email)) == 3


async def test_one_address_cannot_ask_for_mails_to_many(accounts: AccountServices) -> None:
    here = browser()
    with pytest.raises(TooManyAttempts):
        for _ in range(40):
            await accounts.accounts.request_password_reset(new_email(), browser=here)


# Reset


async def test_a_reset_sets_the_password_once_signs_in_and_ends_every_other_session(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    before = await signed_in(accounts, email)
    await accounts.accounts.request_password_reset(email, browser=browser())
    token = await mailed_token(accounts, email)
    assert await accounts.accounts.reset_address(token) == email
    entered = await accounts.accounts.reset_password(token, NEW_PASSWORD, browser=browser(session=before.session))
    assert isinstance(entered, LoggedIn)
    assert not await is_live(accounts, before.secret)
    assert await is_live(accounts, entered.secret)
    await signed_in(accounts, email, NEW_PASSWORD)
    with pytest.raises(BadCredentials):
        await signed_in(accounts, email)
    with pytest.raises(LinkNotValid):
        await accounts.accounts.reset_password(token, "another one entirely", browser=browser())
    assert "Your password has changed" in await subjects(accounts, email)


async def test_eight_uses_of_one_reset_link_give_one_password(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    await accounts.accounts.request_password_reset(email, browser=browser())
    token = await mailed_token(accounts, email)
    outcomes = await outcomes_of(lambda: accounts.accounts.reset_password(token, NEW_PASSWORD, browser=browser()))
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, LinkNotValid) for outcome in outcomes) == 7


async def test_a_reset_for_nobody_answers_the_same_and_the_address_gets_word(accounts: AccountServices) -> None:
    email = new_email()
    await accounts.accounts.request_password_reset(email, browser=browser())
    (mail,) = await mails(accounts, email)
    assert mail.subject == "There is no account with this address"
    assert "token=" not in (mail.text or "")


async def test_a_suspended_account_gets_no_reset_link_and_suspension_ends_the_one_it_had(
    accounts: AccountServices,
) -> None:
    user_id, email = await make_account(accounts)
    await accounts.accounts.request_password_reset(email, browser=browser())
    token = await mailed_token(accounts, email)
    await accounts.accounts.suspend(user_id)
    with pytest.raises(LinkNotValid):
        await accounts.accounts.reset_password(token, NEW_PASSWORD, browser=browser())
    await accounts.accounts.request_password_reset(email, browser=browser())
    assert (await subjects(accounts, email))[0] == "There is no account with this address"


async def test_a_reset_link_ends_in_time(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts)
    await accounts.accounts.request_password_reset(email, browser=browser())
    token = await mailed_token(accounts, email)
    async with accounts.tools.database.anonymous() as db:
        await db.execute(text("update identity_links set expires_at = now() where user_id = :id"), {"id": user_id})
    with pytest.raises(LinkNotValid):
        await accounts.accounts.reset_password(token, NEW_PASSWORD, browser=browser())


@pytest.mark.parametrize("token", ["", "unknown", "\x00", "\ud800", "x" * 10_000])
async def test_links_that_never_were_do_not_work(accounts: AccountServices, token: str) -> None:
    assert await accounts.accounts.reset_address(token) is None
    assert await accounts.registrations.address_of(token) is None
    assert await accounts.registrations.invitation(token) is None
    assert not await accounts.first_administrator.is_valid(token)
    for work in (accounts.accounts.verify_email, accounts.accounts.confirm_email_change):
        with pytest.raises(LinkNotValid):
            await work(token)


# Change of password


async def test_changing_the_password_ends_the_other_sessions_and_renews_this_one(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    here, there = await signed_in(accounts, email), await signed_in(accounts, email)
    session, secret = await accounts.accounts.change_password(
        here.session, current=PASSWORD, new=NEW_PASSWORD, browser=browser()
    )
    assert session.id == here.session.id
    assert [await is_live(accounts, known) for known in (here.secret, there.secret, secret)] == [False, False, True]
    await signed_in(accounts, email, NEW_PASSWORD)


async def test_a_wrong_current_password_changes_nothing_and_is_slowed_down(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    here, where = await signed_in(accounts, email), browser()
    for _ in range(5):
        with pytest.raises(BadCredentials):
            await accounts.accounts.change_password(here.session, current="wrong", new=NEW_PASSWORD, browser=where)
    with pytest.raises(TooManyAttempts):
        await accounts.accounts.change_password(here.session, current=PASSWORD, new=NEW_PASSWORD, browser=where)
    await signed_in(accounts, email)


async def test_an_account_without_a_password_gets_one_after_a_recent_sign_in_only(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts, password=None)
    async with accounts.tools.database.anonymous() as db:
        entered = await accounts.sign_in.enter(db, user_id, ("fed",), browser=browser())
    with pytest.raises(ReauthenticationRequired):
        await accounts.accounts.change_password(stale(entered), current=None, new=PASSWORD, browser=browser())
    await accounts.accounts.change_password(entered.session, current=None, new=PASSWORD, browser=browser())
    await signed_in(accounts, email)


# The address


async def test_the_address_is_confirmed_by_its_own_link_once(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts)
    async with accounts.tools.database.anonymous() as db:
        await db.execute(text("update users set email_verified_at = null where id = :id"), {"id": user_id})
    await accounts.accounts.request_email_verification(user_id)
    token = await mailed_token(accounts, email)
    assert await accounts.accounts.verify_email(token) == user_id
    assert (await accounts.accounts.get(user_id)).email_verified_at is not None
    with pytest.raises(LinkNotValid):
        await accounts.accounts.verify_email(token)


async def test_the_address_changes_when_the_new_one_confirms_and_the_old_one_is_told(accounts: AccountServices) -> None:
    user_id, old = await make_account(accounts)
    here, new = await signed_in(accounts, old), new_email()
    await accounts.accounts.request_email_change(here.session, new)
    assert (await accounts.accounts.get(user_id)).email == old
    token = await mailed_token(accounts, new)
    await accounts.accounts.request_password_reset(old, browser=browser())
    reset = await mailed_token(accounts, old)
    assert await accounts.accounts.confirm_email_change(token) == user_id
    assert (await accounts.accounts.get(user_id)).email == new
    await signed_in(accounts, new)
    with pytest.raises(BadCredentials):
        await signed_in(accounts, old)
    assert (await subjects(accounts, old)).count("Your e-mail address has changed") == 2
    with pytest.raises(LinkNotValid):
        await accounts.accounts.reset_password(reset, NEW_PASSWORD, browser=browser())


async def test_an_address_that_somebody_else_has_gets_word_and_the_answer_is_the_same(
    accounts: AccountServices,
) -> None:
    user_id, email = await make_account(accounts)
    _, taken = await make_account(accounts)
    here = await signed_in(accounts, email)
    await accounts.accounts.request_email_change(here.session, taken)
    assert await subjects(accounts, taken) == ["This address has an account already"]
    assert (await accounts.accounts.get(user_id)).email == email


async def test_an_address_taken_between_asking_and_confirming_stays_with_its_owner(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    here, wanted = await signed_in(accounts, email), new_email()
    await accounts.accounts.request_email_change(here.session, wanted)
    token = await mailed_token(accounts, wanted)
    async with accounts.tools.database.anonymous() as db:
        await store.insert_account(db, UserId(uuid7()), email=wanted, name=None, is_verified=True)
    with pytest.raises(LinkNotValid):
        await accounts.accounts.confirm_email_change(token)


async def test_sensitive_changes_need_a_recent_sign_in(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    old = stale(await signed_in(accounts, email))
    for work in (
        accounts.accounts.request_email_change(old, new_email()),
        accounts.accounts.delete(old),
        accounts.factors.begin_totp(old),
        accounts.factors.remove_totp(old),
        accounts.factors.new_recovery_codes(old),
        accounts.passkeys.begin_registration(old),
    ):
        with pytest.raises(ReauthenticationRequired):
            await work


# Profile, suspension, deletion


async def test_a_profile_is_changed_and_emptied(accounts: AccountServices) -> None:
    user_id, _ = await make_account(accounts)
    changed = await accounts.accounts.update_profile(user_id, name="Ada L.", locale="en-GB", zoneinfo="Europe/London")
    assert (changed.name, changed.locale, changed.zoneinfo) == ("Ada L.", "en-GB", "Europe/London")
    emptied = await accounts.accounts.update_profile(user_id, name="", locale=None, zoneinfo=None)
    assert (emptied.name, emptied.locale, emptied.zoneinfo) == (None, None, None)
    with pytest.raises(InvalidInput):
        await accounts.accounts.update_profile(user_id, name="a\x00b", locale=None, zoneinfo=None)


async def test_suspension_is_at_once_and_coming_back_lets_in_again(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts)
    entered = await signed_in(accounts, email)
    await accounts.accounts.suspend(user_id)
    assert not await is_live(accounts, entered.secret)
    await accounts.accounts.reactivate(user_id)
    await signed_in(accounts, email)
    with pytest.raises(NotFound):
        await accounts.accounts.suspend(UserId(uuid7()))


async def test_a_deleted_account_leaves_nothing_of_the_person(accounts: AccountServices) -> None:
    user_id, email = await make_account(accounts)
    entered = await signed_in(accounts, email)
    await accounts.accounts.delete(entered.session)
    assert not await is_live(accounts, entered.secret)
    with pytest.raises(BadCredentials):
        await signed_in(accounts, email)
    with pytest.raises(NotFound):
        await accounts.accounts.get(user_id)
    async with accounts.tools.database.anonymous() as db:
        row = (await db.execute(text("select * from users where id = :id"), {"id": user_id})).mappings().one()
        ended = await db.execute(
            text("select end_reason, user_agent from identity_sessions where id = :id"), {"id": entered.session.id}
        )
        assert ended.one() == ("account_deleted", None)
    assert email not in str(dict(row))
    assert (row["name"], row["is_disabled"]) == (None, True)
    assert await subjects(accounts, email) == ["Your account has been deleted"]
    await accounts.registrations.start(email, browser=browser())
    await mailed_token(accounts, email)


async def test_the_only_owner_of_an_organisation_may_not_go(accounts: AccountServices, database: Database) -> None:
    organization_id = await an_organization(database)
    user_id, email = await make_account(accounts)
    async with accounts.tools.database.anonymous() as db:
        await store.insert_owner(db, organization_id, user_id)
    entered = await signed_in(accounts, email)
    with pytest.raises(Conflict):
        await accounts.accounts.delete(entered.session)
    second, _ = await make_account(accounts)
    async with accounts.tools.database.anonymous() as db:
        await store.insert_owner(db, organization_id, second)
    await accounts.accounts.delete(entered.session)


async def an_organization(database: Database) -> OrganizationId:
    from tests.db.conftest import make_tenant

    return (await make_tenant(database)).organization_id


@contextmanager
def statements(accounts: AccountServices) -> Iterator[list[str]]:
    """The SQL that runs meanwhile, without its values."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        seen.append(statement)

    engine = accounts.tools.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


async def test_the_database_does_the_same_work_whoever_exists(accounts: AccountServices) -> None:
    _, known = await make_account(accounts)
    work: list[Callable[[str], Awaitable[Any]]] = [
        lambda email: accounts.registrations.start(email, browser=browser()),
        lambda email: accounts.accounts.request_password_reset(email, browser=browser()),
        lambda email: accounts.sign_in.login(email, "another one entirely", browser=browser()),
    ]
    for one in work:
        ran = []
        for email in (known, new_email()):
            with statements(accounts) as seen:
                await asyncio.gather(one(email), return_exceptions=True)
            ran.append(seen)
        assert ran[0] == ran[1]
        assert ran[0]
