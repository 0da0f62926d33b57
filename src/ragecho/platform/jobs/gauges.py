"""The queue's gauges, set from the database: whoever serves `/metrics` shows all workers' queue."""

from collections.abc import Awaitable, Callable

from ragecho.platform.database import Database
from ragecho.platform.jobs.store_overview import queue_depths
from ragecho.platform.telemetry.metrics import set_jobs_now, set_oldest_deliveries


def queue_gauges(database: Database) -> Callable[[], Awaitable[None]]:
    """Return what sets depth and age of each queue and status. Raises what the database raises."""

    async def refresh() -> None:
        async with database.anonymous() as session:
            depths = await queue_depths(session)
        set_jobs_now({(one.queue, one.status): one.jobs for one in depths})
        set_oldest_deliveries({(one.queue, one.status): one.oldest_seconds for one in depths})

    return refresh
