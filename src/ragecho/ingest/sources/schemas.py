"""HTTP shapes of documents from elsewhere."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

from ragecho.ingest.model import Labels
from ragecho.ingest.sources.model import Rule, Run, SourceLabels, StoredItem
from ragecho.ingest.sources.service import SourceChange, SourceState
from ragecho.kernel.caller import Access
from ragecho.library.schemas import ReadersIn, Tag

MIN_INTERVAL = 60


class UrlIn(BaseModel):
    """A page to take in."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)] = Field(
        description="An http or https address on the public internet.", examples=["https://example.org/handbook"]
    )
    tags: list[Tag] = Field(default_factory=list, max_length=50)
    access: Access = Access.WORKSPACE
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=100)
    readers: ReadersIn | None = Field(None, description="People and groups who may read it besides.")

    def to_labels(self) -> Labels:
        """Return what the uploader says about the document."""
        named = (self.readers or ReadersIn()).to_named()
        return Labels(self.access, tuple(self.tags), self.metadata, named)


class RuleIn(BaseModel):
    """What holds for items whose name in the source matches; the first rule that does counts."""

    model_config = ConfigDict(extra="forbid")

    match: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(
        description="As for file names: `*`, `?`, `[…]`.", examples=["hr/*"]
    )
    access: Access | None = None
    tags: list[Tag] = Field(default_factory=list, max_length=50, description="Besides the source's own.")
    readers: ReadersIn | None = None


class LabelsIn(BaseModel):
    """What the documents of a source carry, and who may read them."""

    model_config = ConfigDict(extra="forbid")

    access: Access = Access.WORKSPACE
    tags: list[Tag] = Field(default_factory=list, max_length=50)
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=100)
    readers: ReadersIn = Field(default_factory=ReadersIn)
    rules: list[RuleIn] = Field(default_factory=list, max_length=100)

    def to_labels(self) -> SourceLabels:
        """Return what the service understands."""
        rules = tuple(
            Rule(rule.match, rule.access, tuple(rule.tags), rule.readers.to_named() if rule.readers else None)
            for rule in self.rules
        )
        return SourceLabels(Labels(self.access, tuple(self.tags), self.metadata, self.readers.to_named()), rules)


Kind = Literal["url", "sitemap", "crawl", "feed", "s3", "git", "imap"]
Secrets = dict[Annotated[str, StringConstraints(max_length=40)], SecretStr]
# A minute at least, a year at most; 0 ends the schedule.
Interval = Annotated[int, Field(ge=0, le=366 * 86_400)]


class SourceIn(BaseModel):
    """A source to set up."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind = Field(examples=["url"])
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    config: dict[str, Any] = Field(
        description="As its kind needs it; see the guide 'Documents from elsewhere'.",
        examples=[{"url": "https://example.org/handbook"}],
    )
    secrets: Secrets = Field(default_factory=dict, description="Passwords and keys; stored encrypted, never shown.")
    labels: LabelsIn = Field(default_factory=LabelsIn)
    interval_seconds: Interval | None = Field(None, description="How often it is looked at; none: only when asked.")
    paused: bool = False

    @field_validator("interval_seconds")
    @classmethod
    def _not_too_often(cls, value: int | None) -> int | None:
        return _checked_interval(value)

    def to_change(self) -> SourceChange:
        """Return what the service understands."""
        return SourceChange(
            self.name,
            self.config,
            _revealed(self.secrets),
            self.labels.to_labels(),
            self.interval_seconds,
            self.paused,
        )


class SourcePatch(BaseModel):
    """What to change; fields that are left out stay."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = None
    config: dict[str, Any] | None = None
    secrets: Secrets | None = Field(None, description="All of them; needed when the source is to reach another place.")
    labels: LabelsIn | None = Field(None, description="All of them; its documents follow at the next run.")
    interval_seconds: Interval | None = Field(None, description="0 ends the schedule.")
    paused: bool | None = None

    @field_validator("interval_seconds")
    @classmethod
    def _not_too_often(cls, value: int | None) -> int | None:
        return _checked_interval(value)

    def to_change(self) -> SourceChange:
        """Return what the service understands."""
        return SourceChange(
            self.name,
            self.config,
            None if self.secrets is None else _revealed(self.secrets),
            None if self.labels is None else self.labels.to_labels(),
            self.interval_seconds,
            self.paused,
        )


class RunOut(BaseModel):
    """One comparison of a source with what is held of it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    reason: str = Field(description="asked, schedule or removal")
    status: str = Field(description="queued, listing, fetching, succeeded, partial, failed or cancelled")
    job_id: UUID
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

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the shape of a run."""
        return cls.model_validate(run)


class SourceOut(BaseModel):
    """A source; its secrets are never shown."""

    id: UUID
    kind: str
    name: str
    config: dict[str, Any]
    has_secrets: bool
    labels: dict[str, Any]
    interval_seconds: int | None
    paused: bool
    documents: int
    failures: int = Field(description="Runs in a row that failed; the next one is put off accordingly.")
    error: dict[str, Any] | None = Field(description="Why the last run failed, and what to do.")
    run: RunOut | None = Field(description="The newest run.")
    next_run_at: datetime | None
    last_success_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, state: SourceState) -> Self:
        """Return the shape of a source."""
        source = state.source
        return cls(
            id=source.id,
            kind=source.kind,
            name=source.name,
            config=source.config,
            has_secrets=source.sealed is not None,
            labels=source.labels,
            interval_seconds=source.interval_seconds,
            paused=source.is_paused,
            documents=state.documents,
            failures=source.failures,
            error=source.error,
            run=RunOut.of(state.run) if state.run else None,
            next_run_at=None if source.is_paused else source.next_run_at,
            last_success_at=source.last_success_at,
            created_at=source.created_at,
            updated_at=source.updated_at,
        )


class SourceItemOut(BaseModel):
    """One thing in a source."""

    model_config = ConfigDict(from_attributes=True)

    key: str
    name: str | None
    status: str = Field(
        description="waiting, held, same (as another item), alias (of another item), skipped, failed or gone"
    )
    document_id: UUID | None
    error: dict[str, Any] | None = Field(description="Why it failed or was skipped.")
    fetched_at: datetime | None

    @classmethod
    def of(cls, item: StoredItem) -> Self:
        """Return the shape of an item."""
        return cls.model_validate(item)


def _checked_interval(value: int | None) -> int | None:
    if value and value < MIN_INTERVAL:
        raise ValueError(f"a source is looked at every {MIN_INTERVAL} seconds at most")
    return value


def _revealed(secrets: Secrets) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in secrets.items()}
