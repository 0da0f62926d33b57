"""HTTP shapes of uploads and jobs."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ragecho.ingest.model import Accepted, AcceptedUpload
from ragecho.platform.jobs.model import Batch, Job, Priority


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
    """The files of one upload, in order, and the batch that their jobs can be followed by."""

    documents: list[AcceptedDocument]
    batch: UUID | None = Field(None, description="What `GET /api/v1/jobs?batch=` follows.")

    @classmethod
    def of(cls, upload: AcceptedUpload) -> Self:
        """Return the shape of an upload."""
        return cls(documents=[AcceptedDocument.of(one) for one in upload.documents], batch=upload.batch_id)


class ReindexIn(BaseModel):
    """How to process a document again."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority = Priority.NORMAL
    password: str | None = Field(None, max_length=1024, description="Opens an encrypted file.")


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
    priority: Priority
    batch: UUID | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the shape of a job."""
        fields = {name: getattr(job, name) for name in cls.model_fields if name not in ("priority", "batch")}
        return cls.model_validate({**fields, "priority": tuple(Priority)[job.priority + 1], "batch": job.batch_id})


class BatchOut(BaseModel):
    """How far one upload is: how many of its jobs are in each status, and the share done, 0 to 1."""

    id: UUID
    total: int
    statuses: dict[str, int]
    progress: float
    is_over: bool

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """Return the shape of a batch."""
        return cls(
            id=batch.id, total=batch.total, statuses=batch.statuses, progress=batch.progress, is_over=batch.is_over
        )


class RetriedJobs(BaseModel):
    """How many dead jobs are tried again."""

    retried: int
