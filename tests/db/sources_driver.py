"""Sources as people and workers use them, over the tests' database, without parsing what is taken in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text
from tests.db.conftest import Tenant

from ragecho.engines.blobs import FileBlobStore
from ragecho.engines.sources.build import FetchLimits
from ragecho.identity.vault import Vault
from ragecho.ingest.sources import store
from ragecho.ingest.sources.holding import Holding
from ragecho.ingest.sources.intake import Intake
from ragecho.ingest.sources.model import Run, SourceLabels, StoredItem
from ragecho.ingest.sources.service import SourceChange, Sources
from ragecho.ingest.sources.sync import SLICE_SECONDS, SourceSync
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError
from ragecho.library.model import Document, DocumentFilter
from ragecho.library.writing import list_documents
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs
from ragecho.wiring import VaultSealer, connector

LIMITS = FetchLimits(max_bytes=5_000_000, seconds=20.0, user_agent="ragecho", allow_private=True)


@dataclass
class Driver:
    """One tenant's sources and a worker for them."""

    database: Database
    tenant: Tenant
    folder: Path
    slice_seconds: float = SLICE_SECONDS
    blobs: FileBlobStore = field(init=False)
    sources: Sources = field(init=False)
    sync: SourceSync = field(init=False)

    def __post_init__(self) -> None:
        sealer = VaultSealer(lambda: Vault(b"a master secret for tests, long enough"))
        self.blobs = FileBlobStore(self.folder)
        self.sources = Sources(self.database, sealer)
        holding = Holding(self.database, self.blobs, Intake(), max_bytes=LIMITS.max_bytes)
        self.sync = SourceSync(self.database, holding, connector(sealer, LIMITS), slice_seconds=self.slice_seconds)

    async def add(
        self,
        kind: str,
        config: Mapping[str, Any],
        *,
        secrets: Mapping[str, str] | None = None,
        labels: SourceLabels | None = None,
        caller: Caller | None = None,
        interval: int | None = None,
    ) -> UUID:
        """Set up a source; its first run is queued."""
        change = SourceChange("A source", config, secrets, labels, interval)
        return (await self.sources.add(caller or self.tenant.member(), kind, change)).source.id

    async def run(self, source_id: UUID, *, slices: int = 50) -> Run:
        """Start a run, or take the queued one, and carry it to its end as workers do."""
        run = await self.sources.sync(self.tenant.member(), source_id)
        return await self.carry_on(run.id, slices=slices)

    async def carry_on(self, run_id: UUID, *, slices: int = 50) -> Run:
        worker = self.tenant.worker()
        for _ in range(slices):
            run = await self.run_of(run_id)
            if run is None or not run.is_open:
                break
            async with self.database.transaction(worker) as session:
                claimed = await jobs.claim(session, worker, run.job_id)
            failures = await self.sync.run(worker, claimed)
            for job in claimed:
                if job.id in failures:
                    await self._end(worker, job, failures[job.id])
        run = await self.run_of(run_id)
        assert run is not None
        return run

    async def _end(self, worker: Caller, job: Any, error: Exception) -> None:
        if not isinstance(error, EchoError):
            raise error
        details = {"code": error.code, "message": error.message}
        async with self.database.transaction(worker) as session:
            await jobs.finish(session, worker, job.id, status="failed", error=details)
            await self.sync.give_up(session, worker, job, details)

    async def run_of(self, run_id: UUID) -> Run | None:
        worker = self.tenant.worker()
        async with self.database.transaction(worker) as session:
            return await store.get_run(session, worker, run_id)

    async def documents(self, caller: Caller | None = None) -> dict[str, Document]:
        """Return the documents that a caller (default: Echo itself) sees, by their names."""
        who = caller or self.tenant.worker()
        async with self.database.transaction(who) as session:
            found, _ = await list_documents(session, who, DocumentFilter(), limit=200, offset=0)
        return {document.filename: document for document in found}

    async def items(self, source_id: UUID, status: str | None = None) -> dict[str, StoredItem]:
        found, _ = await self.sources.items(self.tenant.member(), source_id, status=status, limit=200, offset=0)
        return {item.key: item for item in found}

    async def content(self, document: Document) -> bytes:
        """Return the bytes of the newest version."""
        worker = self.tenant.worker()
        async with self.database.transaction(worker) as session:
            found = await session.execute(
                text(
                    "select sha256 from document_versions where workspace_id = :workspace and document_id = :id"
                    " order by number desc limit 1"
                ),
                {"workspace": worker.workspace_id, "id": document.id},
            )
            sha256 = str(found.scalar_one())
        return b"".join([piece async for piece in self.blobs.open(worker.workspace_id, sha256)])


def counts(run: Run) -> dict[str, int]:
    """Return a run's counts without zeroes."""
    names = ("added", "changed", "unchanged", "removed", "skipped", "failed")
    return {name: getattr(run, name) for name in names if getattr(run, name)}
