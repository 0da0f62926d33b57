"""The API: one process that answers HTTP. Run as many as needed behind any load balancer."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import APIRouter, FastAPI

from ragecho import __version__
from ragecho.ask.api import build_router as build_ask_router
from ragecho.audit.trail_api import build_audit_routers
from ragecho.identity.api import build_identity_routers
from ragecho.identity.federation.api import build_identity_providers_router
from ragecho.identity.scim.api import build_scim_tokens_router
from ragecho.identity.scim.routes import build_scim_router
from ragecho.identity.settings import base_url_of, issuer_of
from ragecho.ingest.api import build_uploads_router
from ragecho.ingest.api_index import build_index_router
from ragecho.ingest.api_jobs import build_jobs_router
from ragecho.ingest.api_lifecycle import build_lifecycle_router
from ragecho.ingest.api_resumable import PREFIX, build_resumable_router
from ragecho.ingest.lifecycle import Lifecycle
from ragecho.ingest.settings import IngestSettings
from ragecho.ingest.sources.api import build_sources_router, build_url_router
from ragecho.library.api import build_documents_router, build_search_router
from ragecho.library.spaces import tell_other_spaces
from ragecho.platform.http import HttpSettings, create_app
from ragecho.platform.http.authentication import authentication
from ragecho.platform.jobs.gauges import queue_gauges
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import configure_telemetry, get_logger, shutdown_tracing, uvicorn_log_options
from ragecho.roles.shared_server import SharedServer
from ragecho.roles.shares import LISTEN_FD_VARIABLE, Shares
from ragecho.tenancy.api import build_tenancy_router
from ragecho.tenancy.api_domains import build_domains_router
from ragecho.web.api import build_gateway_router
from ragecho.wiring import Services, build_services

log = get_logger(__name__)


def build_app(services: Services) -> FastAPI:
    """Return the application over the services; the database is closed when it stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # The first question must not wait for the weights to be read.
        await services.embedders.of(services.space).embed_query("warm up")
        telling = asyncio.create_task(tell_other_spaces(services.database, services.space))
        await services.gateway.start()
        log.info("api.ready", pid=os.getpid())
        async with services.identity.serving():
            yield
        telling.cancel()
        await services.renderer.close()
        await services.gateway.provider.close()
        await services.search.close()
        await services.database.close()

    app = create_app(
        title="Echo",
        version=__version__,
        lifespan=lifespan,
        routers=_routers(services),
        settings=services.settings,
        checks={"database": services.database.ping, "blobs": services.blobs.check},
        refresh_metrics=[queue_gauges(services.database)],
        # The limit of one file is its own; this one bounds a request with several.
        body_limits=dict.fromkeys(("/api/v1/documents", PREFIX), HttpSettings().max_upload_bytes),
    )
    services.gateway.provider.attach(app)
    return app


def run(settings: Settings) -> int:
    """Answer until told to stop; return the exit code."""
    configure_telemetry(settings, role="api")
    config = uvicorn.Config(
        build_app(build_services(settings)),
        host=settings.host,
        port=settings.port,
        fd=int(os.environ[LISTEN_FD_VARIABLE]) if LISTEN_FD_VARIABLE in os.environ else None,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=10,
        **uvicorn_log_options(),
    )
    shares = Shares.inherited()
    try:
        (uvicorn.Server(config) if shares is None else SharedServer(config, shares)).run()
    finally:
        shutdown_tracing()
    return 0


def _routers(services: Services) -> list[APIRouter]:
    database = services.database
    authenticate = authentication(services.verifiers, services.gateway)
    scim_url = f"{base_url_of(services.settings)}/scim/v2"

    return [
        # Routes are matched in order, each costs a look: first what is asked for far more often than anything else.
        build_search_router(services.search, services.reranker, authenticate, rewriter=services.rewriter),
        build_ask_router(services.ask, authenticate),
        *build_identity_routers(services.identity),
        build_uploads_router(services.uploads, authenticate, max_files=IngestSettings().max_files_per_upload),
        build_resumable_router(services.resumable, authenticate),
        build_lifecycle_router(Lifecycle(database, services.blobs), database, authenticate),
        build_url_router(services.url_uploads, authenticate),
        build_sources_router(services.sources, authenticate),
        build_documents_router(database, services.blobs, services.renderer, authenticate, sealer=services.sealer),
        build_jobs_router(database, authenticate),
        build_index_router(services.index, services.reindexing, database, authenticate),
        *build_audit_routers(database, authenticate),
        build_tenancy_router(
            database,
            services.space_for,
            authenticate,
            blobs=services.blobs,
            accept_page=f"{issuer_of(services.settings)}/invitation",
        ),
        build_domains_router(database, authenticate),
        build_identity_providers_router(services.identity.federation.administration, authenticate),
        build_scim_tokens_router(database, authenticate, base_url=scim_url),
        build_scim_router(database, base_url=scim_url),
        build_gateway_router(services.gateway, services.identity.database, database, authenticate, services.settings),
    ]
