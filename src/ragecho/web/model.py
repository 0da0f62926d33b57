"""What the gateway hands around."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from ragecho.kernel.ids import UserId

APP_PATH: Final = "/app/"
CALLBACK_PATH: Final = "/auth/callback"
LOGIN_PATH: Final = "/auth/login"
SCOPES: Final = ("openid", "profile", "email", "offline_access", "read", "write", "admin")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the token endpoint gave."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)
    expires_in_seconds: int


@dataclass(frozen=True, slots=True)
class SignIn:
    """Where to send a browser that wants to sign in; `browser_secret` belongs into the cookie that binds it."""

    url: str
    browser_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A sign-in on its way. `is_open` is False when it was used before or is over."""

    return_to: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session; `secret` belongs into the session cookie."""

    secret: str = field(repr=False)
    return_to: str


@dataclass(frozen=True, slots=True)
class WebSession:
    """A signed-in browser. `is_due` says that its tokens want renewal, `is_unseen` that its last use is to be noted."""

    id: UUID
    user_id: UserId
    email: str
    name: str | None
    grant_id: UUID | None
    is_due: bool
    is_unseen: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A checked logout token: whose session ended, or which."""

    jti: str
    subject: str | None
    session_id: str | None
    expires_at: datetime


Claims = Mapping[str, Any]
