"""Routes of a document's versions, of deleting many at once, and of what a workspace's administrator decides about documents."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ragecho.ingest import store
from ragecho.ingest.lifecycle import MAX_DELETED, Deleted, Lifecycle, Preview, Selection
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.ids import DocumentId
from ragecho.library.model import DocumentFilter
from ragecho.library.schemas import DocumentOut
from ragecho.library.writing import ListedVersion
from ragecho.platform import audit_log
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import requires

Status = Literal["queued", "processing", "ready", "failed"]


class VersionOut(BaseModel):
    """One uploaded state of a document. `ready_at` is when it began to answer, null for one that never did."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    number: int
    filename: str
    content_type: str | None
    size_bytes: int
    sha256: str
    created_at: datetime
    ready_at: datetime | None
    is_current: bool

    @classmethod
    def of(cls, version: ListedVersion) -> Self:
        """Return the shape of a version."""
        return cls.model_validate(version)


class FilterIn(BaseModel):
    """Which documents; what is left out excludes nothing."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    tag: str | None = Field(None, max_length=100)
    access: Access | None = None
    q: str | None = Field(None, max_length=200, description="Words in the file name or title.")

    def to_filter(self) -> DocumentFilter:
        """Return what the library understands."""
        return DocumentFilter(self.status, self.tag, self.access, self.q)


class DeleteIn(BaseModel):
    """Either `ids`, or a `filter` with the number of documents that the preview told."""

    model_config = ConfigDict(extra="forbid")

    ids: list[UUID] | None = Field(None, min_length=1, max_length=MAX_DELETED)
    filter: FilterIn | None = None
    expected_total: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("name either 'ids' or a 'filter'")
        if self.filter is not None and self.expected_total is None:
            raise ValueError("a 'filter' needs 'expected_total', as the preview told it")
        return self


class DeletedOut(BaseModel):
    """How many documents were deleted, which, and which ids were no documents of the caller's."""

    deleted: int
    ids: list[UUID]
    not_found: list[UUID]

    @classmethod
    def of(cls, done: Deleted) -> Self:
        """Return the shape of what was done."""
        return cls(deleted=len(done.ids), ids=list(done.ids), not_found=list(done.not_found))


class PreviewOut(BaseModel):
    """How many documents a filter selects, and the newest of them."""

    total: int
    sample: list[DocumentOut]

    @classmethod
    def of(cls, preview: Preview, caller: Caller) -> Self:
        """Return the shape of a preview."""
        return cls(total=preview.total, sample=[DocumentOut.of(one, caller) for one in preview.sample])


class DocumentRules(BaseModel):
    """What was decided for a workspace; null means what the installation's settings say."""

    model_config = ConfigDict(extra="forbid")

    retention_days: int | None = Field(
        None, ge=1, le=36500, description="Documents are deleted this many days after their last upload."
    )
    max_documents: int | None = Field(None, ge=0, le=2**53, description="0 means any number.")
    max_bytes: int | None = Field(None, ge=0, le=2**53, description="Of original files; 0 means any number.")


def build_lifecycle_router(lifecycle: Lifecycle, database: Database, authenticate: Authenticate) -> APIRouter:
    """Return the routes of versions and of deleting many documents."""
    router = APIRouter(prefix="/api/v1", tags=["documents"])
    Reading = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_READ)]
    Writing = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_WRITE)]
    Seeing = Annotated[Caller, requires(authenticate, Permission.WORKSPACE_READ)]
    Administering = Annotated[Caller, requires(authenticate, Permission.WORKSPACE_ADMINISTER)]

    @router.get("/documents/{document_id}/versions")
    async def list_versions(caller: Reading, document_id: UUID, paging: PageParams) -> Page[VersionOut]:
        """List the versions of a document, newest first."""
        items, total = await lifecycle.versions(
            caller, DocumentId(document_id), limit=paging.limit, offset=paging.offset
        )
        return Page.of(map(VersionOut.of, items), total=total, paging=paging)

    @router.post("/documents/delete/preview")
    async def preview_deletion(
        caller: Writing, wanted: FilterIn, sample_limit: Annotated[int, Query(ge=0, le=100)] = 10
    ) -> PreviewOut:
        """Return how many documents a filter selects, and the newest of them, before deleting them all."""
        return PreviewOut.of(await lifecycle.preview(caller, wanted.to_filter(), sample=sample_limit), caller)

    @router.post("/documents/delete")
    async def delete_documents(caller: Writing, body: DeleteIn) -> DeletedOut:
        """Delete documents and everything made from them, all in one transaction; the next query sees none.

        409 `selection_changed` with the present `total` when a filter does not select what was expected.
        """
        selection = Selection(
            tuple(map(DocumentId, body.ids or ())), body.filter.to_filter() if body.filter is not None else None
        )
        return DeletedOut.of(await lifecycle.delete(caller, selection, expected_total=body.expected_total))

    @router.get("/admin/document-rules", tags=["administration"])
    async def get_document_rules(caller: Seeing) -> DocumentRules:
        """Return how long documents of the workspace are kept, and how many it may hold."""
        async with database.transaction(caller) as session:
            return DocumentRules(**await store.read_rules(session, caller))

    @router.put("/admin/document-rules", tags=["administration"])
    async def set_document_rules(caller: Administering, rules: DocumentRules) -> DocumentRules:
        """Decide how long documents of the workspace are kept, and how many it may hold."""
        async with database.transaction(caller) as session:
            await store.write_rules(session, caller, rules.model_dump())
            await audit_log.record(
                session,
                caller,
                "workspace.document_rules_changed",
                audit_log.Target("workspace", caller.workspace_id),
                workspace_id=caller.workspace_id,
                details=rules.model_dump(),
            )
        return rules

    return router
