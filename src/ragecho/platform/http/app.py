"""How every role's HTTP application is made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from ragecho.kernel.errors import EchoError
from ragecho.platform.http import problems
from ragecho.platform.http.docs import docs_router
from ragecho.platform.http.guards import ConcurrencyLimitMiddleware, InputGuardMiddleware
from ragecho.platform.http.health import Check, health_router, metrics_router
from ragecho.platform.http.observability import ObservabilityMiddleware
from ragecho.platform.http.openapi import describe
from ragecho.platform.http.security_headers import SecurityHeadersMiddleware
from ragecho.platform.http.settings import HttpSettings
from ragecho.platform.settings import Settings

Lifespan = (
    Callable[[FastAPI], AbstractAsyncContextManager[None]]
    | Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]
)
Refresh = Callable[[], Awaitable[None]]


def create_app(
    *,
    title: str,
    version: str,
    lifespan: Lifespan | None = None,
    routers: Sequence[APIRouter] = (),
    settings: Settings,
    http: HttpSettings | None = None,
    checks: Mapping[str, Check] | None = None,
    refresh_metrics: Sequence[Refresh] = (),
    body_limits: Mapping[str, int] | None = None,
    description: str = "",
    has_docs: bool = True,
) -> FastAPI:
    """Return an application with the shared edge around `routers`.

    `checks` are what readiness means for this role; `refresh_metrics` run before `/metrics` is read; `body_limits` maps
    path prefixes to the largest body in bytes (uploads), `http.max_body_bytes` counts elsewhere. JSON is serialised by
    FastAPI's own fast path when a route declares its answer's type.
    """
    limits = http or HttpSettings()
    app = FastAPI(
        title=title,
        version=version,
        description=description,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if has_docs else None,
        # Echo has traces, metrics and logs of its own; the framework's would quote messages, which may be content.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        exception_handlers={
            EchoError: problems.on_echo_error,
            HTTPException: problems.on_http_exception,
            RequestValidationError: problems.on_validation_error,
        },
        middleware=[
            Middleware(SecurityHeadersMiddleware, is_https=(settings.public_url or "").startswith("https://")),
            Middleware(ObservabilityMiddleware),
            Middleware(ConcurrencyLimitMiddleware, limit=limits.max_concurrency),
            Middleware(InputGuardMiddleware, default_bytes=limits.max_body_bytes, limits=body_limits or {}),
        ],
    )
    # In the order in which a request is compared with them.
    for router in routers:
        app.include_router(router)
    app.include_router(health_router(checks or {}, timeout_seconds=limits.check_timeout_seconds))
    app.include_router(metrics_router(refresh=refresh_metrics))
    if has_docs:
        app.include_router(docs_router(title))
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's documented way to replace it
    return app
