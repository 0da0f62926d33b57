"""SQL of uploads: answers that are kept for repetitions, and how full a workspace is."""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import DocumentId

# How long a repetition of a request gets the answer of the first.
KEPT_HOURS = 24


@dataclass(frozen=True, slots=True)
class WorkspaceSize:
    """What the caller's workspace holds, all of it, and its own limits where it has any."""

    documents: int
    bytes: int
    waiting: int
    max_documents: int | None
    max_bytes: int | None


async def try_lock_key(session: AsyncConnection, caller: Caller, key: bytes) -> bool:
    """Hold the key until the transaction ends; False when another request holds it now."""
    found = await session.execute(
        text("select pg_try_advisory_xact_lock(hashtextextended(:key, 5))"),
        {"key": f"{caller.workspace_id}/{caller.own_principal}/{key.hex()}"},
    )
    return bool(found.scalar_one())


async def find_answer(session: AsyncConnection, caller: Caller, key: bytes) -> tuple[bytes, Any] | None:
    """Return fingerprint and answer of the request with this key, if that was less than `KEPT_HOURS` ago."""
    found = await session.execute(
        text(
            "select fingerprint, answer from idempotency_keys where workspace_id = :workspace_id"
            " and principal = :principal and key = :key and created_at > now() - make_interval(hours => :hours)"
        ),
        _of(caller) | {"key": key, "hours": KEPT_HOURS},
    )
    row = found.mappings().first()
    return (bytes(row["fingerprint"]), row["answer"]) if row else None


async def keep_answer(session: AsyncConnection, caller: Caller, key: bytes, fingerprint: bytes, answer: Any) -> None:
    """Keep what a request was answered, in the transaction that did what it asked for."""
    await session.execute(
        text(
            "insert into idempotency_keys (workspace_id, principal, key, fingerprint, answer)"
            " values (:workspace_id, :principal, :key, :fingerprint, cast(:answer as jsonb))"
            " on conflict (workspace_id, principal, key) do update set fingerprint = excluded.fingerprint,"
            " answer = excluded.answer, created_at = now()"
        ),
        _of(caller) | {"key": key, "fingerprint": fingerprint, "answer": orjson.dumps(answer).decode()},
    )


async def forget_answers(session: AsyncConnection, caller: Caller) -> int:
    """Remove the answers of the workspace that no repetition gets any more; return how many. For a caller that sees all."""
    done = await session.execute(
        text(
            "delete from idempotency_keys where workspace_id = :workspace_id"
            " and created_at <= now() - make_interval(hours => :hours)"
        ),
        {"workspace_id": caller.workspace_id, "hours": KEPT_HOURS},
    )
    return int(done.rowcount)


async def lock_size(session: AsyncConnection, caller: Caller) -> None:
    """Let uploads that come near a limit follow one another until the transaction ends."""
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:key, 6))"), {"key": str(caller.workspace_id)}
    )


async def size_of_workspace(session: AsyncConnection) -> WorkspaceSize:
    """Return how full the caller's workspace is, also with what the caller may not see."""
    found = await session.execute(text("select * from ragecho_workspace_size()"))
    return WorkspaceSize(**found.mappings().one())


async def documents_after(
    session: AsyncConnection, caller: Caller, last: DocumentId | None, *, limit: int
) -> list[DocumentId]:
    """Return ids of the workspace's documents in their order, those after `last`. For a caller that sees all."""
    found = await session.execute(
        text(
            "select id from documents where workspace_id = :workspace_id"
            " and (cast(:last as uuid) is null or id > :last) order by id limit :limit"
        ),
        {"workspace_id": caller.workspace_id, "last": last, "limit": limit},
    )
    return list(found.scalars())


async def read_rules(session: AsyncConnection, caller: Caller) -> dict[str, Any]:
    """Return what was decided about the workspace's documents; None where nothing was."""
    found = await session.execute(
        text("select retention_days, max_documents, max_bytes from document_rules where workspace_id = :workspace_id"),
        {"workspace_id": caller.workspace_id},
    )
    row = found.mappings().first()
    return dict(row) if row else {"retention_days": None, "max_documents": None, "max_bytes": None}


async def write_rules(session: AsyncConnection, caller: Caller, rules: dict[str, Any]) -> None:
    """Write all rules of the workspace."""
    await session.execute(
        text(
            "insert into document_rules (workspace_id, retention_days, max_documents, max_bytes)"
            " values (:workspace_id, :retention_days, :max_documents, :max_bytes) on conflict (workspace_id) do update"
            " set retention_days = excluded.retention_days, max_documents = excluded.max_documents,"
            " max_bytes = excluded.max_bytes, updated_at = now()"
        ),
        {"workspace_id": caller.workspace_id} | rules,
    )


def _of(caller: Caller) -> dict[str, object]:
    return {"workspace_id": caller.workspace_id, "principal": caller.own_principal or "system"}
