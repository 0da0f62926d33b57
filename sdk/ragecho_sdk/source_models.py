"""Sources as the server tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ragecho_sdk.models import Failure, Model


@dataclass(frozen=True)
class SourceRun(Model):
    """One comparison of a source with what is held of it."""

    id: str
    status: str
    reason: str = ""
    listed: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    failed: int = 0
    error: Failure | None = None
    created_at: str | None = None
    finished_at: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.status in ("queued", "listing", "fetching")


@dataclass(frozen=True)
class Source(Model):
    """A place that documents come from, and how it is doing."""

    id: str
    kind: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    has_secrets: bool = False
    interval_seconds: int | None = None
    paused: bool = False
    documents: int = 0
    failures: int = 0
    error: Failure | None = None
    run: SourceRun | None = None
    next_run_at: str | None = None
    last_success_at: str | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class SourceItem(Model):
    """One thing in a source."""

    key: str
    status: str
    name: str | None = None
    document_id: str | None = None
    error: Failure | None = None
    fetched_at: str | None = None


SourceRun._readers = {"error": Failure.read}
Source._readers = {"error": Failure.read, "run": SourceRun.read}
SourceItem._readers = {"error": Failure.read}
