"""`ragecho index …`: every workspace's index, compared and mended on the machine that holds the database."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ragecho.ingest.index_repair import Index, Repair
from ragecho.ingest.service import Uploads
from ragecho.ingest.settings import IngestSettings
from ragecho.kernel.caller import Caller
from ragecho.library.index_check import IndexHealth
from ragecho.platform.database import Database
from ragecho.platform.settings import Settings
from ragecho.roles.local import local_database
from ragecho.roles.prepare import prepare
from ragecho.tenancy import service as tenancy
from ragecho.tenancy.maintenance import all_workspaces
from ragecho.wiring import build_blobs


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


async def _callers(database: Database, workspace: str | None) -> list[tuple[Caller, str]]:
    if workspace is not None:
        administrator = tenancy.local_administrator()
        async with database.transaction(administrator) as session:
            found = await tenancy.get_workspace(administrator, session, workspace)
        return [(Caller.worker(found.organization_id, found.id), found.slug)]
    return [(caller, str(caller.workspace_id)) for caller in await all_workspaces(database)]
