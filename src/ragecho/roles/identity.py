"""The identity service alone, and what `ragecho identity …` does on the machine that holds the database."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import uvicorn
from fastapi import FastAPI

from ragecho import __version__
from ragecho.identity import clients
from ragecho.identity.api import IdentityServices, build_identity_routers
from ragecho.identity.client_model import Client
from ragecho.identity.protocol.keys import rotate_keys
from ragecho.identity.settings import IdentitySettings
from ragecho.identity.vault import open_vault
from ragecho.platform.database import IDENTITY_ROLE, Database, Session
from ragecho.platform.http import create_app
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import configure_telemetry, get_logger, shutdown_tracing, uvicorn_log_options
from ragecho.roles.local import local_database
from ragecho.roles.prepare import prepare
from ragecho.roles.shares import LISTEN_FD_VARIABLE
from ragecho.wiring import build_identity

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClientShown:
    """A client as the command line shows it; `secret` only where it was just made.

    `audience` is whom its tokens are for when it names none, the first of `audiences`.
    """

    client_id: str
    secret: str | None
    name: str
    kind: str
    auth_method: str
    grant_types: tuple[str, ...]
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    workspace_id: str | None
    service_account_id: str | None
    issuer: str
    audience: str
    audiences: tuple[str, ...]
    created_at: datetime


def build_app(services: IdentityServices) -> FastAPI:
    """Return the application of the identity service alone."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with services.serving():
            log.info("identity.ready", pid=os.getpid())
            yield

    return create_app(
        title="Echo identity",
        version=__version__,
        lifespan=lifespan,
        routers=build_identity_routers(services),
        settings=services.settings,
        checks={"database": services.database.ping},
        has_docs=False,
    )


def run(settings: Settings) -> int:
    """Answer until told to stop; return the exit code."""
    configure_telemetry(settings, role="identity")
    config = uvicorn.Config(
        build_app(build_identity(settings)),
        host=settings.host,
        port=settings.port,
        fd=int(os.environ[LISTEN_FD_VARIABLE]) if LISTEN_FD_VARIABLE in os.environ else None,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=10,
        **uvicorn_log_options(),
    )
    try:
        uvicorn.Server(config).run()
    finally:
        shutdown_tracing()
    return 0


def create_client(
    settings: Settings,
    *,
    name: str,
    redirect_uris: Sequence[str],
    post_logout_redirect_uris: Sequence[str],
    scopes: Sequence[str],
    audiences: Sequence[str] = (),
    is_public: bool,
    is_native: bool,
    has_device_flow: bool,
    backchannel_logout_uri: str | None,
) -> ClientShown:
    """Create a client that signs people in. Raises `InvalidInput`."""

    async def work(db: Session) -> ClientShown:
        made = await clients.create_client(
            db,
            name=name,
            redirect_uris=redirect_uris,
            post_logout_redirect_uris=post_logout_redirect_uris,
            scopes=scopes or None,
            audiences=audiences,
            is_public=is_public,
            is_native=is_native,
            has_device_flow=has_device_flow,
            backchannel_logout_uri=backchannel_logout_uri,
        )
        return await _shown(db, settings, made.client, made.secret)

    return _run(settings, work)


def create_service_client(
    settings: Settings,
    *,
    name: str,
    scopes: Sequence[str],
    workspace: str,
    audiences: Sequence[str] = (),
    service_account: str | None = None,
) -> ClientShown:
    """Create a client that acts for itself in a workspace. Raises `InvalidInput` or `NotFound`."""

    async def work(db: Session) -> ClientShown:
        made = await clients.create_service_client(
            db,
            name=name,
            scopes=scopes,
            workspace=workspace,
            audiences=audiences,
            service_account=service_account,
        )
        return await _shown(db, settings, made.client, made.secret)

    return _run(settings, work)


def list_clients(settings: Settings) -> list[ClientShown]:
    """Return the clients, newest first."""

    async def work(db: Session) -> list[ClientShown]:
        found, _ = await clients.list_clients(db, limit=1000)
        return [await _shown(db, settings, client, None) for client in found]

    return _run(settings, work)


def show_client(settings: Settings, client_id: str) -> ClientShown:
    """Return one client. Raises `NotFound`."""

    async def work(db: Session) -> ClientShown:
        return await _shown(db, settings, await clients.get_client(db, client_id), None)

    return _run(settings, work)


def delete_client(settings: Settings, client_id: str) -> None:
    """Remove a client. Raises `NotFound` or `InvalidInput`."""

    async def work(db: Session) -> None:
        await clients.delete_client(db, client_id)

    _run(settings, work)


def rotate_secret(settings: Settings, client_id: str) -> ClientShown:
    """Replace a client's secret. Raises `NotFound` or `InvalidInput`."""

    async def work(db: Session) -> ClientShown:
        made = await clients.rotate_secret(db, client_id)
        return await _shown(db, settings, made.client, made.secret)

    return _run(settings, work)


def rotate_signing_keys(settings: Settings) -> None:
    """Let the published next keys sign from now on."""
    vault = open_vault(settings, IdentitySettings())

    async def work(db: Session) -> None:
        await rotate_keys(db, vault)

    _run(settings, work)


async def _shown(db: Session, settings: Settings, client: Client, secret: str | None) -> ClientShown:
    base = await clients.base_url(db, settings)
    audiences = client.audiences_at(f"{base}/api")
    return ClientShown(
        client_id=client.id,
        secret=secret,
        name=client.name,
        kind=str(client.kind),
        auth_method=client.auth_method,
        grant_types=client.grant_types,
        redirect_uris=client.redirect_uris,
        scopes=client.scopes,
        workspace_id=str(client.workspace_id) if client.workspace_id else None,
        service_account_id=str(client.service_account_id) if client.service_account_id else None,
        issuer=f"{base}/identity",
        audience=audiences[0],
        audiences=audiences,
        created_at=client.created_at,
    )


def _run[T](settings: Settings, work: Callable[[Session], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        database = Database(url, role=IDENTITY_ROLE, pool_size=1, application_name="ragecho identity")
        try:
            async with database.anonymous() as db:
                return await work(db)
        finally:
            await database.close()

    with local_database(settings) as urls:
        prepare(settings, urls.owner, is_embedded=urls.is_embedded)
        return asyncio.run(run(urls.app))
