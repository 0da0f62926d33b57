"""SQL of passkeys and the challenges that their owners answer."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.identity.accounts.model import Passkey
from ragecho.kernel.ids import UserId

COLUMNS = "id, name, is_synced, created_at, last_used_at"


async def insert_challenge(
    session: AsyncConnection,
    challenge_id: UUID,
    *,
    challenge: bytes,
    purpose: str,
    user_id: UserId | None,
    seconds: int,
) -> None:
    """Store a challenge; for everybody's passkeys where `user_id` is None."""
    await session.execute(
        text(
            "insert into identity_passkey_challenges (id, challenge, purpose, user_id, expires_at)"
            " values (:id, :challenge, :purpose, :user_id, now() + make_interval(secs => :seconds))"
        ),
        {"id": challenge_id, "challenge": challenge, "purpose": purpose, "user_id": user_id, "seconds": seconds},
    )


async def use_challenge(session: AsyncConnection, challenge_id: UUID, *, purpose: str) -> RowMapping | None:
    """Use a challenge and return `challenge` and `user_id`; None when it is unknown, used or expired."""
    done = await session.execute(
        text(
            "update identity_passkey_challenges set used_at = now() where id = :id and purpose = :purpose"
            " and used_at is null and expires_at > now() returning challenge, user_id"
        ),
        {"id": challenge_id, "purpose": purpose},
    )
    return done.mappings().first()


async def insert_passkey(session: AsyncConnection, values: dict[str, Any]) -> Passkey | None:
    """Store a passkey; None when the credential is known already."""
    made = await session.execute(
        text(
            "insert into identity_passkeys (id, user_id, credential_id, public_key, sign_count, transports, is_synced,"
            " aaguid, name) values (:id, :user_id, :credential_id, :public_key, :sign_count, :transports, :is_synced,"
            f" :aaguid, :name) on conflict (credential_id) do nothing returning {COLUMNS}"
        ),
        values,
    )
    row = made.mappings().first()
    return Passkey(**row) if row else None


async def list_passkeys(session: AsyncConnection, user_id: UserId) -> list[Passkey]:
    """Return a person's passkeys, newest first."""
    found = await session.execute(
        text(f"select {COLUMNS} from identity_passkeys where user_id = :user_id order by created_at desc, id desc"),
        {"user_id": user_id},
    )
    return [Passkey(**row) for row in found.mappings()]


async def credentials_of(session: AsyncConnection, user_id: UserId) -> Sequence[RowMapping]:
    """Return `credential_id` and `transports` of a person's passkeys."""
    found = await session.execute(
        text("select credential_id, transports from identity_passkeys where user_id = :user_id order by created_at"),
        {"user_id": user_id},
    )
    return found.mappings().all()


async def lock_credential(session: AsyncConnection, credential_id: bytes) -> RowMapping | None:
    """Return the passkey of this credential and hold its counter until the transaction ends."""
    found = await session.execute(
        text(
            "select id, user_id, public_key, sign_count, is_synced from identity_passkeys"
            " where credential_id = :credential_id for update"
        ),
        {"credential_id": credential_id},
    )
    return found.mappings().first()


async def note_use(session: AsyncConnection, passkey_id: UUID, *, sign_count: int, is_synced: bool) -> None:
    """Note that a passkey was used and what its counter says."""
    await session.execute(
        text(
            "update identity_passkeys set sign_count = :sign_count, is_synced = :is_synced, last_used_at = now()"
            " where id = :id"
        ),
        {"id": passkey_id, "sign_count": sign_count, "is_synced": is_synced},
    )


async def rename(session: AsyncConnection, user_id: UserId, passkey_id: UUID, name: str) -> bool:
    """Rename a person's passkey; False when it is not theirs."""
    done = await session.execute(
        text("update identity_passkeys set name = :name where id = :id and user_id = :user_id"),
        {"id": passkey_id, "user_id": user_id, "name": name},
    )
    return bool(done.rowcount)


async def delete(session: AsyncConnection, user_id: UserId, passkey_id: UUID) -> bool:
    """Remove a person's passkey; False when it is not theirs."""
    done = await session.execute(
        text("delete from identity_passkeys where id = :id and user_id = :user_id"),
        {"id": passkey_id, "user_id": user_id},
    )
    return bool(done.rowcount)
