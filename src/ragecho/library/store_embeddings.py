"""SQL of the embedding cache: what a text's vector was, by the text's digest, within one organisation."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.caller import Caller

KEPT_DAYS = 90
_PURGE_BATCH = 5_000


async def load_embeddings(
    session: AsyncConnection, caller: Caller, model: str, digests: Sequence[bytes]
) -> dict[bytes, str]:
    """Return the known vectors in pgvector's text form."""
    found = await session.execute(
        text(
            "select digest, cast(embedding as text) as embedding from embedding_cache"
            " where organization_id = :organization_id and model = :model and digest = any (:digests)"
        ),
        {"organization_id": caller.organization_id, "model": model, "digests": list(digests)},
    )
    return {row.digest: row.embedding for row in found}


async def store_embeddings(
    session: AsyncConnection, caller: Caller, model: str, embeddings: Mapping[bytes, str]
) -> None:
    """Keep vectors, given in pgvector's text form. What is known already is marked as used today."""
    if not embeddings:
        return
    ordered = sorted(embeddings.items())  # two transactions never wait for each other in a ring
    await session.execute(
        text(
            "insert into embedding_cache as e (organization_id, model, digest, embedding)"
            " select :organization_id, :model, r.digest, cast(r.embedding as halfvec)"
            " from unnest(cast(:digests as bytea[]), cast(:embeddings as text[])) as r (digest, embedding)"
            " on conflict (organization_id, model, digest) do update set used_on = current_date"
            " where e.used_on < current_date"
        ),
        {
            "organization_id": caller.organization_id,
            "model": model,
            "digests": [digest for digest, _ in ordered],
            "embeddings": [embedding for _, embedding in ordered],
        },
    )


async def touch_embeddings(session: AsyncConnection, caller: Caller, model: str, digests: Sequence[bytes]) -> None:
    """Mark vectors as used today; writes at most once a day for each."""
    await session.execute(
        text(
            "update embedding_cache set used_on = current_date where organization_id = :organization_id"
            " and model = :model and digest = any (:digests) and used_on < current_date"
        ),
        {"organization_id": caller.organization_id, "model": model, "digests": list(digests)},
    )


async def purge_embeddings(session: AsyncConnection, caller: Caller, *, days: int = KEPT_DAYS) -> int:
    """Forget some vectors of the caller's organisation that nobody used for `days`; return how many."""
    done = await session.execute(
        text(
            "delete from embedding_cache where ctid in (select ctid from embedding_cache"
            " where organization_id = :organization_id and used_on < current_date - cast(:days as int) limit :limit)"
        ),
        {"organization_id": caller.organization_id, "days": days, "limit": _PURGE_BATCH},
    )
    return int(done.rowcount)
