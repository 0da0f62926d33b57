"""What a worker shows of itself over HTTP: its metrics, and whether it lives and takes jobs."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from ragecho import __version__
from ragecho.kernel.errors import ConfigurationError
from ragecho.platform.database import Database
from ragecho.platform.http import create_app
from ragecho.platform.http.health import Check
from ragecho.platform.jobs.gauges import queue_gauges
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import get_logger, uvicorn_log_options

log = get_logger(__name__)


class _Beside(uvicorn.Server):
    """A server beside the work: signals are the worker's own business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers as they are."""
        yield


@asynccontextmanager
async def showing(
    settings: Settings, database: Database, checks: Mapping[str, Check], *, host: str, port: int
) -> AsyncIterator[None]:
    """Serve `/metrics`, `/health` and `/health/ready` while the block runs. Raises `ConfigurationError` for a taken port."""
    app = create_app(
        title="Echo worker",
        version=__version__,
        settings=settings,
        checks=checks,
        refresh_metrics=[queue_gauges(database)],
        has_docs=False,
    )
    listener = _listen(host, port)
    config = uvicorn.Config(
        app, lifespan="off", server_header=False, timeout_graceful_shutdown=2, **uvicorn_log_options()
    )
    server = _Beside(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    log.info("worker.metrics", host=host, port=port)
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([serving], timeout=3)
        serving.cancel()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another with RAGECHO_METRICS_PORT."
        ) from error
