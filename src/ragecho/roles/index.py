"""`ragecho index …`: every workspace's index, compared and mended on the machine that holds the database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from ragecho.ingest.index_repair import Index, Repair
from ragecho.ingest.reindex import Reindexing, ReindexState
from ragecho.ingest.service import Uploads
from ragecho.ingest.settings import IngestSettings
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, WorkspaceArchived
from ragecho.library.index_check import IndexHealth
from ragecho.platform.database import Database
from ragecho.platform.settings import Settings
from ragecho.roles.local import local_database
from ragecho.roles.prepare import prepare
from ragecho.tenancy import service as tenancy
from ragecho.tenancy.maintenance import all_workspaces
from ragecho.wiring import build_blobs, build_embedders, space_chooser

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a workspace's index was like and, after a rebuild, what was done."""

    workspace: str
    health: IndexHealth
    repair: Repair | None = None


def check(settings: Settings, *, workspace: str | None) -> list[Outcome]:
    """Compare the index of one workspace (of the default organisation, by slug or id) or of all."""

    async def work(index: Index, caller: Caller, name: str) -> Outcome:
        return Outcome(name, await index.check(caller))

    return _run(settings, workspace, work)


def rebuild(settings: Settings, *, workspace: str | None) -> list[Outcome]:
    """Mend and count anew the index of one workspace or of all. What is queued is processed by the workers."""

    async def work(index: Index, caller: Caller, name: str) -> Outcome:
        health = await index.check(caller)
        return Outcome(name, health, await index.rebuild(caller))

    return _run(settings, workspace, work)


def _run(
    settings: Settings, workspace: str | None, work: Callable[[Index, Caller, str], Awaitable[Outcome]]
) -> list[Outcome]:
    async def run(url: str) -> list[Outcome]:
        database = Database(url, pool_size=2, application_name="ragecho index")
        blobs = build_blobs(settings)
        index = Index(database, blobs, Uploads(database, blobs, max_file_bytes=IngestSettings().max_file_bytes))
        try:
            return [await work(index, caller, name) for caller, name in await _callers(database, workspace)]
        finally:
            await database.close()

    with local_database(settings) as urls:
        prepare(settings, urls.owner, is_embedded=urls.is_embedded)
        return asyncio.run(run(urls.app))


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What became of a workspace's re-indexing. `error` is why it failed, or could not begin."""

    workspace: str
    status: str
    error: str | None = None


def reindex_all(
    settings: Settings,
    *,
    model: str | None,
    dimensions: int | None,
    timeout_seconds: float,
    on_progress: Callable[[int, int], None],
) -> list[Reindexed]:
    """Begin to re-index every active workspace and wait for it, at most `timeout_seconds`; the workers do it.

    `on_progress` is told how many documents are done, of how many. Raises `InvalidInput` and `Unavailable` for a model that
    cannot be used.
    """

    async def run(url: str) -> list[Reindexed]:
        database = Database(url, pool_size=2, application_name="ragecho reindex")
        embedders = build_embedders(settings)
        reindexing = Reindexing(database, embedders, space_chooser(settings, embedders))
        try:
            callers = await all_workspaces(database)
            refused = await _start_all(reindexing, callers, model, dimensions)
            return await _wait_all(reindexing, callers, refused, timeout_seconds, on_progress)
        finally:
            await database.close()

    with local_database(settings) as urls:
        prepare(settings, urls.owner, is_embedded=urls.is_embedded)
        return asyncio.run(run(urls.app))


async def _start_all(
    reindexing: Reindexing, callers: Sequence[Caller], model: str | None, dimensions: int | None
) -> dict[UUID, Reindexed]:
    refused: dict[UUID, Reindexed] = {}
    for caller in callers:
        try:
            await reindexing.start(caller, model=model, dimensions=dimensions)
        except WorkspaceArchived:
            refused[caller.workspace_id] = Reindexed(str(caller.workspace_id), "archived")
        except Conflict as error:
            refused[caller.workspace_id] = Reindexed(str(caller.workspace_id), "failed", error.message)
    return refused


async def _wait_all(
    reindexing: Reindexing,
    callers: Sequence[Caller],
    refused: dict[UUID, Reindexed],
    timeout_seconds: float,
    on_progress: Callable[[int, int], None],
) -> list[Reindexed]:
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    started = [caller for caller in callers if caller.workspace_id not in refused]
    while True:
        states = {caller.workspace_id: await reindexing.state(caller) for caller in started}
        on_progress(
            sum(one.documents_done for one in states.values()),
            max(1, sum(one.documents_total for one in states.values())),
        )
        is_over = all(not one.is_active for one in states.values())
        if is_over or asyncio.get_running_loop().time() + POLL_SECONDS > deadline:
            return [refused.get(one.workspace_id) or _outcome(one, states[one.workspace_id]) for one in callers]
        await asyncio.sleep(POLL_SECONDS)


def _outcome(caller: Caller, state: ReindexState) -> Reindexed:
    error = str(state.error.get("message")) if state.error else None
    return Reindexed(str(caller.workspace_id), str(state.status), error)


async def _callers(database: Database, workspace: str | None) -> list[tuple[Caller, str]]:
    if workspace is not None:
        administrator = tenancy.local_administrator()
        async with database.transaction(administrator) as session:
            found = await tenancy.get_workspace(administrator, session, workspace)
        return [(Caller.worker(found.organization_id, found.id), found.slug)]
    return [(caller, str(caller.workspace_id)) for caller in await all_workspaces(database)]
