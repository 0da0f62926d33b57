"""Which delivery a worker takes next: the queue's first, but none of those who hold as many places as they may."""

from collections import Counter
from collections.abc import Iterable, Mapping

import orjson
from procrastinate.connector import BaseConnector
from procrastinate.jobs import Job as QueueJob
from procrastinate.manager import JobManager

FETCH = """select * from ragecho_fetch_job(%(queues)s::varchar[], %(worker_id)s, %(most)s, %(queue_limits)s::jsonb,
    %(full_queues)s::text[], %(full_organizations)s::text[])"""


class FairManager(JobManager):
    """Fetches deliveries for a worker with `slots` places, and knows which of them are taken.

    Of one organisation at most `tenant_concurrency` deliveries are in the works over all workers (0: any number), and of a queue
    as many as `queue_limits` says. Of the worker's own places an organisation never takes the last one, so that its long work
    makes nobody else wait for its end, and a queue takes at most as many as `own_queue_limits` says.
    """

    def __init__(
        self,
        connector: BaseConnector,
        *,
        slots: int,
        tenant_concurrency: int = 0,
        queue_limits: Mapping[str, int] | None = None,
        own_queue_limits: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(connector)
        self._slots = slots
        self._tenant_concurrency = tenant_concurrency
        self._queue_limits = orjson.dumps(dict(queue_limits or {})).decode()
        self._own_queue_limits = dict(own_queue_limits or {})
        self._taken: dict[int, tuple[str, str]] = {}

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> QueueJob | None:
        """Return the next delivery, marked as being done, or None."""
        full_queues, full_organizations = self.full()
        row = await self.connector.execute_query_one_async(
            query=FETCH,
            queues=list(queues) if queues else None,
            worker_id=worker_id,
            most=self._tenant_concurrency,
            queue_limits=self._queue_limits,
            full_queues=full_queues,
            full_organizations=full_organizations,
        )
        if row["id"] is None:
            return None
        job = QueueJob.from_row(row)
        self._taken[row["id"]] = (row["queue_name"], str(row["args"].get("organization_id")))
        return job

    def full(self) -> tuple[list[str], list[str]]:
        """Return the queues and organisations that this worker takes no more of now."""
        by_queue = Counter(queue for queue, _ in self._taken.values())
        by_organization = Counter(organization for _, organization in self._taken.values())
        queues = [queue for queue, most in self._own_queue_limits.items() if by_queue[queue] >= most]
        if self._slots == 1:
            return queues, []
        return queues, [one for one, places in by_organization.items() if places >= self._slots - 1]

    def let_go(self, delivery_id: int | None) -> None:
        """Note that a delivery's place is free again."""
        if delivery_id is not None:
            self._taken.pop(delivery_id, None)
