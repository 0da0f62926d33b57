"""Puts accounts together."""

from dataclasses import dataclass
from functools import partial

from ragecho.identity.accounts.factors import SecondFactors
from ragecho.identity.accounts.first_admin import FirstAdministrator
from ragecho.identity.accounts.passkeys import Passkeys
from ragecho.identity.accounts.passwords import PasswordPolicy, Passwords
from ragecho.identity.accounts.registration import Registrations
from ragecho.identity.accounts.service import Accounts
from ragecho.identity.accounts.settings import AccountSettings
from ragecho.identity.accounts.sign_in import SignIn
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.accounts.upkeep import AccountUpkeep, collect_invitations
from ragecho.identity.mail.delivery import Mailer
from ragecho.identity.mail.outbox import Outbox
from ragecho.identity.mail.settings import MailSettings, smtp_server
from ragecho.identity.mail.smtp import SmtpTransport
from ragecho.identity.vault import Vault
from ragecho.platform.database import Database
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccountServices:
    """What pages and the protocol use of accounts. `upkeep` runs in every process that serves them."""

    tools: AccountTools
    sign_in: SignIn
    registrations: Registrations
    accounts: Accounts
    first_administrator: FirstAdministrator
    factors: SecondFactors
    passkeys: Passkeys
    mailer: Mailer
    upkeep: AccountUpkeep


def build_accounts(
    database: Database,
    vault: Vault,
    *,
    issuer: str,
    is_development: bool,
    settings: AccountSettings | None = None,
    mail: MailSettings | None = None,
    passwords: Passwords | None = None,
) -> AccountServices:
    """Return the services of accounts. `database` runs as the identity role. Raises `ConfigurationError`.

    On a development server without a mail server, mails are read on the page `{issuer}/outbox`.
    """
    chosen, mailing = settings or AccountSettings(), mail or MailSettings()
    url = mailing.smtp_url.get_secret_value() if mailing.smtp_url else ""
    transport = SmtpTransport(smtp_server(url)) if url else None
    if transport is None and not is_development:
        log.warning("mail.not_configured", fix="set RAGECHO_SMTP_URL; links for resets and invitations cannot be sent")
    tools = AccountTools(
        database=database,
        vault=vault,
        passwords=passwords or Passwords(concurrency=chosen.password_hash_concurrency),
        policy=PasswordPolicy(min_length=chosen.min_password_length),
        settings=chosen,
        outbox=Outbox(vault, issuer=issuer, page_url=f"{issuer}/outbox" if is_development and not transport else None),
        issuer=issuer,
    )
    sign_in = SignIn(tools)
    mailer = Mailer(
        database, tools.outbox, transport, sender=mailing.mail_from, collect=partial(collect_invitations, tools)
    )
    return AccountServices(
        tools=tools,
        sign_in=sign_in,
        registrations=Registrations(tools, sign_in),
        accounts=Accounts(tools, sign_in),
        first_administrator=FirstAdministrator(tools, sign_in),
        factors=SecondFactors(tools),
        passkeys=Passkeys(tools, sign_in),
        mailer=mailer,
        upkeep=AccountUpkeep(tools, mailer),
    )
