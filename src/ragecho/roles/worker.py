"""The worker: takes jobs from the database and does them. Run as many as there are machines."""

import asyncio
import logging
import os
import signal

from ragecho.ingest.service import INGEST_JOB
from ragecho.ingest.settings import IngestSettings
from ragecho.platform.jobs.runner import JobRunner
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import configure_telemetry, get_logger, shutdown_tracing
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
        runner = JobRunner(
            database,
            {INGEST_JOB: flow.run, **sources.handlers},
            give_up=sources.give_up_or(flow.give_up),
            concurrency=settings_of_ingest.worker_concurrency,
            batch=settings_of_ingest.worker_batch,
            tenant_concurrency=settings_of_ingest.tenant_concurrency,
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
            async with sources.on_schedule():
                await work
        except asyncio.CancelledError:
            log.info("worker.stopped")
        finally:
            tidying.cancel()


def _announce() -> None:
    log.info("worker.ready", pid=os.getpid())
