import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from tests.db.accounts_driver import (
    PASSWORD,
    browser,
    identity_database,
    mailed_token,
    make_account,
    new_email,
    services,
    signed_in,
    subjects,
)
from tests.db.conftest import Tenant, make_tenant

from ragecho.identity.accounts.build import AccountServices
from ragecho.identity.accounts.errors import (
    AccountExists,
    EmailNotVerified,
    LinkNotValid,
    OtherAddress,
    PasswordRefused,
    RegistrationClosed,
)
from ragecho.identity.accounts.first_admin import make_setup_link
from ragecho.identity.accounts.model import LoggedIn
from ragecho.identity.accounts.upkeep import collect_invitations
from ragecho.kernel.authorization import OrganizationRole
from ragecho.kernel.errors import Conflict
from ragecho.kernel.ids import UserId
from ragecho.platform.database import Database
from ragecho.tenancy.invitations import create_invitation

pytestmark = pytest.mark.anyio


@pytest.fixture
async def accounts(owner_url: str, anyio_backend: str) -> AsyncIterator[AccountServices]:
    database = identity_database(owner_url)
    yield services(database, registration="invited")
    await database.close()


@dataclass(frozen=True)
class Invited:
    """An invitation: the link that the administrator sees, and the one that was mailed."""

    email: str
    copied: str
    mailed: str


async def invite(
    accounts: AccountServices, database: Database, tenant: Tenant, email: str | None = None, *, role: str = "member"
) -> Invited:
    address = email or new_email()
    caller = tenant.member()
    async with database.transaction(caller) as session:
        made = await create_invitation(
            caller, session, email=address, role=OrganizationRole(role), workspaces={}, days=7, is_mailed=True
        )
    while await collect_invitations(accounts.tools):
        pass
    return Invited(address, made.secret, await mailed_token(accounts, address))


async def role_of(database: Database, tenant: Tenant, user_id: UserId) -> str | None:
    async with database.transaction(tenant.member()) as session:
        found = await session.execute(
            text("select role from organization_members where user_id = :id"), {"id": user_id}
        )
        return found.scalar_one_or_none()


