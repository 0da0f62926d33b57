"""SQL of what is in a source."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.ingest.sources.model import StoredItem
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId
from ragecho.ports.source import Item

ITEM_COLUMNS = "key, name, status, run_id, depth, attempts, revision, etag, last_modified, sha256, links, document_id, error, fetched_at"
# Bytes; the database holds the same limit.
MAX_KEY = 2000
# What was seen in this run. An item whose revision is the one that is held needs no fetching.
SEE = text("""
    with seen as (
      select * from unnest(cast(:keys as text[]), cast(:revisions as text[]), cast(:depths as int[])) with ordinality
        as s (key, revision, depth, n)
    ), stored as (
      insert into source_items as i (workspace_id, source_id, key, status, run_id, depth, revision)
      select :workspace_id, :source_id, key, 'waiting', :run_id, depth, null from seen order by n
      on conflict (workspace_id, source_id, key) do update set run_id = :run_id, depth = excluded.depth, attempts = 0,
        status = case when i.revision is not null and i.status in ('held', 'same', 'skipped')
                        and i.revision = (select s.revision from seen s where s.key = i.key) then i.status else 'waiting' end
      where i.run_id <> :run_id
      returning i.status
    )
    select count(*), count(*) filter (where status <> 'waiting') from stored""")


async def see(
    session: AsyncConnection, caller: Caller, source_id: UUID, run_id: UUID, items: Sequence[Item]
) -> tuple[int, int]:
    """Note what a run found, each key once; return how many are new to the run, and how many of them need no fetching."""
    unique = {item.key: item for item in items}.values()
    found = await session.execute(
        SEE,
        {
            "workspace_id": caller.workspace_id,
            "source_id": source_id,
            "run_id": run_id,
            "keys": [item.key for item in unique],
            "revisions": [item.revision for item in unique],
            "depths": [item.depth for item in unique],
        },
    )
    seen, unchanged = found.one()
    return int(seen), int(unchanged)


async def unseen(
    session: AsyncConnection, caller: Caller, source_id: UUID, run_id: UUID, items: Sequence[Item]
) -> list[Item]:
    """Return those that the run has not come across yet, in order, each once."""
    unique = {item.key: item for item in items}
    found = await session.execute(
        text(
            "select key from source_items where workspace_id = :workspace_id and source_id = :source_id"
            " and run_id = :run_id and key = any (:keys)"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "run_id": run_id, "keys": list(unique)},
    )
    known = set(found.scalars())
    return [item for key, item in unique.items() if key not in known]


async def mark_gone(
    session: AsyncConnection, caller: Caller, source_id: UUID, run_id: UUID, keys: Sequence[str]
) -> None:
    """Note what a source says is gone; it is removed when the run ends."""
    await session.execute(
        text(
            "update source_items set status = 'gone', run_id = :run_id"
            " where workspace_id = :workspace_id and source_id = :source_id and key = any (:keys)"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "run_id": run_id, "keys": list(keys)},
    )


async def waiting(
    session: AsyncConnection, caller: Caller, source_id: UUID, run_id: UUID, *, limit: int
) -> list[StoredItem]:
    """Return what is left to fetch, in the order it was found; what failed once comes after everything else."""
    found = await session.execute(
        text(
            f"select {ITEM_COLUMNS} from source_items where workspace_id = :workspace_id and source_id = :source_id"
            " and status = 'waiting' and run_id = :run_id order by attempts, ordinal limit :limit"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "run_id": run_id, "limit": limit},
    )
    return [_item(row) for row in found.mappings()]


async def get_item(session: AsyncConnection, caller: Caller, source_id: UUID, key: str) -> StoredItem | None:
    """Return an item."""
    found = await session.execute(
        text(
            f"select {ITEM_COLUMNS} from source_items"
            " where workspace_id = :workspace_id and source_id = :source_id and key = :key"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "key": key},
    )
    row = found.mappings().first()
    return _item(row) if row else None


async def with_same_content(
    session: AsyncConnection, caller: Caller, source_id: UUID, *, sha256: str, but: str
) -> StoredItem | None:
    """Return another item of the source that holds a document with these bytes."""
    found = await session.execute(
        text(
            f"select {ITEM_COLUMNS} from source_items where workspace_id = :workspace_id and source_id = :source_id"
            " and sha256 = :sha256 and status = 'held' and document_id is not null and key <> :but order by ordinal limit 1"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "sha256": sha256, "but": but},
    )
    row = found.mappings().first()
    return _item(row) if row else None


async def is_shared(
    session: AsyncConnection, caller: Caller, source_id: UUID, document_id: DocumentId, *, but: str
) -> bool:
    """Return whether another item of the source stands for the same document."""
    found = await session.execute(
        text(
            "select exists (select from source_items where workspace_id = :workspace_id and source_id = :source_id"
            " and document_id = :document_id and key <> :but)"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "document_id": document_id, "but": but},
    )
    return bool(found.scalar_one())


async def put_item(
    session: AsyncConnection,
    caller: Caller,
    source_id: UUID,
    run_id: UUID,
    key: str,
    *,
    status: str,
    error: Mapping[str, Any] | None = None,
    **known: Any,
) -> None:
    """Write how an item stands; of `known` (name, revision, etag, …) what is not given stays."""
    columns = [name for name in known if name in _KNOWN]
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", :{name}" for name in columns)
    changes = "".join(f", {name} = excluded.{name}" for name in columns)
    await session.execute(
        text(
            f"insert into source_items (workspace_id, source_id, key, status, run_id, error{names})"
            f" values (:workspace_id, :source_id, :key, :status, :run_id, cast(:error as jsonb){values})"
            " on conflict (workspace_id, source_id, key) do update set status = excluded.status, run_id = excluded.run_id,"
            f" error = excluded.error{changes}"
        ),
        {
            **{name: list(value) if isinstance(value := known[name], tuple) else value for name in columns},
            "workspace_id": caller.workspace_id,
            "source_id": source_id,
            "run_id": run_id,
            "key": key,
            "status": status,
            "error": None if error is None else orjson.dumps(dict(error)).decode(),
        },
    )


_KNOWN = frozenset(
    [
        "name",
        "depth",
        "attempts",
        "revision",
        "etag",
        "last_modified",
        "sha256",
        "links",
        "document_id",
        "labels_version",
        "fetched_at",
    ]
)


async def delete_item(session: AsyncConnection, caller: Caller, source_id: UUID, key: str) -> None:
    """Forget an item."""
    await session.execute(
        text("delete from source_items where workspace_id = :workspace_id and source_id = :source_id and key = :key"),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "key": key},
    )


async def to_remove(
    session: AsyncConnection, caller: Caller, source_id: UUID, run_id: UUID, *, unseen: bool, limit: int
) -> list[StoredItem]:
    """Return items that the source said are gone, and with `unseen` those that the run did not see."""
    found = await session.execute(
        text(
            f"select {ITEM_COLUMNS} from source_items where workspace_id = :workspace_id and source_id = :source_id"
            " and (status = 'gone' or (:unseen and run_id <> :run_id)) order by ordinal limit :limit"
        ),
        {
            "workspace_id": caller.workspace_id,
            "source_id": source_id,
            "run_id": run_id,
            "unseen": unseen,
            "limit": limit,
        },
    )
    return [_item(row) for row in found.mappings()]


async def to_relabel(
    session: AsyncConnection, caller: Caller, source_id: UUID, labels_version: int, *, limit: int
) -> list[StoredItem]:
    """Return items whose documents have labels of before a change."""
    found = await session.execute(
        text(
            f"select {ITEM_COLUMNS} from source_items where workspace_id = :workspace_id and source_id = :source_id"
            " and status = 'held' and document_id is not null and labels_version < :version order by ordinal limit :limit"
        ),
        {
            "workspace_id": caller.workspace_id,
            "source_id": source_id,
            "version": labels_version,
            "limit": limit,
        },
    )
    return [_item(row) for row in found.mappings()]


async def set_labelled(
    session: AsyncConnection, caller: Caller, source_id: UUID, key: str, *, labels_version: int
) -> None:
    """Note which labels an item's document has."""
    await session.execute(
        text(
            "update source_items set labels_version = :version"
            " where workspace_id = :workspace_id and source_id = :source_id and key = :key"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id, "key": key, "version": labels_version},
    )


