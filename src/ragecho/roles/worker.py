"""The worker: takes jobs from the database and does them. Run as many as there are machines."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragecho.ingest.reindex import REINDEX_JOB
from ragecho.ingest.reindex_work import ReindexWork
from ragecho.ingest.service import INGEST_JOB
from ragecho.ingest.settings import IngestSettings
from ragecho.platform.database import Database
from ragecho.platform.jobs.model import OCR_QUEUE
from ragecho.platform.jobs.runner import JobRunner
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import configure_telemetry, get_logger, shutdown_tracing
from ragecho.platform.telemetry.settings import MetricsSettings
from ragecho.wiring import build_maintenance, ingest_flow, source_work

log = get_logger(__name__)

# Longer than a running job is waited for, shorter than the supervisor waits before it kills.
STOP_SECONDS = 10.0


def run(settings: Settings, queues: tuple[str, ...] | None = None) -> int:
    """Work until told to stop (SIGTERM, SIGINT); return the exit code. A lost database ends it with 1, to be restarted."""
    configure_telemetry(settings, role="worker")
    # Its lines about each delivery say again what our own say about each job.
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(settings, queues))
    except Exception:
        log.exception("worker.failed")
        return 1
    finally:
        shutdown_tracing()
    return 0


async def _run(settings: Settings, queues: tuple[str, ...] | None) -> None:
    loop = asyncio.get_running_loop()
    settings_of_ingest = IngestSettings()
    async with ingest_flow(settings) as (database, flow), source_work(settings, database) as sources:
        reindexing = ReindexWork(database, flow.pieces, flow.parse_again)
        runner = JobRunner(
            database,
            {INGEST_JOB: flow.run, REINDEX_JOB: reindexing.run, **sources.handlers},
            give_up=sources.give_up_or(reindexing.give_up_or(flow.give_up)),
            concurrency=settings_of_ingest.worker_concurrency,
            batch=settings_of_ingest.worker_batch,
            tenant_concurrency=settings_of_ingest.tenant_concurrency,
            queue_limits={OCR_QUEUE: settings_of_ingest.ocr_concurrency} if settings_of_ingest.ocr_concurrency else {},
            own_queue_limits={OCR_QUEUE: settings_of_ingest.own_ocr_concurrency()},
        )
        work = asyncio.create_task(runner.run(queues=queues, on_ready=_announce))

        def stop() -> None:
            work.cancel()
            # With the database gone, an orderly end would wait for it. What is left undone is handed out again anyway.
            loop.call_later(STOP_SECONDS, os._exit, 1)

        tidying = asyncio.create_task(build_maintenance(settings, database).run())

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            async with sources.on_schedule(), _showing(settings, database, runner):
                await work
        except asyncio.CancelledError:
            log.info("worker.stopped")
        finally:
            tidying.cancel()


@asynccontextmanager
async def _showing(settings: Settings, database: Database, runner: JobRunner) -> AsyncIterator[None]:
    """Show metrics and health on the configured port while the block runs; none without one. Raises `ConfigurationError`."""
    wanted = MetricsSettings()
    if not wanted.port:
        yield
        return
    # Only then: a worker that shows nothing needs no HTTP framework in its memory.
    from ragecho.roles.worker_probe import showing

    checks = {"database": database.ping, "queue": runner.check}
    async with showing(settings, database, checks, host=wanted.host or settings.host, port=wanted.port):
        yield


def _announce() -> None:
    log.info("worker.ready", pid=os.getpid())
