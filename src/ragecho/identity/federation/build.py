"""Puts federation together."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter

from ragecho.identity.federation.domains import TxtLookup, dns_txt
from ragecho.identity.federation.logout import BackChannelLogout
from ragecho.identity.federation.providers import ProviderAdministration
from ragecho.identity.federation.routes import FederationUpstreams, federation_routes
from ragecho.identity.federation.routes_connections import connection_routes
from ragecho.identity.federation.routes_logout import logout_routes
from ragecho.identity.federation.sign_in import FederatedSignIn
from ragecho.identity.federation.upstream import Upstreams
from ragecho.identity.pages.kit import Kit
from ragecho.identity.vault import Vault
from ragecho.platform.database import Database
from ragecho.platform.outbound import outbound_client
from ragecho.platform.settings import Settings


@dataclass(frozen=True, slots=True)
class FederationServices:
    """Signing in with other providers, and their administration."""

    sign_in: FederatedSignIn
    administration: ProviderAdministration
    upstreams: Upstreams
    login_page: FederationUpstreams
    logout: BackChannelLogout


def build_federation(
    settings: Settings, database: Database, vault: Vault, *, issuer: str, resolve_txt: TxtLookup = dns_txt
) -> FederationServices:
    """Return federation over a pool of the identity role."""
    allow_private = settings.allow_private_addresses
    upstreams = Upstreams(outbound_client(allow_private=allow_private), allow_http=allow_private)
    sign_in = FederatedSignIn(database, vault, upstreams, issuer=issuer)
    administration = ProviderAdministration(database, vault, upstreams, sign_in, resolve_txt=resolve_txt)
    return FederationServices(
        sign_in, administration, upstreams, FederationUpstreams(), BackChannelLogout(database, upstreams)
    )


def build_federation_routers(services: FederationServices, kit: Kit) -> Sequence[APIRouter]:
    """Return the routes of people's browsers; those of administrators are in `api`."""
    # Fixed paths first: `/federation/{provider_id}/…` takes UUIDs only, but the order is what is read.
    return [
        connection_routes(kit, services.sign_in),
        federation_routes(kit, services.sign_in),
        logout_routes(kit, services.logout),
    ]
