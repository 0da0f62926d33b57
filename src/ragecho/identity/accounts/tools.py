"""What every part of accounts works with."""

from dataclasses import dataclass

from ragecho.identity.accounts.passwords import PasswordPolicy, Passwords
from ragecho.identity.accounts.settings import AccountSettings
from ragecho.identity.mail.outbox import Outbox
from ragecho.identity.vault import Vault
from ragecho.platform.database import Database


@dataclass(frozen=True, slots=True)
class AccountTools:
    """Collaborators of accounts.

    `database` runs as the identity role. `issuer` is the URL that the identity service is at, without a slash at its end.
    Accounts open their transactions themselves: a failed attempt has to be counted although the request fails, and no
    connection may be held while a password is hashed.
    """

    database: Database
    vault: Vault
    passwords: Passwords
    policy: PasswordPolicy
    settings: AccountSettings
    outbox: Outbox
    issuer: str
