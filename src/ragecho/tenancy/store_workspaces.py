"""SQL of workspaces: finding, changing, archiving. Row-level security keeps every statement inside the organisation."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.authorization import WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import UserId, WorkspaceId
from ragecho.tenancy.model import Workspace, WorkspaceFilter, WorkspaceStatus
from ragecho.tenancy.store import like, page

FIELDS = (
    "id",
    "organization_id",
    "slug",
    "name",
    "description",
    "status",
    "space_id",
    "created_at",
    "updated_at",
    "archived_at",
)
COLUMNS = ", ".join(FIELDS) + (
    ", (select s.model from embedding_spaces s where s.id = space_id) as embedding_model"
    ", (select s.dimensions from embedding_spaces s where s.id = space_id) as embedding_dimensions"
)
NEWEST_FIRST = "created_at desc, id desc"

# `only` is a key's own workspace; `person` sees where they are a member; neither given means all of the organisation.
SELECTED = """workspaces w
    where (cast(:status as text) is null or w.status = :status)
    and (cast(:text as text) is null or w.slug ilike :text or w.name ilike :text or w.description ilike :text)
    and (cast(:only as uuid) is null or w.id = :only
         or exists (select from workspace_members m where m.organization_id = w.organization_id and m.workspace_id = w.id
                    and m.user_id = cast(:person as uuid)))"""


def _values(wanted: WorkspaceFilter, *, only: WorkspaceId | None, person: UserId | None) -> dict[str, Any]:
    return {
        "status": str(wanted.status) if wanted.status else None,
        "text": like(wanted.text),
        "only": only,
        "person": person,
    }


async def find(session: AsyncConnection, name: str) -> Workspace | None:
    """Return the workspace with this id or slug among those the caller's organisation has."""
    found = await session.execute(
        text(f"select {COLUMNS} from workspaces where slug = :name or id::text = :name order by id::text = :name desc"),
        {"name": name.lower()},
    )
    row = found.mappings().first()
    return _workspace(row) if row else None


async def role_of(session: AsyncConnection, workspace_id: WorkspaceId, user_id: UserId) -> WorkspaceRole | None:
    """Return a person's own role in a workspace."""
    found = await session.execute(
        text("select role from workspace_members where workspace_id = :workspace_id and user_id = :user_id"),
        {"workspace_id": workspace_id, "user_id": user_id},
    )
    role = found.scalar_one_or_none()
    return WorkspaceRole(role) if role else None


async def list_page(
    session: AsyncConnection,
    wanted: WorkspaceFilter,
    *,
    only: WorkspaceId | None,
    person: UserId | None,
    limit: int,
    offset: int,
) -> tuple[list[Workspace], int]:
    """Return one page of workspaces, newest first, and how many there are."""
    rows, total = await page(
        session,
        COLUMNS,
        SELECTED,
        _values(wanted, only=only, person=person),
        order=NEWEST_FIRST,
        limit=limit,
        offset=offset,
    )
    return [_workspace(row) for row in rows], total


async def count_by_status(session: AsyncConnection, wanted: WorkspaceFilter) -> dict[str, int]:
    """Return how many workspaces of the organisation a filter selects, by status."""
    found = await session.execute(
        text(f"select w.status, count(*) from {SELECTED} group by w.status"), _values(wanted, only=None, person=None)
    )
    return {row[0]: row[1] for row in found}


async def select_ids(session: AsyncConnection, wanted: WorkspaceFilter, *, at_most: int) -> list[WorkspaceId]:
    """Return the ids that a filter selects in the organisation, in their order, at most so many."""
    found = await session.execute(
        text(f"select w.id from {SELECTED} order by w.id limit :at_most"),
        {**_values(wanted, only=None, person=None), "at_most": at_most},
    )
    return list(found.scalars())


async def hold(session: AsyncConnection, ids: Sequence[WorkspaceId]) -> list[Workspace]:
    """Return those of the workspaces that exist here, in the order of their ids, held against other changes of themselves."""
    found = await session.execute(
        text(f"select {COLUMNS} from workspaces where id = any (:ids) order by id for no key update"),
        {"ids": list(ids)},
    )
    return [_workspace(row) for row in found.mappings()]


async def hold_alone(session: AsyncConnection, ids: Sequence[WorkspaceId]) -> list[Workspace]:
    """Do as `hold`, and hold them against every writer inside as well: waits for those that are writing now.

    Writers take the same advisory lock shared (0004_tenancy.sql).
    """
    # In the order of their ids, like everybody who takes several: nobody waits in a ring.
    await session.execute(
        text(
            "select pg_advisory_xact_lock(hashtextextended(id::text, 4))"
            " from (select id from workspaces where id = any (:ids) order by id offset 0) as known"
        ),
        {"ids": list(ids)},
    )
    return await hold(session, ids)


async def set_status(session: AsyncConnection, ids: Sequence[WorkspaceId], status: WorkspaceStatus) -> None:
    """Write the status of workspaces that `hold_alone` holds."""
    await session.execute(
        text(
            "update workspaces set status = :status, updated_at = now(),"
            " archived_at = case when :status = 'archived' then now() end where id = any (:ids)"
        ),
        {"status": str(status), "ids": list(ids)},
    )


async def update(
    session: AsyncConnection, workspace_id: WorkspaceId, *, slug: str, name: str, description: str
) -> Workspace | None:
    """Write what people may change; None when the slug is taken."""
    taken = await session.execute(
        text("select 1 from workspaces where slug = :slug and id <> :id"), {"slug": slug, "id": workspace_id}
    )
    if taken.first() is not None:
        return None
    done = await session.execute(
        text(
            "update workspaces set slug = :slug, name = :name, description = :description, updated_at = now()"
            f" where id = :id returning {COLUMNS}"
        ),
        {"id": workspace_id, "slug": slug, "name": name, "description": description},
    )
    return _workspace(done.mappings().one())


async def delete(session: AsyncConnection, workspace_id: WorkspaceId) -> list[str]:
    """Remove the workspace and all in it; return the digests of its original files. Within a transaction `inside` it."""
    blobs = await session.execute(
        text("select distinct sha256 from document_versions where workspace_id = :id"), {"id": workspace_id}
    )
    digests = list(blobs.scalars())
    await session.execute(text("delete from workspaces where id = :id"), {"id": workspace_id})
    return digests


async def inside(session: AsyncConnection, caller: Caller, workspace_id: WorkspaceId | None) -> None:
    """Let the rest of the transaction see all of one workspace, as Echo's own workers do; None goes back to the caller."""
    await session.execute(
        text(
            "select set_config('ragecho.workspace_id', :workspace_id, true), set_config('ragecho.sees_all', :sees_all, true)"
        ),
        {
            "workspace_id": str(workspace_id or caller.workspace_id),
            "sees_all": "on" if workspace_id is not None or caller.sees_all else "off",
        },
    )


def _workspace(row: RowMapping) -> Workspace:
    return Workspace(**{name: row[name] for name in (*FIELDS, "embedding_model", "embedding_dimensions")})