async def test_a_mailed_invitation_makes_account_and_member_in_one_step(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    invited = await invite(accounts, database, tenant)
    shown = await accounts.registrations.invitation(invited.mailed)
    assert shown is not None
    assert (shown.email, shown.role, shown.is_mailed, shown.has_account) == (invited.email, "member", True, False)
    entered = await accounts.registrations.join(invited.mailed, password=PASSWORD, name="Ada", browser=browser())
    assert await role_of(database, tenant, entered.session.user_id) == "member"
    assert (await accounts.accounts.get(entered.session.user_id)).email_verified_at is not None
    assert await accounts.registrations.invitation(invited.mailed) is None
    assert await accounts.registrations.invitation(invited.copied) is None


async def test_eight_uses_of_one_invitation_make_one_account(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    invited = await invite(accounts, database, tenant)
    outcomes: list[Any] = await asyncio.gather(
        *(
            accounts.registrations.join(invited.mailed, password=PASSWORD, name=None, browser=browser())
            for _ in range(8)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, (LinkNotValid, AccountExists)) for outcome in outcomes) == 7


async def test_a_copied_link_does_not_prove_the_address_and_tells_nothing_about_accounts(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    invited = await invite(accounts, database, tenant)
    shown = await accounts.registrations.invitation(invited.copied)
    assert shown is not None
    assert (shown.is_mailed, shown.has_account) == (False, None)
    with pytest.raises(EmailNotVerified):
        await accounts.registrations.join(invited.copied, password=PASSWORD, name=None, browser=browser())


async def test_a_copied_link_leads_through_the_mailbox(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    invited = await invite(accounts, database, tenant)
    await accounts.registrations.start(invited.email, browser=browser(), invitation=invited.copied)
    token = await mailed_token(accounts, invited.email)
    assert token not in (invited.mailed, invited.copied)
    entered = await accounts.registrations.finish(
        token, password=PASSWORD, name=None, browser=browser(), invitation=invited.copied
    )
    assert await role_of(database, tenant, entered.session.user_id) == "member"


async def test_an_invitation_lets_nobody_else_register(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    invited = await invite(accounts, database, tenant)
    with pytest.raises(RegistrationClosed):
        await accounts.registrations.start(new_email(), browser=browser(), invitation=invited.copied)


async def test_who_has_an_account_accepts_signed_in_as_it(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    user_id, email = await make_account(accounts)
    invited = await invite(accounts, database, tenant, email, role="admin")
    shown = await accounts.registrations.invitation(invited.mailed)
    assert shown is not None
    assert shown.has_account
    with pytest.raises(AccountExists):
        await accounts.registrations.join(invited.mailed, password=PASSWORD, name=None, browser=browser())
    _, other = await make_account(accounts)
    with pytest.raises(OtherAddress):
        await accounts.registrations.accept(invited.mailed, (await signed_in(accounts, other)).session)
    entered = await signed_in(accounts, email)
    assert await accounts.registrations.accept(invited.mailed, entered.session) == tenant.organization_id
    assert await role_of(database, tenant, user_id) == "admin"
    with pytest.raises(LinkNotValid):
        await accounts.registrations.accept(invited.mailed, entered.session)


async def test_accepting_a_mailed_link_confirms_the_address_and_a_copied_one_needs_it_confirmed(
    accounts: AccountServices, database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    user_id, email = await make_account(accounts)
    async with accounts.tools.database.anonymous() as db:
        await db.execute(text("update users set email_verified_at = null where id = :id"), {"id": user_id})
    entered = await signed_in(accounts, email)
    first = await invite(accounts, database, tenant, email)
    with pytest.raises(EmailNotVerified):
        await accounts.registrations.accept(first.copied, entered.session)
    await accounts.registrations.accept(first.mailed, entered.session)
    second = await invite(accounts, database, other_tenant, email)
    await accounts.registrations.accept(second.copied, entered.session)
    assert await role_of(database, other_tenant, user_id) == "member"


async def test_where_registration_is_closed_an_invitation_makes_no_account_but_is_accepted_with_one(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    closed = services(accounts.tools.database, registration="closed")
    invited = await invite(accounts, database, tenant)
    with pytest.raises(RegistrationClosed):
        await closed.registrations.join(invited.mailed, password=PASSWORD, name=None, browser=browser())
    _, email = await make_account(accounts)
    other = await invite(accounts, database, tenant, email)
    await closed.registrations.accept(other.mailed, (await signed_in(accounts, email)).session)


async def test_a_weak_password_leaves_the_invitation_open(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    invited = await invite(accounts, database, tenant)
    with pytest.raises(PasswordRefused):
        await accounts.registrations.join(invited.mailed, password="short", name=None, browser=browser())
    await accounts.registrations.join(invited.mailed, password=PASSWORD, name=None, browser=browser())


async def test_the_invitation_mail_says_who_invites_where(
    accounts: AccountServices, database: Database, tenant: Tenant
) -> None:
    invited = await invite(accounts, database, tenant)
    assert await subjects(accounts, invited.email) == ["Somebody invites you to Tenant"]


# The first administrator


async def setup_token(accounts: AccountServices, tenant: Tenant) -> str | None:
    async with accounts.tools.database.anonymous() as db:
        link = await make_setup_link(db, tenant.organization_id, issuer="/identity")
    return link.partition("token=")[2] if link else None


async def set_up(accounts: AccountServices, token: str, email: str) -> LoggedIn:
    return await accounts.first_administrator.set_up(
        token, email=email, password=PASSWORD, name=None, browser=browser()
    )


async def test_the_setup_link_makes_one_owner_and_then_no_more_links(
    accounts: AccountServices, database: Database
) -> None:
    tenant = await make_tenant(database)
    token = await setup_token(accounts, tenant)
    assert token is not None
    assert await accounts.first_administrator.is_valid(token)
    entered = await set_up(accounts, token, new_email())
    assert await role_of(database, tenant, entered.session.user_id) == "owner"
    assert not await accounts.first_administrator.is_valid(token)
    with pytest.raises(LinkNotValid):
        await set_up(accounts, token, new_email())
    assert await setup_token(accounts, tenant) is None


async def test_eight_uses_of_one_setup_link_make_one_owner(accounts: AccountServices, database: Database) -> None:
    tenant = await make_tenant(database)
    token = await setup_token(accounts, tenant)
    assert token is not None
    outcomes = await asyncio.gather(*(set_up(accounts, token, new_email()) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1


async def test_two_links_at_once_make_one_owner(accounts: AccountServices, database: Database) -> None:
    tenant = await make_tenant(database)
    first = await setup_token(accounts, tenant)
    second = await setup_token(accounts, tenant)
    assert first is not None
    assert second is not None
    assert not await accounts.first_administrator.is_valid(first)
    async with accounts.tools.database.anonymous() as db:
        await db.execute(
            text("update identity_links set used_at = null where organization_id = :id"), {"id": tenant.organization_id}
        )
    outcomes = await asyncio.gather(
        set_up(accounts, first, new_email()), set_up(accounts, second, new_email()), return_exceptions=True
    )
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, LinkNotValid) for outcome in outcomes) == 1


async def test_an_owner_without_a_way_in_does_not_end_the_setup(accounts: AccountServices, database: Database) -> None:
    from ragecho.identity.accounts import store

    tenant = await make_tenant(database)
    user_id, _ = await make_account(accounts, password=None)
    async with accounts.tools.database.anonymous() as db:
        await store.insert_owner(db, tenant.organization_id, user_id)
    token = await setup_token(accounts, tenant)
    assert token is not None
    await set_up(accounts, token, new_email())


async def test_a_setup_with_an_address_that_is_taken_leaves_the_link_good(
    accounts: AccountServices, database: Database
) -> None:
    tenant = await make_tenant(database)
    token = await setup_token(accounts, tenant)
    assert token is not None
    _, taken = await make_account(accounts)
    with pytest.raises(Conflict):
        await set_up(accounts, token, taken)
    await set_up(accounts, token, new_email())