async def list_items(
    session: AsyncConnection, caller: Caller, source_id: UUID, *, status: str | None, limit: int, offset: int
) -> tuple[list[StoredItem], int]:
    """Return one page of a source's items in the order they were found, and how many there are."""
    found = await session.execute(
        text(
            f"select {ITEM_COLUMNS}, count(*) over () as total from source_items where workspace_id = :workspace_id"
            " and source_id = :source_id and (cast(:status as text) is null or status = :status)"
            " order by ordinal limit :limit offset :offset"
        ),
        {
            "workspace_id": caller.workspace_id,
            "source_id": source_id,
            "status": status,
            "limit": limit,
            "offset": offset,
        },
    )
    rows = found.mappings().all()
    return [_item(row) for row in rows], (rows[0]["total"] if rows else 0)


async def count_held(session: AsyncConnection, caller: Caller, source_id: UUID) -> int:
    """Return how many documents a source holds."""
    found = await session.execute(
        text(
            "select count(distinct document_id) from source_items"
            " where workspace_id = :workspace_id and source_id = :source_id and document_id is not null"
        ),
        {"workspace_id": caller.workspace_id, "source_id": source_id},
    )
    return int(found.scalar_one())


def _item(row: RowMapping) -> StoredItem:
    values = {name.strip(): row[name.strip()] for name in ITEM_COLUMNS.split(",")}
    return StoredItem(**{**values, "links": tuple(values["links"])})
