"""What accounts hand out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from ragecho.kernel.ids import UserId

# How sure we are of who it is (`acr`): one factor, or two (a passkey with user verification is two).
ACR_SINGLE: Final = "urn:echo:acr:1"
ACR_MULTI: Final = "urn:echo:acr:2"

# How it was shown (`amr`, RFC 8176).
AMR_PASSWORD: Final = "pwd"  # noqa: S105 - the name of a method
AMR_OTP: Final = "otp"  # an authenticator's code, or a recovery code: both work once
AMR_HARDWARE_KEY: Final = "hwk"
AMR_SOFTWARE_KEY: Final = "swk"
AMR_USER_PRESENT: Final = "user"
AMR_FEDERATED: Final = "fed"  # by another provider; not registered, see the documentation
AMR_MULTI: Final = "mfa"


def acr_of(amr: tuple[str, ...]) -> str:
    """Return the level that these methods reach."""
    return ACR_MULTI if AMR_MULTI in amr else ACR_SINGLE


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A browser in which a person is signed in. `id` is no secret; what the cookie holds is stored only as a digest."""

    id: UUID
    user_id: UserId
    authenticated_at: datetime
    amr: tuple[str, ...]
    acr: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str | None
    ip: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """A person, without anything they sign in with."""

    id: UserId
    email: str
    name: str | None
    locale: str | None
    zoneinfo: str | None
    is_disabled: bool
    email_verified_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Method(StrEnum):
    """A second factor."""

    TOTP = "totp"
    PASSKEY = "passkey"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Somebody is signed in. Put `secret` into the session cookie and `device_secret` into the device cookie."""

    session: BrowserSession
    secret: str
    device_secret: str


@dataclass(frozen=True, slots=True)
class NeedsSecondFactor:
    """The first factor was right. Keep `ticket` in a short-lived cookie of this browser; it works for one sign-in."""

    ticket: str
    methods: tuple[Method, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation that still holds.

    `is_mailed`: this link came by mail to the address, so whoever has it reads that mail; otherwise somebody handed it
    on. `has_account` is None where that must not be told: for links that were not mailed.
    """

    organization_name: str
    email: str
    role: str
    expires_at: datetime
    is_mailed: bool
    has_account: bool | None


@dataclass(frozen=True, slots=True)
class Factors:
    """What an account can sign in with."""

    has_password: bool
    has_totp: bool
    passkeys: int
    recovery_codes_left: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many failed attempts count at `last_at`, and until when the next is refused."""

    failures: float
    last_at: datetime
    blocked_until: datetime


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey of an account. `is_synced` ones exist on several of its owner's devices."""

    id: UUID
    name: str
    is_synced: bool
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class PasskeyOptions:
    """What the browser's `navigator.credentials` is called with (as JSON), and the id to hand in with its answer."""

    challenge_id: UUID
    options: Mapping[str, Any]
