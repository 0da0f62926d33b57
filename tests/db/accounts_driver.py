"""Accounts on a real database, with cheap password hashes."""

import re
import secrets
from dataclasses import replace
from typing import Any

from argon2 import PasswordHasher

from ragecho.identity.accounts import store
from ragecho.identity.accounts.build import AccountServices, build_accounts
from ragecho.identity.accounts.model import LoggedIn
from ragecho.identity.accounts.passwords import Passwords
from ragecho.identity.accounts.settings import AccountSettings
from ragecho.identity.accounts.sign_in import Browser
from ragecho.identity.mail.outbox import OutboxMail
from ragecho.identity.mail.settings import MailSettings
from ragecho.identity.vault import Vault
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import IDENTITY_ROLE, Database

ISSUER = "http://127.0.0.1:8000/identity"
PASSWORD = "plover quartz mimic 71"
VAULT = Vault(b"a test's master key, 32 characters and more")
CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


def identity_database(owner_url: str) -> Database:
    return Database(owner_url, role=IDENTITY_ROLE, pool_size=10)


def services(
    database: Database, *, issuer: str = ISSUER, mail: MailSettings | None = None, **settings: Any
) -> AccountServices:
    return build_accounts(
        database,
        VAULT,
        issuer=issuer,
        settings=AccountSettings(**settings),
        is_development=True,
        mail=mail,
        passwords=Passwords(hasher=CHEAP),
    )


def browser(ip: str | None = None, **more: Any) -> Browser:
    """A browser at an address of its own, so that tests do not slow each other down."""
    given = Browser(
        ip=ip or f"2001:db8:{secrets.randbelow(65536):x}:{secrets.randbelow(65536):x}::1", user_agent="Test"
    )
    return replace(given, **more)


def new_email() -> str:
    return f"ada.{secrets.token_hex(6)}@example.com"


async def make_account(accounts: AccountServices, *, password: str | None = PASSWORD) -> tuple[UserId, str]:
    user_id, email = UserId(uuid7()), new_email()
    hashed = await accounts.tools.passwords.hash(password) if password else None
    async with accounts.tools.database.anonymous() as db:
        assert await store.insert_account(db, user_id, email=email, name="Ada", is_verified=True)
        if hashed:
            await store.save_password(db, user_id, hashed)
    return user_id, email


async def mails(accounts: AccountServices, recipient: str) -> list[OutboxMail]:
    """What was written to an address, newest first."""
    async with accounts.tools.database.anonymous() as db:
        everything = await accounts.tools.outbox.list_outbox(db, limit=60)
    return [mail for mail in everything if mail.recipient.casefold() == recipient.casefold()]


async def mailed_token(accounts: AccountServices, recipient: str) -> str:
    """The token of the newest link that was mailed to an address."""
    for mail in await mails(accounts, recipient):
        found = re.search(r"[?&]token=([\w-]+)", mail.text or "")
        if found:
            return found[1]
    raise AssertionError("no link was mailed")


async def signed_in(accounts: AccountServices, email: str, password: str = PASSWORD, **where: Any) -> LoggedIn:
    entered = await accounts.sign_in.login(email, password, browser=browser(**where))
    assert isinstance(entered, LoggedIn)
    return entered


async def subjects(accounts: AccountServices, recipient: str) -> list[str]:
    return [mail.subject for mail in await mails(accounts, recipient)]
