"""SQL of authenticators and recovery codes."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.ids import UserId


async def insert_totp(session: AsyncConnection, user_id: UserId, sealed: str) -> bool:
    """Store a secret that waits for confirmation; False when the person has a confirmed one."""
    done = await session.execute(
        text(
            "insert into identity_totp as t (user_id, secret_sealed) values (:user_id, :sealed)"
            " on conflict (user_id) do update set secret_sealed = excluded.secret_sealed, created_at = now(), last_step = 0"
            " where t.confirmed_at is null"
        ),
        {"user_id": user_id, "sealed": sealed},
    )
    return bool(done.rowcount)


async def find_totp(session: AsyncConnection, user_id: UserId, *, is_confirmed: bool) -> str | None:
    """Return a person's sealed secret."""
    found = await session.execute(
        text(
            "select secret_sealed from identity_totp"
            " where user_id = :user_id and (confirmed_at is not null) = :is_confirmed"
        ),
        {"user_id": user_id, "is_confirmed": is_confirmed},
    )
    return found.scalar_one_or_none()


async def confirm_totp(session: AsyncConnection, user_id: UserId, *, step: int) -> bool:
    """Take the secret into use; False when another request has."""
    done = await session.execute(
        text(
            "update identity_totp set confirmed_at = now(), last_step = :step"
            " where user_id = :user_id and confirmed_at is null"
        ),
        {"user_id": user_id, "step": step},
    )
    return bool(done.rowcount)


async def use_totp_step(session: AsyncConnection, user_id: UserId, *, step: int) -> bool:
    """Note the time step of a code; False when it or a later one was used already."""
    done = await session.execute(
        text(
            "update identity_totp set last_step = :step"
            " where user_id = :user_id and confirmed_at is not null and last_step < :step"
        ),
        {"user_id": user_id, "step": step},
    )
    return bool(done.rowcount)


async def delete_totp(session: AsyncConnection, user_id: UserId) -> bool:
    """Remove a person's authenticator; False when there was none."""
    done = await session.execute(text("delete from identity_totp where user_id = :user_id"), {"user_id": user_id})
    return bool(done.rowcount)


async def replace_recovery_codes(session: AsyncConnection, user_id: UserId, digests: Sequence[bytes]) -> None:
    """Store new codes instead of the old ones."""
    # Two requests at once must not leave twenty.
    await session.execute(text("select from users where id = :user_id for update"), {"user_id": user_id})
    await session.execute(text("delete from identity_recovery_codes where user_id = :user_id"), {"user_id": user_id})
    await session.execute(
        text(
            "insert into identity_recovery_codes (user_id, code_sha256)"
            " select :user_id, digest from unnest(cast(:digests as bytea[])) as digest"
        ),
        {"user_id": user_id, "digests": list(digests)},
    )


async def use_recovery_code(session: AsyncConnection, user_id: UserId, digest: bytes) -> bool:
    """Use a code up; False when there is none such left."""
    done = await session.execute(
        text(
            "update identity_recovery_codes set used_at = now()"
            " where user_id = :user_id and code_sha256 = :digest and used_at is null"
        ),
        {"user_id": user_id, "digest": digest},
    )
    return bool(done.rowcount)
