"""What is over is removed, once an hour, by one worker of many: expired documents, forgotten files, old vectors."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from ragecho.ingest import store, store_maintenance
from ragecho.ingest.resumable import ResumableUploads
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError, NotFound, WorkspaceArchived
from ragecho.kernel.ids import DocumentId, OrganizationId
from ragecho.library import contents, index_check
from ragecho.library.service import delete_document
from ragecho.library.writing import purge_embeddings
from ragecho.platform import audit_log
from ragecho.platform.database import Database
from ragecho.platform.jobs import store_overview
from ragecho.platform.telemetry import get_logger
from ragecho.platform.telemetry.metrics import count_removed
from ragecho.ports.blobs import BlobStore
from ragecho.tenancy.maintenance import all_workspaces

log = get_logger(__name__)

TASK = "hourly"
EVERY_SECONDS = 3600.0
# How often a worker asks whether it is time.
LOOK_SECONDS = 60.0
# Jobs that ended well are looked at for this long.
JOBS_KEPT_DAYS = 30
_BATCH = 200
_JOBS = 5_000


class Maintenance:
    """Goes through all workspaces, each as Echo's own worker."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        uploads: ResumableUploads,
        *,
        retention_days: int = 0,
        sweep_leftovers: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._uploads = uploads
        self._retention_days = retention_days
        self._sweep_leftovers = sweep_leftovers

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            try:
                await self.run_if_due()
            except Exception:
                log.exception("maintenance.failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def run_if_due(self, *, every_seconds: float = EVERY_SECONDS) -> dict[str, int] | None:
        """Do everything if nobody did for `every_seconds`; return how much of what was removed, None when it is not due."""
        async with self._database.anonymous() as session:
            if not await store_maintenance.take(session, TASK, every_seconds=every_seconds):
                return None
        removed: Counter[str] = Counter()
        done_organizations: set[OrganizationId] = set()
        for worker in await all_workspaces(self._database):
            try:
                removed.update(await self._tidy(worker))
                if worker.organization_id not in done_organizations:
                    done_organizations.add(worker.organization_id)
                    removed["embeddings"] += await self._purge_embeddings(worker)
            except WorkspaceArchived:
                continue  # it keeps all that it has until it is restored
            except EchoError as error:
                log.warning("maintenance.workspace_failed", workspace_id=str(worker.workspace_id), code=error.code)
            async with self._database.anonymous() as session:
                await store_maintenance.keep(session, TASK)
        if self._sweep_leftovers is not None:
            removed["leftovers"] = await self._sweep_leftovers()
        async with self._database.anonymous() as session:
            await store_maintenance.finish(session, TASK)
        for what, number in removed.items():
            count_removed(what, number)
        log.info("maintenance.done", **removed)
        return dict(removed)

    async def _tidy(self, worker: Caller) -> dict[str, int]:
        """Remove what is over in one workspace. Raises `WorkspaceArchived`."""
        return {
            "documents": await self._expire_documents(worker),
            "uploads": await self._uploads.remove_expired(worker),
            "idempotency_keys": await self._forget_answers(worker),
            "jobs": await self._forget_jobs(worker),
            "blobs": await self._remove_orphans(worker),
        }

    async def _expire_documents(self, worker: Caller) -> int:
        async with self._database.transaction(worker) as session:
            rules = await store.read_rules(session, worker)
        days = rules["retention_days"] or self._retention_days
        removed = 0
        while days:
            async with self._database.transaction(worker) as session:
                past = await store_maintenance.documents_past(session, worker, days=days, limit=_BATCH)
            for document_id in past:
                removed += await self._expire(worker, document_id, days)
            if len(past) < _BATCH:
                break
        return removed

    async def _expire(self, worker: Caller, document_id: DocumentId, days: int) -> int:
        try:
            async with self._database.transaction(worker) as session:
                digests = await delete_document(worker, session, document_id)
                await audit_log.record(
                    session,
                    worker,
                    "document.expired",
                    audit_log.Target("document", document_id),
                    workspace_id=worker.workspace_id,
                    details={"retention_days": days},
                )
        except NotFound:
            return 0  # somebody was faster
        await contents.remove_unreferenced(self._database, self._blobs, worker, digests)
        return 1

    async def _forget_answers(self, worker: Caller) -> int:
        async with self._database.transaction(worker) as session:
            return await store.forget_answers(session, worker)

    async def _forget_jobs(self, worker: Caller) -> int:
        removed = 0
        while True:
            async with self._database.transaction(worker) as session:
                done = await store_overview.forget_ended(session, worker, days=JOBS_KEPT_DAYS, limit=_JOBS)
            removed += done
            if done < _JOBS:
                return removed

    async def _remove_orphans(self, worker: Caller) -> int:
        orphans = await index_check.orphaned_blobs(self._database, self._blobs, worker)
        return await contents.remove_unreferenced(self._database, self._blobs, worker, orphans)

    async def _purge_embeddings(self, worker: Caller) -> int:
        removed = 0
        while True:
            async with self._database.transaction(worker) as session:
                done = await purge_embeddings(session, worker)
            removed += done
            if not done:
                return removed
