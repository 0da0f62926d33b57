"""What sources are made of."""

from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

from ragecho.ingest.model import Labels
from ragecho.kernel.caller import Access
from ragecho.kernel.ids import DocumentId, GroupId, JobId, OrganizationId, UserId, WorkspaceId
from ragecho.library.model import NamedReaders

SYNC_JOB = "sync_source"
RUNNING = ("queued", "listing", "fetching")


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for items whose key matches `match` (as file names do: `*`, `?`, `[…]`); None leaves it as the source has it."""

    match: str
    access: Access | None = None
    tags: tuple[str, ...] = ()
    named: NamedReaders | None = None


@dataclass(frozen=True, slots=True)
class SourceLabels:
    """What a source says about its documents: the same for all, but for those that a rule matches; the first one counts."""

    labels: Labels = field(default_factory=Labels)
    rules: tuple[Rule, ...] = ()

    def of(self, key: str) -> Labels:
        """Return the labels of an item."""
        rule = next((rule for rule in self.rules if fnmatchcase(key, rule.match)), None)
        if rule is None:
            return self.labels
        tags = tuple(dict.fromkeys((*self.labels.tags, *rule.tags)))
        named = self.labels.named if rule.named is None else rule.named
        return Labels(rule.access or self.labels.access, tags, self.labels.metadata, named)

    def as_json(self) -> dict[str, Any]:
        """Return the form in the database."""
        return {
            "access": str(self.labels.access),
            "tags": list(self.labels.tags),
            "metadata": self.labels.metadata,
            "readers": _readers_json(self.labels.named),
            "rules": [
                {
                    "match": rule.match,
                    "access": str(rule.access) if rule.access else None,
                    "tags": list(rule.tags),
                    "readers": None if rule.named is None else _readers_json(rule.named),
                }
                for rule in self.rules
            ],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "SourceLabels":
        """Return what `as_json` was made of."""
        labels = Labels(
            Access(stored["access"]), tuple(stored["tags"]), stored["metadata"], _readers(stored["readers"])
        )
        rules = tuple(
            Rule(
                rule["match"],
                Access(rule["access"]) if rule["access"] else None,
                tuple(rule["tags"]),
                None if rule["readers"] is None else _readers(rule["readers"]),
            )
            for rule in stored["rules"]
        )
        return cls(labels, rules)


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A source as it was set up, and how it is doing."""

    id: UUID
    organization_id: OrganizationId
    workspace_id: WorkspaceId
    kind: str
    name: str
    config: dict[str, Any]
    sealed: str | None
    labels: dict[str, Any]
    labels_version: int
    owner_id: UserId | None
    made_by: str | None
    interval_seconds: int | None
    is_paused: bool
    is_removing: bool
    cursor: dict[str, Any] | None
    failures: int
    error: dict[str, Any] | None
    run_id: UUID | None
    next_run_at: datetime | None
    last_success_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """One comparison of a source with what is held of it."""

    id: UUID
    source_id: UUID
    job_id: JobId
    reason: str
    status: str
    is_complete: bool
    cursor: dict[str, Any] | None
    listed: int
    added: int
    changed: int
    unchanged: int
    removed: int
    skipped: int
    failed: int
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.status in RUNNING


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One thing in a source, as it is known."""

    key: str
    name: str | None
    status: str
    run_id: UUID
    depth: int
    attempts: int
    revision: str | None
    etag: str | None
    last_modified: str | None
    sha256: str | None
    links: tuple[str, ...]
    document_id: DocumentId | None
    error: dict[str, Any] | None
    fetched_at: datetime | None


def _readers_json(named: NamedReaders) -> dict[str, list[str]]:
    return {"users": [str(one) for one in named.users], "groups": [str(one) for one in named.groups]}


def _readers(stored: dict[str, list[str]]) -> NamedReaders:
    users = tuple(UserId(UUID(one)) for one in stored["users"])
    return NamedReaders(users, tuple(GroupId(UUID(one)) for one in stored["groups"]))
