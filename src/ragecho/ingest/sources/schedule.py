"""Starts runs that are due. Every worker looks; a source's row lock lets one of them start it, once."""

import asyncio

from ragecho.ingest.sources import store
from ragecho.ingest.sources.service import begin
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import OrganizationId, WorkspaceId
from ragecho.platform.database import Database
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

LOOK_SECONDS = 10.0
AT_ONCE = 50


class SourceSchedule:
    """The clock of sources."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                await self.start_due()
            except Exception:
                log.exception("sources.schedule_failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def start_due(self) -> int:
        """Start what is due now; return how many runs this worker started."""
        async with self._database.anonymous() as session:
            due = await store.due_sources(session, limit=AT_ONCE)
        started = 0
        for organization_id, workspace_id, source_id in due:
            caller = Caller.worker(OrganizationId(organization_id), WorkspaceId(workspace_id))
            try:
                async with self._database.transaction(caller) as session:
                    source = await store.lock_due_source(session, caller, source_id)
                    if source is None:
                        continue
                    run = await begin(session, caller, source_id, reason="schedule")
                    if run.id == source.run_id:
                        await store.postpone(session, caller, source_id)
                    started += run.id != source.run_id
            except Exception:
                # One that cannot be started must not keep the others waiting.
                log.exception("source.start_failed", source_id=str(source_id))
        return started
