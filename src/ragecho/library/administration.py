"""Administrators among documents that others keep private: only where they ask for it, and the audit log says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId
from ragecho.platform import audit_log
from ragecho.platform.database import Database, Session


@asynccontextmanager
async def opened(
    database: Database, caller: Caller, *, act: str, document_id: DocumentId | None = None, as_administrator: bool
) -> AsyncIterator[tuple[Caller, Session]]:
    """Yield who acts and their transaction: the caller, or `as_administrator` one who sees every document of the workspace.

    `act` says what is done, for the audit log, which is written in the same transaction. Raises `Forbidden`. Searching and
    asking have no such door.
    """
    if not as_administrator:
        async with database.transaction(caller) as session:
            yield caller, session
        return
    administrator = caller.as_administrator()
    async with database.transaction(administrator) as session:
        yield administrator, session
        await audit_log.record(
            session,
            caller,
            f"document.{act}_as_administrator",
            audit_log.Target("document", document_id),
            workspace_id=caller.workspace_id,
        )
