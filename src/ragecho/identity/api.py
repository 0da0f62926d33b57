"""The identity service as one object and one list of routers, mounted at `/identity` in the API or served alone."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from fastapi import APIRouter

from ragecho.identity import clients
from ragecho.identity.accounts import throttle
from ragecho.identity.accounts.build import AccountServices, build_accounts
from ragecho.identity.accounts.sessions import current_session, end_session
from ragecho.identity.accounts.sign_in import second_factor_state
from ragecho.identity.federation.build import FederationServices, build_federation, build_federation_routers
from ragecho.identity.pages.cookies import Cookies
from ragecho.identity.pages.router import build_kit, build_pages, build_pages_router
from ragecho.identity.protocol.keys import SigningKeys
from ragecho.identity.protocol.provider import ClientCache, Provider
from ragecho.identity.protocol.routes import build_protocol_router
from ragecho.identity.protocol.routes_logout import build_logout_router
from ragecho.identity.protocol.routes_registration import build_registration_router
from ragecho.identity.protocol.upkeep import Upkeep
from ragecho.identity.protocol_pages import RenderedPages
from ragecho.identity.settings import IdentitySettings, audience_of, base_url_of, issuer_of
from ragecho.identity.vault import Vault, open_vault
from ragecho.kernel.ids import UserId
from ragecho.platform.database import Database, Session
from ragecho.platform.settings import Environment, Settings


@dataclass(frozen=True, slots=True)
class IdentityServices:
    """The identity service. `database` runs as the identity role and is to be closed."""

    settings: Settings
    identity: IdentitySettings
    database: Database
    vault: Vault
    accounts: AccountServices
    provider: Provider
    federation: FederationServices
    upkeep: Upkeep

    async def web_client(self) -> tuple[str, str]:
        """Return id and secret of the client that the browser app signs in with. Raises `NotFound` before it was made."""
        async with self.database.anonymous() as db:
            return await clients.web_client(db, self.vault)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Tell the registry where this is reached, and do what is to be done in the background; closes at the end."""
        async with self.database.anonymous() as db:
            await clients.ensure_first_party_clients(db, self.settings, self.vault, is_serving=True)
        try:
            async with self.upkeep.running(), self.accounts.upkeep.running():
                yield
        finally:
            await self.database.close()


def build_identity_services(settings: Settings, database: Database) -> IdentityServices:
    """Return the service over a database pool of the identity role. Raises `ConfigurationError`."""
    identity = IdentitySettings()
    vault = open_vault(settings, identity)
    issuer = issuer_of(settings)
    is_development = settings.environment is Environment.DEVELOPMENT
    accounts = build_accounts(database, vault, issuer=issuer, is_development=is_development)
    provider = Provider(
        issuer=issuer,
        audience=audience_of(settings),
        settings=identity,
        database=database,
        vault=vault,
        keys=SigningKeys(database, vault),
        current_session=current_session,
        end_session=_end_session,
        second_factor_state=_second_factor_state,
        begin_visit=_begin_visit,
        clients=ClientCache(database),
        is_https=issuer.startswith("https://"),
        allows_registration=identity.allows_registration(settings),
    )
    federation = build_federation(settings, database, vault, issuer=issuer)
    upkeep = Upkeep(provider, allows_private_addresses=settings.allow_private_addresses or is_development)
    return IdentityServices(settings, identity, database, vault, accounts, provider, federation, upkeep)


def build_identity_routers(services: IdentityServices) -> Sequence[APIRouter]:
    """Return the routers of the protocol and of its pages, all under `/identity`."""
    tools = services.accounts.tools
    pages = build_pages(tools)
    cookies = Cookies(is_https=services.provider.is_https, session_seconds=tools.settings.session_max_minutes * 60)
    upstreams = (services.federation.login_page,)
    rendered = RenderedPages(pages, f"{base_url_of(services.settings)}/app/")
    provider, cookie = services.provider, cookies.session_name
    return [
        build_protocol_router(provider, rendered, cookie),
        build_registration_router(provider),
        build_logout_router(provider, rendered, cookie, forget=cookies.sign_out, on_logout=services.upkeep.wake),
        build_pages_router(services.accounts, pages, upstreams=upstreams),
        *build_federation_routers(services.federation, build_kit(services.accounts, pages, upstreams=upstreams)),
    ]


async def _second_factor_state(db: Session, user_id: UUID) -> tuple[bool, bool]:
    return await second_factor_state(db, UserId(user_id))


async def _begin_visit(db: Session, address: str | None) -> None:
    await throttle.begin_attempt(db, throttle.visit_counters("authorize", address))


async def _end_session(db: Session, session_id: UUID, user_id: UUID) -> object:
    return await end_session(db, session_id, UserId(user_id))
