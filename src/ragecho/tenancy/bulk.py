"""Archive and restore workspaces: one, many by their ids, or all that a filter selects. One transaction each, all or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import InvalidInput, NotFound, SelectionChanged, TooLarge
from ragecho.kernel.ids import WorkspaceId
from ragecho.platform.audit_log import AuditEntry, Target, record_all
from ragecho.platform.database import Session
from ragecho.platform.jobs import store_parking as jobs
from ragecho.tenancy import store_workspaces
from ragecho.tenancy.model import (
    BulkOutcome,
    BulkResult,
    Workspace,
    WorkspaceFilter,
    WorkspacePreview,
    WorkspaceStatus,
)
from ragecho.tenancy.settings import TenancySettings
from ragecho.tenancy.workspaces import find_workspace

ACTIONS = {WorkspaceStatus.ARCHIVED: "workspace.archived", WorkspaceStatus.ACTIVE: "workspace.restored"}
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Selection:
    """All that a filter selects, as the caller saw it."""

    wanted: WorkspaceFilter
    expected_total: int
    is_confirmed: bool


async def set_workspace_status(
    caller: Caller, session: Session, name: str, status: WorkspaceStatus, *, reason: str | None
) -> Workspace:
    """Archive or restore one workspace, by id or slug; repeating it changes nothing. Raises `NotFound`."""
    found = await find_workspace(session, name)
    (result,) = await _set_status(caller, session, [found.id], status, reason=reason)
    if result.outcome is BulkOutcome.NOT_FOUND:
        raise NotFound("There is no such workspace.")
    return await find_workspace(session, str(found.id))


async def set_status_of_ids(
    caller: Caller,
    session: Session,
    ids: Sequence[WorkspaceId],
    status: WorkspaceStatus,
    *,
    reason: str | None,
    limits: TenancySettings,
) -> list[BulkResult]:
    """Archive or restore the named workspaces; one result each, in the given order. Raises `TooLarge`, `InvalidInput`."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        raise InvalidInput("Name at least one workspace.")
    if len(wanted) > limits.max_bulk_ids:
        raise TooLarge(
            f"At most {limits.max_bulk_ids} workspaces can be named at once; use the matching operation for more.",
            limit=limits.max_bulk_ids,
        )
    return await _set_status(caller, session, wanted, status, reason=reason)


async def set_status_of_matching(
    caller: Caller,
    session: Session,
    selection: Selection,
    status: WorkspaceStatus,
    *,
    reason: str | None,
    limits: TenancySettings,
) -> list[BulkResult]:
    """Archive or restore all that the filter selects, over all pages.

    Raises `InvalidInput` without confirmation, `SelectionChanged` when their number is not the expected one any more, and
    `TooLarge`.
    """
    if not selection.is_confirmed:
        raise InvalidInput("Set 'confirm' to true to change every workspace that the filter selects.")
    ids = await store_workspaces.select_ids(session, selection.wanted, at_most=limits.max_bulk_matching + 1)
    if len(ids) > limits.max_bulk_matching:
        raise TooLarge(
            f"The filter selects more than {limits.max_bulk_matching} workspaces; narrow it.",
            limit=limits.max_bulk_matching,
        )
    if len(ids) != selection.expected_total:
        raise SelectionChanged(
            f"The filter selects {len(ids)} workspaces now, not {selection.expected_total}. Look again, then repeat.",
            total=len(ids),
            expected_total=selection.expected_total,
        )
    return await _set_status(caller, session, ids, status, reason=reason)


async def preview(caller: Caller, session: Session, wanted: WorkspaceFilter, *, sample_limit: int) -> WorkspacePreview:
    """Return how many workspaces of the organisation a filter selects, and the first of them."""
    by_status = await store_workspaces.count_by_status(session, wanted)
    sample, _ = await store_workspaces.list_page(
        session, wanted, only=None, person=None, limit=max(1, sample_limit), offset=0
    )
    return WorkspacePreview(sum(by_status.values()), by_status, tuple(sample[:sample_limit]))


async def _set_status(
    caller: Caller, session: Session, ids: Sequence[WorkspaceId], status: WorkspaceStatus, *, reason: str | None
) -> list[BulkResult]:
    if reason is not None and len(reason) > MAX_REASON:
        raise InvalidInput(f"A reason has at most {MAX_REASON} characters.")
    held = await store_workspaces.hold_alone(session, ids)
    changing = [workspace for workspace in held if workspace.status != status]
    changing_ids = [workspace.id for workspace in changing]
    if status is WorkspaceStatus.ARCHIVED:
        # Before the status, since afterwards nothing in there can be written.
        await _for_each(caller, session, changing_ids, jobs.park_open)
    await store_workspaces.set_status(session, changing_ids, status)
    if status is WorkspaceStatus.ACTIVE:
        await _for_each(caller, session, changing_ids, jobs.deliver_open)
    await record_all(
        session,
        caller,
        [
            AuditEntry(
                ACTIONS[status],
                Target("workspace", workspace.id),
                workspace.id,
                reason,
                {"slug": workspace.slug, "before": {"status": workspace.status}, "after": {"status": str(status)}},
            )
            for workspace in changing
        ],
    )
    known, changed = {workspace.id for workspace in held}, set(changing_ids)
    return [BulkResult(one, _outcome(one, known, changed)) for one in ids]


def _outcome(one: WorkspaceId, known: set[WorkspaceId], changed: set[WorkspaceId]) -> BulkOutcome:
    if one in changed:
        return BulkOutcome.DONE
    return BulkOutcome.UNCHANGED if one in known else BulkOutcome.NOT_FOUND


async def _for_each(caller: Caller, session: Session, ids: Sequence[WorkspaceId], act: jobs.OfWorkspace) -> None:
    """Do something with the jobs of each workspace, seen as its worker sees it: also those of private documents."""
    for workspace_id in ids:
        await store_workspaces.inside(session, caller, workspace_id)
        await act(session, workspace_id)
    if ids:
        await store_workspaces.inside(session, caller, None)
