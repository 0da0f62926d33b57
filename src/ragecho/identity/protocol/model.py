"""Values of the protocol that pages and accounts see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


class BrowserSession(Protocol):
    """A signed-in browser, as `ragecho.identity.accounts.sessions.BrowserSession` has it."""

    @property
    def id(self) -> UUID:
        """No secret: what the cookie holds is another value."""
        ...

    @property
    def user_id(self) -> UUID:
        """Who is signed in."""
        ...

    @property
    def authenticated_at(self) -> datetime:
        """When the person last showed who they are."""
        ...

    @property
    def amr(self) -> tuple[str, ...]:
        """How (RFC 8176)."""
        ...

    @property
    def acr(self) -> str:
        """Which level that reaches."""
        ...


@dataclass(frozen=True, slots=True)
class Interaction:
    """An authorization request that waits for a person.

    `scopes` are what the client asks for; `needs_fresh_login` means that a session from before this request does not do
    (`prompt=login`, `max_age`).
    """

    id: UUID
    client_id: str
    client_name: str
    client_uri: str | None
    policy_uri: str | None
    tos_uri: str | None
    is_first_party: bool
    scopes: tuple[str, ...]
    login_hint: str | None
    ui_locales: tuple[str, ...]
    prompt: tuple[str, ...]
    max_age: int | None
    wants_registration: bool
    needs_fresh_login: bool
    user_id: UUID | None
    session_id: UUID | None
    approved_scopes: tuple[str, ...] | None
    is_denied: bool
    created_at: datetime
    expires_at: datetime
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A device that waits for a person to approve its code."""

    user_code: str
    client_id: str
    client_name: str
    is_first_party: bool
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    expires_at: datetime
