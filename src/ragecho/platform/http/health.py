"""Is the process alive, can it do its work, and what has it counted."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.responses import Response

from ragecho.kernel.errors import EchoError
from ragecho.platform.http.permissions import anyone
from ragecho.platform.telemetry import get_logger, metrics
from ragecho.platform.telemetry.exposition import CONTENT_TYPE

Check = Callable[[], Awaitable[str | None]]
"""Raises when the thing does not work; may return a short detail such as a version."""

log = get_logger(__name__)


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class CheckResult(BaseModel):
    """How one dependency does."""

    status: Literal["ok", "failed", "timeout"]
    latency_ms: float
    detail: str | None = None


class Readiness(BaseModel):
    """`ready` when every check passed; else the answer has status 503."""

    status: Literal["ready", "unavailable"]
    checks: dict[str, CheckResult]


async def run_checks(checks: Mapping[str, Check], *, timeout_seconds: float) -> Readiness:
    """Run all checks at once, each with its own timeout."""
    results = await asyncio.gather(*(_run(name, check, timeout_seconds) for name, check in checks.items()))
    is_ready = all(result.status == "ok" for result in results)
    return Readiness(status="ready" if is_ready else "unavailable", checks=dict(zip(checks, results, strict=True)))


async def _run(name: str, check: Check, timeout_seconds: float) -> CheckResult:
    started = time.perf_counter()

    def result(status: Literal["ok", "failed", "timeout"], detail: str | None) -> CheckResult:
        return CheckResult(status=status, latency_ms=round((time.perf_counter() - started) * 1000, 2), detail=detail)

    try:
        async with asyncio.timeout(timeout_seconds):
            return result("ok", await check())
    except TimeoutError:
        return result("timeout", f"no answer within {timeout_seconds:g} s")
    except EchoError as error:
        return result("failed", error.message)
    except Exception as error:
        # The public answer names the kind only: messages of drivers hold hosts and users.
        log.warning("health.check_failed", check=name, exc_info=error)
        return result("failed", type(error).__name__)


def health_router(checks: Mapping[str, Check], *, timeout_seconds: float = 3.0) -> APIRouter:
    """Return `GET /health` and `GET /health/ready` over the named checks."""
    router = APIRouter(tags=["health"])

    @router.get("/health", summary="Liveness", openapi_extra=anyone("tells nothing but that it answers"))
    async def health() -> Alive:
        return Alive()

    @router.get(
        "/health/ready",
        summary="Readiness",
        response_model=Readiness,
        responses={503: {"model": Readiness}},
        openapi_extra=anyone("tells load balancers whether to send requests here"),
    )
    async def ready() -> Any:
        found = await run_checks(checks, timeout_seconds=timeout_seconds)
        return JSONResponse(found.model_dump(), status_code=200 if found.status == "ready" else 503)

    return router


def metrics_router(*, refresh: Sequence[Callable[[], Awaitable[None]]] = ()) -> APIRouter:
    """Return `GET /metrics`; each `refresh` sets gauges (say from the database) first, and may fail without harm."""
    router = APIRouter(tags=["health"])

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        openapi_extra=anyone("has counts without tenants; keep it inside your network"),
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
    )
    async def read_metrics() -> Response:
        for step in refresh:
            try:
                async with asyncio.timeout(2.0):
                    await step()
            except Exception as error:
                log.warning("metrics.refresh_failed", exc_info=error)
        return Response(metrics.render_metrics(), headers={"Content-Type": CONTENT_TYPE})

    return router
