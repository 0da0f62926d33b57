"""Puts accounts together."""

from dataclasses import dataclass

from ragecho.identity.accounts.factors import SecondFactors
from ragecho.identity.accounts.first_admin import FirstAdministrator
from ragecho.identity.accounts.passkeys import Passkeys
from ragecho.identity.accounts.passwords import PasswordPolicy, Passwords
from ragecho.identity.accounts.registration import Registrations
from ragecho.identity.accounts.service import Accounts
from ragecho.identity.accounts.settings import AccountSettings
from ragecho.identity.accounts.sign_in import SignIn
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.mail.outbox import Outbox
from ragecho.identity.vault import Vault
from ragecho.platform.database import Database


@dataclass(frozen=True, slots=True)
class AccountServices:
    """What pages and the protocol use of accounts."""

    tools: AccountTools
    sign_in: SignIn
    registrations: Registrations
    accounts: Accounts
    first_administrator: FirstAdministrator
    factors: SecondFactors
    passkeys: Passkeys


def build_accounts(
    database: Database,
    vault: Vault,
    *,
    issuer: str,
    settings: AccountSettings | None = None,
    outbox_page_url: str | None = None,
    passwords: Passwords | None = None,
) -> AccountServices:
    """Return the services of accounts. `database` runs as the identity role.

    `outbox_page_url` is set on a development server without a mail server: mails are read there.
    """
    chosen = settings or AccountSettings()
    tools = AccountTools(
        database=database,
        vault=vault,
        passwords=passwords or Passwords(concurrency=chosen.password_hash_concurrency),
        policy=PasswordPolicy(min_length=chosen.min_password_length),
        settings=chosen,
        outbox=Outbox(vault, issuer=issuer, page_url=outbox_page_url),
        issuer=issuer,
    )
    sign_in = SignIn(tools)
    return AccountServices(
        tools=tools,
        sign_in=sign_in,
        registrations=Registrations(tools, sign_in),
        accounts=Accounts(tools, sign_in),
        first_administrator=FirstAdministrator(tools, sign_in),
        factors=SecondFactors(tools),
        passkeys=Passkeys(tools, sign_in),
    )
