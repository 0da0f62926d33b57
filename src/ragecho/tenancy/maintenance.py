"""Going through all tenants, each as Echo's own worker. For maintenance; never for a request."""

from ragecho.kernel.caller import Caller
from ragecho.platform.database import Database
from ragecho.tenancy.store_maintenance import ALL_WORKSPACES


async def all_workspaces(database: Database) -> list[Caller]:
    """Return a worker for each workspace of the server, oldest first."""
    (rows,) = await database.read(None, (ALL_WORKSPACES, {}))
    return [Caller.worker(row["organization_id"], row["id"]) for row in rows]
