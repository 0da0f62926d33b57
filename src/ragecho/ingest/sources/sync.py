"""Keeps the documents of a source in step with it: list, fetch what is new or changed, remove what is gone.

A run goes through its items one by one; each is written in a transaction of its own, so a run that is interrupted goes on
where it was. After `SLICE_SECONDS` it hands over to a new job: a large site does not keep a worker from other tenants.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ragecho.ingest.sources import store, store_items
from ragecho.ingest.sources.holding import Holding, Visit
from ragecho.ingest.sources.model import SYNC_JOB, Run, StoredItem, StoredSource
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError, RateLimited, Unavailable
from ragecho.kernel.ids import JobId
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs.model import Job
from ragecho.platform.telemetry import get_logger
from ragecho.ports.source import Item, Listing, Source

log = get_logger(__name__)

SLICE_SECONDS = 30.0
# Larger than what is taken several at a time: a run has its worker to itself.
JOB_BYTES = jobs.SMALL_BYTES + 1
ITEM_ATTEMPTS = 3
REMOVED_AT_ONCE = 20
LISTED_AT_ONCE = 2000

Connect = Callable[[StoredSource], Source]


class SourceSync:
    """The handler of jobs that compare a source with what is held of it."""

    def __init__(
        self, database: Database, holding: Holding, connect: Connect, *, slice_seconds: float = SLICE_SECONDS
    ) -> None:
        self._database = database
        self._holding = holding
        self._connect = connect
        self._slice_seconds = slice_seconds

    async def run(self, caller: Caller, batch: Sequence[Job]) -> Mapping[JobId, Exception]:
        """Carry on the run of each job; return why some failed."""
        failures: dict[JobId, Exception] = {}
        for job in batch:
            try:
                await self._carry_on(caller, job)
            except Exception as error:  # noqa: BLE001 - one source's failure, told to the runner with its job
                failures[job.id] = error
        return failures

    async def give_up(self, session: Session, caller: Caller, job: Job, error: Mapping[str, Any]) -> None:
        """Write into run and source why a run failed; part of the transaction that ends its job."""
        run = await store.run_of_job(session, caller, job.id)
        if run is not None:
            await store.finish_run(session, caller, run, status="failed", error=error)

    async def _carry_on(self, caller: Caller, job: Job) -> None:
        async with self._database.transaction(caller) as session:
            run = await store.run_of_job(session, caller, job.id)
            source = await store.get_source(session, caller, run.source_id) if run is not None else None
            if run is None or source is None or not run.is_open:
                await jobs.succeed(session, caller, [job.id])
                return
            await store.begin_run(session, caller, run.id)
        until = time.monotonic() + self._slice_seconds
        if source.is_removing:
            is_over = await self._remove(caller, source, run, unseen=True, until=until)
        else:
            is_over = await self._compare(caller, source, run, until)
        await self._end(caller, job, source, run, is_over=is_over)

    async def _compare(self, caller: Caller, source: StoredSource, run: Run, until: float) -> bool:
        connection = self._connect(source)
        try:
            if run.status in ("queued", "listing"):
                listing = await connection.list_changes(source.cursor)
                await self._note(caller, source, run, listing, connection.max_items)
            while True:
                async with self._database.transaction(caller) as session:
                    items = await store_items.waiting(session, caller, source.id, run.id, limit=connection.at_once)
                if not items:
                    break
                if time.monotonic() > until:
                    return False
                visit = Visit(caller, source, run, connection.max_items)
                async with asyncio.TaskGroup() as group:
                    for item in items:
                        group.create_task(self._take(visit, connection, item))
        finally:
            await connection.close()
        return await self._clean_up(caller, source, run, until)

    async def _note(self, caller: Caller, source: StoredSource, run: Run, listing: Listing, max_items: int) -> None:
        """Store a listing, its items in the order they came."""
        items = [item for item in listing.items if len(item.key.encode()) <= store_items.MAX_KEY]
        is_complete = listing.is_complete and len(items) == len(listing.items) <= max_items
        for start in range(0, min(len(items), max_items), LISTED_AT_ONCE):
            part = items[start : min(start + LISTED_AT_ONCE, max_items)]
            async with self._database.transaction(caller) as session:
                seen, unchanged = await store_items.see(session, caller, source.id, run.id, part)
                await store.count(session, caller, run.id, listed=seen, unchanged=unchanged)
        async with self._database.transaction(caller) as session:
            await store_items.mark_gone(session, caller, source.id, run.id, listing.gone)
            await store.listed_run(session, caller, run.id, is_complete=is_complete, cursor=listing.cursor)

    async def _take(self, visit: Visit, connection: Source, item: StoredItem) -> None:
        """Fetch an item and write what came of it. What fails fails alone, after some attempts."""
        known = Item(item.key, item.revision, item.depth, item.etag, item.last_modified)
        if item.document_id is None and item.fetched_at is None:
            known = replace(known, etag=None, last_modified=None)
        try:
            await self._holding.take(visit, item, await connection.fetch(known))
        except EchoError as error:
            may_pass = isinstance(error, Unavailable | RateLimited) and item.attempts + 1 < ITEM_ATTEMPTS
            caller, run_id = visit.caller, visit.run.id
            async with self._database.transaction(caller) as session:
                await store_items.put_item(
                    session,
                    caller,
                    visit.source.id,
                    run_id,
                    item.key,
                    status="waiting" if may_pass else "failed",
                    attempts=item.attempts + 1,
                    error={"code": error.code, "message": error.message},
                )
                if not may_pass:
                    await store.count(session, caller, run_id, failed=1)
                    # What it led to when it was there is not gone because of that.
                    await self._holding.follow(session, visit, item, item.links)

    async def _clean_up(self, caller: Caller, source: StoredSource, run: Run, until: float) -> bool:
        async with self._database.transaction(caller) as session:
            now = await store.get_run(session, caller, run.id)
        if now is None:
            return True
        is_trusted = now.is_complete and not _found_nothing(now)
        if not await self._remove(caller, source, run, unseen=is_trusted, until=until):
            return False
        while True:
            async with self._database.transaction(caller) as session:
                items = await store_items.to_relabel(
                    session, caller, source.id, source.labels_version, limit=REMOVED_AT_ONCE
                )
                for item in items:
                    await self._holding.relabel(session, caller, source, item)
            if not items:
                return True
            if time.monotonic() > until:
                return False

    async def _remove(self, caller: Caller, source: StoredSource, run: Run, *, unseen: bool, until: float) -> bool:
        """Remove what is gone; return whether all of it is."""
        while True:
            async with self._database.transaction(caller) as session:
                items = await store_items.to_remove(
                    session, caller, source.id, run.id, unseen=unseen, limit=REMOVED_AT_ONCE
                )
            for item in items:
                await self._holding.remove(Visit(caller, source, run, 0), item)
            if not items:
                return True
            if time.monotonic() > until:
                return False

    async def _end(self, caller: Caller, job: Job, source: StoredSource, run: Run, *, is_over: bool) -> None:
        async with self._database.transaction(caller) as session:
            if not await jobs.still_open(session, caller, job.id):
                await store.finish_run(session, caller, run, status="cancelled")
                return
            await jobs.succeed(session, caller, [job.id])
            if not is_over:
                next_job = await jobs.enqueue(session, caller, kind=SYNC_JOB, size=JOB_BYTES)
                await store.carry_on(session, caller, run.id, next_job)
                return
            if source.is_removing:
                await store.delete_source(session, caller, source.id)
                return
            now = await store.get_run(session, caller, run.id)
            if now is None:
                return
            if _found_nothing(now):
                failed, _ = await store_items.list_items(session, caller, source.id, status="failed", limit=1, offset=0)
                await store.finish_run(session, caller, now, status="failed", error=failed[0].error if failed else None)
                return
            await store.finish_run(session, caller, now, status="partial" if now.failed else "succeeded")
        log.info("source.synced", source_id=str(source.id), kind=source.kind, added=now.added, changed=now.changed)


def _found_nothing(run: Run) -> bool:
    """Whether everything failed: then the source is at fault, and nothing is concluded from what it did not show."""
    return run.failed > 0 and run.added + run.changed + run.unchanged + run.skipped == 0
