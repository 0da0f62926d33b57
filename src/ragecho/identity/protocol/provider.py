"""What the protocol's parts share: the deployment (`Provider`) and one request's work (`Work`)."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from ragecho.identity import store_clients
from ragecho.identity.client_model import Client
from ragecho.identity.protocol.keys import KeyState, SigningKeys
from ragecho.identity.protocol.model import BrowserSession
from ragecho.identity.settings import IdentitySettings
from ragecho.identity.vault import Vault
from ragecho.platform.database import Database, Session

CLIENT_CACHE_SECONDS = 3.0
_MOST_CLIENTS = 10_000

CurrentSession = Callable[[Session, str | None], Awaitable[BrowserSession | None]]


class ClientCache:
    """Clients as the token endpoint knows them, read again after a few seconds, so that a service's tokens cost no query.

    A new secret or a removal counts everywhere within `CLIENT_CACHE_SECONDS`; what resource servers accept is checked live.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, Client]] = {}

    async def find(self, client_id: str) -> Client | None:
        """Return an enabled client."""
        now = time.monotonic()
        known = self._known.get(client_id)
        if known is not None and now - known[0] < CLIENT_CACHE_SECONDS:
            return known[1]
        [rows] = await self._database.read(None, (store_clients.FIND, {"id": client_id}))
        if not rows:
            self._known.pop(client_id, None)
            return None
        if len(self._known) >= _MOST_CLIENTS:
            self._known.clear()
        client = store_clients.client_of(rows[0])
        self._known[client_id] = (now, client)
        return client

    def forget(self, client_id: str) -> None:
        """Read this client anew at its next request to this process."""
        self._known.pop(client_id, None)


class SecondFactorState(Protocol):
    """Looks up a person's second factor."""

    async def __call__(self, db: Session, user_id: UUID, /) -> tuple[bool, bool]:
        """Return whether the person has one, and whether an organisation of theirs requires one."""
        ...


class BeginVisit(Protocol):
    """Slows down addresses that start very many sign-ins."""

    async def __call__(self, db: Session, address: str | None, /) -> None:
        """Count a sign-in that is started. Raises `RateLimited`."""
        ...


class EndSession(Protocol):
    """Ends a browser session of the accounts' side."""

    async def __call__(self, db: Session, session_id: UUID, user_id: UUID, /) -> object:
        """End it, if it is this person's."""
        ...


@dataclass(frozen=True, slots=True)
class Provider:
    """One deployment of the protocol."""

    issuer: str
    audience: str
    settings: IdentitySettings
    database: Database
    vault: Vault
    keys: SigningKeys
    current_session: CurrentSession
    end_session: EndSession
    second_factor_state: SecondFactorState
    begin_visit: BeginVisit
    clients: "ClientCache"
    is_https: bool
    allows_registration: bool

    @property
    def userinfo(self) -> str:
        """The userinfo endpoint, which is an audience as well: of tokens with the scope `openid`."""
        return f"{self.issuer}/userinfo"


@dataclass(frozen=True, slots=True)
class Person:
    """Whom tokens are about; `claims` are what the account knows."""

    id: UUID
    claims: dict[str, Any]

    def get_user_id(self) -> str:
        """Return the subject identifier."""
        return str(self.id)


@dataclass(slots=True)
class Work:
    """One request of the protocol. `db` is None only where nothing is read or written: cached service clients."""

    provider: Provider
    keys: KeyState
    session: Session | None = None
    grant: Any = None
    client: Client | None = None
    resources: tuple[str, ...] = ()
    address: str | None = None

    @property
    def db(self) -> Session:
        """The transaction."""
        assert self.session is not None, "this request has no transaction"
        return self.session


def new_claims(row: Any) -> dict[str, Any]:
    """Return the standard claims (OpenID Connect Core 5.1) that an account knows, whatever the scopes."""
    found = {
        "name": row["name"],
        "preferred_username": row["email"],
        "locale": row.get("locale"),
        "zoneinfo": row.get("zoneinfo"),
        "updated_at": int(changed.timestamp()) if (changed := row.get("updated_at")) else None,
        "email": row["email"],
        "email_verified": row.get("email_verified_at") is not None,
    }
    return {name: value for name, value in found.items() if value is not None}
