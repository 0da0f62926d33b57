"""What `/auth/me` says."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field


class UserOut(BaseModel):
    """A person."""

    id: UUID
    email: str
    name: str | None


class OrganizationOut(BaseModel):
    """An organisation that the person is in."""

    id: UUID
    name: str
    role: str


class WorkspaceOut(BaseModel):
    """A workspace that the caller may enter."""

    id: UUID
    organization_id: UUID
    slug: str
    name: str
    role: str | None = Field(description="reader, editor or admin; null for a program without a part in it.")
    is_archived: bool


class MeOut(BaseModel):
    """Who is calling, and where they belong."""

    user: UserOut | None = Field(description="Null when a program acts for itself.")
    organization: OrganizationOut | None = Field(description="The one of this request's workspace.")
    workspace_id: UUID | None = Field(description="The workspace of this request; see X-Workspace-ID.")
    organizations: list[OrganizationOut]
    workspaces: list[WorkspaceOut]
    scopes: list[str] = Field(description="What the credential may do: read, write, admin.")
    client_id: str | None = None
    api_key_id: UUID | None = None
    csrf_token: str | None = Field(
        None, description="With a session cookie: to be sent as X-CSRF-Token with every change."
    )
    session_expires_at: datetime | None = None


def organizations_of(places: Iterable[Mapping[str, Any]]) -> list[OrganizationOut]:
    """Return each organisation once."""
    found = {row["organization_id"]: row for row in places}
    return [
        OrganizationOut(id=key, name=row["organization_name"], role=row["organization_role"])
        for key, row in found.items()
    ]


def workspaces_of(places: Iterable[Mapping[str, Any]]) -> list[WorkspaceOut]:
    """Return the workspaces among the places."""
    return [
        WorkspaceOut(
            id=row["workspace_id"],
            organization_id=row["organization_id"],
            slug=row["workspace_slug"],
            name=row["workspace_name"],
            role=row["workspace_role"],
            is_archived=row["is_archived"],
        )
        for row in places
        if row["workspace_id"] is not None
    ]
