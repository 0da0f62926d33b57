"""What a job is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ragecho.kernel.ids import DocumentId, JobId, OrganizationId, VersionId, WorkspaceId

OPEN_STATUSES = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of background work. `error` holds `code`, `reason` and `message`; `progress` runs from 0 to 1.

    `queue_job_id` is its delivery in the queue.
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


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the queue carries: ids only."""

    job_id: UUID
    organization_id: UUID
    workspace_id: UUID
