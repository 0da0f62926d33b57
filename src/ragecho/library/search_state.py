"""The state of a workspace's index for one caller: what is asked of the database with every search."""

from collections.abc import Mapping, Sequence
from typing import Any

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound
from ragecho.kernel.ids import WorkspaceId
from ragecho.library.search_route import IndexState
from ragecho.library.search_sql import INDEX_STATE
from ragecho.platform.database import Query, array_literal

StateKey = tuple[WorkspaceId, tuple[str, ...], bool]


def state_key(caller: Caller) -> StateKey:
    """Return what a state holds for: callers with the same labels see the same."""
    return caller.workspace_id, caller.principals, caller.sees_all


def state_query(caller: Caller) -> Query:
    """Return the statement that reads the state."""
    return INDEX_STATE, {"workspace_id": caller.workspace_id, "principals": array_literal(caller.principals)}


def state_of(caller: Caller, rows: Sequence[Mapping[str, Any]]) -> IndexState:
    """Return the state that the statement gave. Raises `NotFound` without the workspace."""
    if not rows:
        raise NotFound("There is no such workspace.")
    row = rows[0]
    chunks = row["chunks"]
    return IndexState(
        row["space_id"],
        row["dimensions"],
        chunks,
        tuple(row["stemmings"]),
        row["version"],
        chunks if caller.sees_all else min(chunks, row["readable"]),
        chunks if caller.sees_all else min(chunks, row["surely_readable"]),
        row["is_graphed"],
    )
