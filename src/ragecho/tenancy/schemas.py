"""HTTP shapes of organisations and workspaces."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragecho.kernel.authorization import OrganizationRole
from ragecho.tenancy.model import (
    BulkOutcome,
    BulkResult,
    Organization,
    Workspace,
    WorkspacePreview,
    WorkspaceStatus,
)

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Description = Annotated[str, StringConstraints(max_length=2000)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]


class OrganizationIn(BaseModel):
    """An organisation to create."""

    model_config = ConfigDict(extra="forbid")

    name: Name


class OrganizationChange(BaseModel):
    """What to change of an organisation; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    require_second_factor: bool | None = None


class OrganizationOut(BaseModel):
    """An organisation; `role` is the caller's in it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    role: OrganizationRole | None
    is_suspended: bool
    created_at: datetime
    require_second_factor: bool

    @classmethod
    def of(cls, organization: Organization) -> Self:
        """Return the shape of an organisation."""
        return cls.model_validate(organization)


class WorkspaceIn(BaseModel):
    """A workspace to create."""

    model_config = ConfigDict(extra="forbid")

    slug: Slug
    name: Name | None = None
    description: Description = ""
    embedding_model: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = (
        Field(None, description="The model that its documents are embedded with; the server's default if absent.")
    )
    embedding_dimensions: int | None = Field(
        None, ge=1, le=4000, description="Fewer dimensions than the model has, where it was trained for that."
    )


class WorkspacePatch(BaseModel):
    """What to change about a workspace; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    slug: Slug | None = None
    name: Name | None = None
    description: Description | None = None


class WorkspaceOut(BaseModel):
    """A workspace. `embedding_model` is what its documents and questions are embedded with."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    slug: str
    name: str
    description: str
    status: WorkspaceStatus
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    embedding_model: str
    embedding_dimensions: int

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        """Return the shape of a workspace."""
        return cls.model_validate(workspace)


class ReasonIn(BaseModel):
    """Why, for the audit log."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason | None = None


class BulkIn(BaseModel):
    """Workspaces to archive or restore, by their ids."""

    model_config = ConfigDict(extra="forbid")

    ids: list[UUID] = Field(min_length=1)
    reason: Reason | None = None


class BulkMatchingIn(BaseModel):
    """All workspaces that a filter selects, over all pages. `expected_total` is the number that the caller saw."""

    model_config = ConfigDict(extra="forbid")

    q: Annotated[str, StringConstraints(max_length=200)] | None = Field(
        None, description="Text in slug, name or description."
    )
    status: WorkspaceStatus | None = Field(None, description="Only those of this status.")
    expected_total: int = Field(ge=0)
    confirm: bool = Field(False, description="Must be true.")
    reason: Reason | None = None


class BulkItemOut(BaseModel):
    """What became of one workspace."""

    id: UUID
    result: BulkOutcome


class BulkOut(BaseModel):
    """What became of each workspace, and how many of each."""

    total: int
    done: int
    unchanged: int
    not_found: int
    items: list[BulkItemOut]

    @classmethod
    def of(cls, results: list[BulkResult]) -> Self:
        """Return the shape of a bulk operation's results."""
        counts = {outcome: sum(result.outcome is outcome for result in results) for outcome in BulkOutcome}
        return cls(
            total=len(results),
            done=counts[BulkOutcome.DONE],
            unchanged=counts[BulkOutcome.UNCHANGED],
            not_found=counts[BulkOutcome.NOT_FOUND],
            items=[BulkItemOut(id=result.id, result=result.outcome) for result in results],
        )


class PreviewOut(BaseModel):
    """What a filter selects now. `total` is the `expected_total` of a matching operation with the same filter."""

    total: int
    by_status: dict[str, int]
    sample: list[WorkspaceOut]

    @classmethod
    def of(cls, preview: WorkspacePreview) -> Self:
        """Return the shape of a preview."""
        return cls(
            total=preview.total,
            by_status=preview.by_status,
            sample=[WorkspaceOut.of(workspace) for workspace in preview.sample],
        )
