"""The life of a workspace: created, renamed, archived, restored, deleted."""

import re

from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import ARCHIVED_MESSAGE, Conflict, InvalidInput, NotFound, WorkspaceArchived
from ragecho.kernel.ids import WorkspaceId, uuid7
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import store, store_workspaces
from ragecho.tenancy.access import is_organization_admin, workspace_for
from ragecho.tenancy.model import Workspace, WorkspaceFilter, WorkspaceStatus
from ragecho.tenancy.spaces import register_space

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# They stand where a workspace's name stands in addresses of the API.
RESERVED_SLUGS = frozenset({"audit-logs", "bulk"})
MAX_NAME = 200
MAX_DESCRIPTION = 2000


async def create_workspace(
    caller: Caller, session: Session, *, slug: str, name: str, description: str, space: EmbeddingSpace
) -> Workspace:
    """Create a workspace in the caller's organisation. Raises `InvalidInput` or `Conflict`."""
    _check(slug, name, description)
    await register_space(session, space)
    workspace_id = WorkspaceId(uuid7())
    if not await store.insert_workspace(
        session,
        workspace_id,
        caller.organization_id,
        slug=slug,
        name=name.strip(),
        description=description,
        space_id=space.id,
    ):
        raise Conflict(f"A workspace with the slug '{slug}' exists already.")
    await record(
        session,
        caller,
        "workspace.created",
        Target("workspace", workspace_id),
        workspace_id=workspace_id,
        details={"slug": slug, "name": name.strip(), "embedding_model": space.model},
    )
    return await find_workspace(session, str(workspace_id))


async def find_workspace(session: Session, name: str) -> Workspace:
    """Return a workspace of the organisation by id or slug, whoever asks. Raises `NotFound`."""
    found = await store_workspaces.find(session, name)
    if found is None:
        raise NotFound("There is no such workspace.")
    return found


async def get_workspace(caller: Caller, session: Session, name: str) -> Workspace:
    """Return a workspace by id or slug. Raises `NotFound`, also where the caller does not belong."""
    found, _ = await workspace_for(caller, session, name, Permission.WORKSPACE_READ)
    return found


async def list_workspaces(
    caller: Caller, session: Session, wanted: WorkspaceFilter | None = None, *, limit: int, offset: int
) -> tuple[list[Workspace], int]:
    """Return the workspaces that the caller may enter: all for administrators, a key's own, a person's."""
    is_admin = is_organization_admin(caller)
    return await store_workspaces.list_page(
        session,
        wanted or WorkspaceFilter(),
        only=None if is_admin else caller.workspace_id,
        person=None if caller.api_key_id is not None else caller.user_id,
        limit=limit,
        offset=offset,
    )


async def change_workspace(
    caller: Caller,
    session: Session,
    name: str,
    *,
    new_slug: str | None = None,
    new_name: str | None = None,
    new_description: str | None = None,
) -> Workspace:
    """Rename or describe a workspace. Raises `NotFound`, `Forbidden`, `WorkspaceArchived`, `InvalidInput`, `Conflict`."""
    found, there = await workspace_for(caller, session, name, Permission.WORKSPACE_ADMINISTER)
    # Held, and looked at once more: it may have been archived in between.
    (before,) = await store_workspaces.hold(session, [found.id])
    if before.status == WorkspaceStatus.ARCHIVED:
        raise WorkspaceArchived(ARCHIVED_MESSAGE)
    slug = before.slug if new_slug is None else new_slug
    title = before.name if new_name is None else new_name.strip()
    description = before.description if new_description is None else new_description
    _check(slug, title, description)
    old = {"slug": before.slug, "name": before.name, "description": before.description}
    new = {"slug": slug, "name": title, "description": description}
    if new == old:
        return before
    changed = await store_workspaces.update(session, before.id, slug=slug, name=title, description=description)
    if changed is None:
        raise Conflict(f"A workspace with the slug '{slug}' exists already.")
    await record(
        session,
        there,
        "workspace.changed",
        Target("workspace", before.id),
        workspace_id=before.id,
        details={
            "before": {key: value for key, value in old.items() if new[key] != value},
            "after": {key: value for key, value in new.items() if old[key] != value},
        },
    )
    return changed


async def delete_workspace(caller: Caller, session: Session, name: str, *, confirm: str) -> tuple[Workspace, list[str]]:
    """Remove an archived workspace and everything in it for good; return it and the digests of its original files.

    `confirm` repeats the slug. Raises `NotFound`, `Conflict` unless it is archived, or `InvalidInput`.
    """
    found = await find_workspace(session, name)
    (held,) = await store_workspaces.hold_alone(session, [found.id])
    if confirm != held.slug:
        raise InvalidInput("Repeat the workspace's slug as 'confirm' to delete it for good.")
    if held.status != WorkspaceStatus.ARCHIVED:
        raise Conflict("Only an archived workspace can be deleted. Archive it first.")
    await store_workspaces.inside(session, caller, held.id)
    digests = await store_workspaces.delete(session, held.id)
    await store_workspaces.inside(session, caller, None)
    await record(
        session,
        caller,
        "workspace.deleted",
        Target("workspace", held.id),
        workspace_id=held.id,
        details={"slug": held.slug, "name": held.name, "files": len(digests)},
    )
    return held, digests


def _check(slug: str, name: str, description: str) -> None:
    if not SLUG.fullmatch(slug):
        raise InvalidInput("A workspace's slug has 1 to 63 of a-z, 0-9 and '-', and starts with a letter or digit.")
    if slug in RESERVED_SLUGS:
        raise InvalidInput(f"The slug '{slug}' is reserved.")
    if not name.strip() or len(name) > MAX_NAME:
        raise InvalidInput(f"A workspace's name has 1 to {MAX_NAME} characters.")
    if len(description) > MAX_DESCRIPTION:
        raise InvalidInput(f"A workspace's description has at most {MAX_DESCRIPTION} characters.")
