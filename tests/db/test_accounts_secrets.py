"""No secret stands in any table as it is: every column of every table is searched for all that a run made."""

import base64
import time
from collections.abc import AsyncIterator

import psycopg
import pyotp
import pytest
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
)
from tests.db.conftest import make_tenant
from tests.db.soft_authenticator import SoftAuthenticator

from ragecho.identity.accounts.build import AccountServices
from ragecho.identity.accounts.first_admin import make_setup_link
from ragecho.identity.accounts.model import NeedsSecondFactor
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio
ORIGIN = "http://localhost:8000"


@pytest.fixture
async def accounts(owner_url: str, anyio_backend: str) -> AsyncIterator[AccountServices]:
    database = identity_database(owner_url)
    yield services(database, issuer=f"{ORIGIN}/identity", registration="open")
    await database.close()


async def every_secret(accounts: AccountServices, database: Database) -> dict[str, str]:
    """Go through every flow that makes a secret and return them all by name."""
    email = new_email()
    await accounts.registrations.start(email, browser=browser())
    known = {"registration link": await mailed_token(accounts, email), "password": PASSWORD}
    _, existing = await make_account(accounts)
    first = await signed_in(accounts, existing)
    known |= {"session": first.secret, "device": first.device_secret}
    await accounts.accounts.request_password_reset(existing, browser=browser())
    known["reset link"] = await mailed_token(accounts, existing)
    new_address = new_email()
    await accounts.accounts.request_email_change(first.session, new_address)
    known["change link"] = await mailed_token(accounts, new_address)
    offer = await accounts.passkeys.begin_registration(first.session)
    device = SoftAuthenticator(ORIGIN)
    await accounts.passkeys.finish_registration(first.session, offer.challenge_id, device.create(offer.options))
    setup = await accounts.factors.begin_totp(first.session)
    code = pyotp.TOTP(setup.secret).generate_otp(int(time.time() // 30))
    codes = await accounts.factors.confirm_totp(first.session, code, browser=browser())
    known |= {"seed": setup.secret} | {f"recovery code {number}": code for number, code in enumerate(codes)}
    needed = await accounts.sign_in.login(existing, PASSWORD, browser=browser())
    assert isinstance(needed, NeedsSecondFactor)
    known["ticket"] = needed.ticket
    known["waiting mail"] = (await mails(accounts, existing))[0].text or ""
    tenant = await make_tenant(database)
    async with accounts.tools.database.anonymous() as db:
        link = await make_setup_link(db, tenant.organization_id, issuer="")
    assert link is not None
    known["setup link"] = link.partition("token=")[2]
    return known


def forms_of(secret: str) -> set[str]:
    """How a secret may stand in the text of a row: as it is, without its dashes, and as bytes that print as hex."""
    plain = secret.replace("-", "") if len(secret) < 40 else secret
    forms = {secret, plain, secret.encode().hex(), plain.encode().hex()}
    if len(secret) == 43:
        forms.add(base64.urlsafe_b64decode(secret + "=").hex())
    return forms


async def test_no_secret_stands_in_any_table(accounts: AccountServices, database: Database, owner_url: str) -> None:
    known = await every_secret(accounts, database)
    assert all(known.values())
    with psycopg.connect(owner_url) as connection:
        connection.execute("set row_security = off")  # an error rather than nothing to look at
        tables = connection.execute(
            "select quote_ident(table_name) from information_schema.tables where table_schema = 'public'"
            " and table_type = 'BASE TABLE'"
        ).fetchall()
        for (table,) in tables:
            for (row,) in connection.execute(f"select t::text from {table} t"):
                for name, secret in known.items():
                    for form in forms_of(secret):
                        assert form not in row, f"{name} stands in {table}"
        for table in ("identity_sessions", "identity_links", "identity_outbox", "identity_totp", "identity_passwords"):
            assert connection.execute(f"select count(*) from {table}").fetchone() != (0,)
