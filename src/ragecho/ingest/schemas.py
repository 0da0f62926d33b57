"""HTTP shapes of uploads and jobs."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from ragecho.ingest.service import Accepted
from ragecho.platform.jobs.model import Job


class AcceptedDocument(BaseModel):
    """What became of one uploaded file."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    filename: str
    status: str
    job_id: UUID | None
    duplicate_of: UUID | None

    @classmethod
    def of(cls, accepted: Accepted) -> Self:
        """Return the shape of an accepted file."""
        return cls.model_validate(accepted)


class AcceptedDocuments(BaseModel):
    """The files of one upload, in order."""

    documents: list[AcceptedDocument]


class QueuedDocuments(BaseModel):
    """How many documents are processed again."""

    queued: int


class JobOut(BaseModel):
    """A piece of background work."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str
    document_id: UUID | None
    status: str
    stage: str | None
    progress: float
    attempts: int
    max_attempts: int
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the shape of a job."""
        return cls.model_validate(job)
