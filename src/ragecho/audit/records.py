"""The record of an answer: everything that is needed to explain it, and to ask again under the same conditions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ragecho.kernel.ids import AnswerId, ApiKeyId, ChunkId, DocumentId, OrganizationId, UserId, VersionId, WorkspaceId
from ragecho.kernel.passages import Citation, Usage


@dataclass(frozen=True, slots=True)
class RetrievedPassage:
    """A passage that was considered: which words it was (by hash) and what each signal said."""

    chunk_id: ChunkId
    document_id: DocumentId
    version_id: VersionId
    content_sha256: str
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One answered or refused question. `settings` are the values the flow ran with; `timings_ms` are per step.

    `queries` are what was searched: `text`, and the `way` in which a model came to it. `is_cached`: the answer had been given
    before; its sources were read again for this one.
    """

    id: AnswerId
    created_at: datetime
    organization_id: OrganizationId
    workspace_id: WorkspaceId
    user_id: UserId | None
    api_key_id: ApiKeyId | None
    principals: tuple[str, ...]
    question: str
    prompt_version: str
    model: str
    settings: Mapping[str, Any]
    retrieved: tuple[RetrievedPassage, ...]
    answer: str
    citations: tuple[Citation, ...]
    unsupported: tuple[str, ...]
    is_refused: bool
    refusal_reason: str | None
    confidence: float
    usage: Usage
    timings_ms: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    trace_id: str | None = None
    queries: tuple[Mapping[str, str | None], ...] = ()
    is_cached: bool = False
