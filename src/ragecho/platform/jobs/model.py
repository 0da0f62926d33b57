"""What a job is."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from ragecho.kernel.ids import DocumentId, JobId, OrganizationId, VersionId, WorkspaceId

OPEN_STATUSES = ("queued", "running")

# Ordinary work; and the recognition of text in scans, which takes minutes where other documents take seconds. What is in the
# second one is done one job at a time, and has its own limits.
INGEST_QUEUE = "ingest"
OCR_QUEUE = "ocr"


class Priority(StrEnum):
    """Which of a workspace's jobs come first. Other workspaces wait neither longer nor shorter for it."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """The number that the queue compares."""
        return tuple(Priority).index(self) - 1


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of background work. `error` holds `code`, `reason` and `message`; `progress` runs from 0 to 1.

    `queue_job_id` is its delivery in `queue`. `priority` (-1, 0 or 1) orders the jobs of one workspace among themselves,
    `batch_id` is the upload it came with, and `sealed` a password of its file, encrypted.
    """

    id: JobId
    organization_id: OrganizationId
    workspace_id: WorkspaceId
    kind: str
    document_id: DocumentId | None
    version_id: VersionId | None
    status: str
    stage: str | None
    progress: float
    attempts: int
    max_attempts: int
    error: dict[str, Any] | None
    trace: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_job_id: int | None = None
    priority: int = 0
    batch_id: UUID | None = None
    sealed: str | None = field(default=None, repr=False)
    queue: str = INGEST_QUEUE


@dataclass(frozen=True, slots=True)
class Batch:
    """How far the jobs of one upload are: how many of each status, and the share done, 0 to 1."""

    id: UUID
    statuses: dict[str, int]
    progress: float

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return sum(self.statuses.values())

    @property
    def is_over(self) -> bool:
        """Whether none is open any more."""
        return not any(self.statuses.get(status) for status in OPEN_STATUSES)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many deliveries stand in one status of one queue, and how long the oldest has been there."""

    queue: str
    status: str
    jobs: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the queue carries: ids only."""

    job_id: UUID
    organization_id: UUID
    workspace_id: UUID
