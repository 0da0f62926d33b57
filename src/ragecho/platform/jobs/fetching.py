"""Which delivery a worker takes next, and when it looks: the queue's first, but none of those who hold all they may."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from procrastinate.connector import BaseConnector
from procrastinate.job_context import JobContext
from procrastinate.jobs import Job as QueueJob
from procrastinate.jobs import Notification
from procrastinate.manager import JobManager
from procrastinate.worker import Worker

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
        self._has_shared_limits = bool(tenant_concurrency or queue_limits)
        self._taken: dict[int, tuple[str, str]] = {}
        self._news = 0
        self._is_passing_over = False

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> QueueJob | None:
        """Return the next delivery, marked as being done, or None."""
        while True:
            known = self._news
            found = await self._fetch(queues, worker_id)
            # What came or was let go while the database looked is not seen by anybody else, who would wait for the next look.
            if found is not None or known == self._news:
                return found

    async def _fetch(self, queues: Iterable[str] | None, worker_id: int) -> QueueJob | None:
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
            self._is_passing_over = bool(full_queues or full_organizations) or self._has_shared_limits
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

    def let_go(self, delivery_id: int | None) -> bool:
        """Note that a delivery's place is free again; return whether something may wait for that."""
        if delivery_id is not None:
            self._taken.pop(delivery_id, None)
        self.note_news()
        return self._is_passing_over

    def note_news(self) -> None:
        """Note that there may be something to fetch that was not there before."""
        self._news += 1


class PromptWorker(Worker):
    """Looks for work again as soon as a place is free that somebody may wait for.

    The library's own looks when something is enqueued and every now and then; it expects that a place is taken by whatever
    waits. Here a place may stay free while deliveries wait, and 10 000 of one organisation were taken in waves, five every
    second.
    """

    def __init__(self, *, manager: FairManager, **options: Any) -> None:
        super().__init__(**options)
        self._manager = manager

    async def _process_job(self, context: JobContext) -> None:
        try:
            await super()._process_job(context)
        finally:
            if self._manager.let_go(context.job.id):
                self._new_job_event.set()

    async def _handle_notification(self, *, channel: str, notification: Notification) -> None:
        self._manager.note_news()
        await super()._handle_notification(channel=channel, notification=notification)
