"""What uploads are made of."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ragecho.kernel.caller import Access
from ragecho.kernel.ids import DocumentId, JobId
from ragecho.library.model import NamedReaders
from ragecho.platform.jobs.model import Priority


@dataclass(frozen=True, slots=True)
class Labels:
    """What an uploader says about a document."""

    access: Access = Access.WORKSPACE
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    named: NamedReaders = field(default_factory=NamedReaders)


@dataclass(frozen=True, slots=True)
class Handling:
    """How an upload is to be processed. `password` opens its files; requests with the same `batch_id` are one upload."""

    priority: Priority = Priority.NORMAL
    password: str | None = field(default=None, repr=False)
    batch_id: UUID | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """One file of an upload. `content` yields its bytes, from the start at every call."""

    filename: str
    content_type: str | None
    content: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one uploaded file. `duplicate_of` names the document that already holds these bytes."""

    id: DocumentId
    filename: str
    status: str
    job_id: JobId | None
    duplicate_of: DocumentId | None


@dataclass(frozen=True, slots=True)
class AcceptedUpload:
    """The files of one upload, in order, and the batch that their jobs belong to."""

    batch_id: UUID
    documents: tuple[Accepted, ...]
