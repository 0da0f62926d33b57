"""SQL of people and their passwords."""

from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.identity.accounts.model import Account, Factors
from ragecho.kernel.ids import UserId

COLUMNS = "id, email, name, locale, zoneinfo, is_disabled, email_verified_at, created_at, updated_at"


async def find_account(session: AsyncConnection, user_id: UserId) -> Account | None:
    """Return a person who has not been deleted."""
    found = await session.execute(
        text(f"select {COLUMNS} from users where id = :id and deleted_at is null"), {"id": user_id}
    )
    row = found.mappings().first()
    return Account(**row) if row else None


async def find_by_email(session: AsyncConnection, email: str) -> Account | None:
    """Return the person with this address."""
    found = await session.execute(
        text(f"select {COLUMNS} from users where lower(email) = lower(:email) and deleted_at is null"), {"email": email}
    )
    row = found.mappings().first()
    return Account(**row) if row else None


async def insert_account(
    session: AsyncConnection, user_id: UserId, *, email: str, name: str | None, is_verified: bool
) -> bool:
    """Create a person; False when the address is taken."""
    made = await session.execute(
        text(
            "insert into users (id, email, name, email_verified_at)"
            " values (:id, :email, :name, case when :is_verified then now() end) on conflict do nothing"
        ),
        {"id": user_id, "email": email, "name": name, "is_verified": is_verified},
    )
    return bool(made.rowcount)


async def lock_account(session: AsyncConnection, user_id: UserId) -> Account | None:
    """Return the person as they are now and keep them so until the transaction ends (against suspension meanwhile)."""
    found = await session.execute(
        text(f"select {COLUMNS} from users where id = :id and deleted_at is null for no key update"), {"id": user_id}
    )
    row = found.mappings().first()
    return Account(**row) if row else None


async def update_profile(session: AsyncConnection, user_id: UserId, changes: dict[str, Any]) -> None:
    """Change some of name, locale and zoneinfo."""
    assignments = ", ".join(f"{name} = :{name}" for name in sorted(changes) if name in ("name", "locale", "zoneinfo"))
    await session.execute(
        text(f"update users set {assignments}, updated_at = now() where id = :id"), {**changes, "id": user_id}
    )


async def update_email(session: AsyncConnection, user_id: UserId, email: str) -> bool:
    """Change the address to one that was just confirmed; False when somebody else has it."""
    try:
        async with session.begin_nested():
            await session.execute(
                text("update users set email = :email, email_verified_at = now(), updated_at = now() where id = :id"),
                {"id": user_id, "email": email},
            )
    except IntegrityError:
        return False
    return True


async def verify_email(session: AsyncConnection, user_id: UserId, email: str) -> bool:
    """Note that mail to this address reaches the person; False when they have changed it meanwhile."""
    done = await session.execute(
        text(
            "update users set email_verified_at = coalesce(email_verified_at, now()), updated_at = now()"
            " where id = :id and lower(email) = lower(:email)"
        ),
        {"id": user_id, "email": email},
    )
    return bool(done.rowcount)


async def set_disabled(session: AsyncConnection, user_id: UserId, *, is_disabled: bool) -> bool:
    """Suspend or let back in; a trigger ends the sessions. False when there is no such person."""
    done = await session.execute(
        text("update users set is_disabled = :is_disabled, updated_at = now() where id = :id and deleted_at is null"),
        {"id": user_id, "is_disabled": is_disabled},
    )
    return bool(done.rowcount)


async def anonymize(session: AsyncConnection, user_id: UserId) -> None:
    """Empty a person's row and delete what they signed in with, their memberships and their mail; ids stay."""
    address = await session.execute(text("select email from users where id = :id"), {"id": user_id})
    await session.execute(
        text("delete from identity_outbox where lower(recipient) = lower(:email) and sent_at is null"),
        {"email": address.scalar_one()},
    )
    await session.execute(
        text(
            "update users set email = 'deleted-' || id || '@deleted.invalid', name = null, locale = null, zoneinfo = null,"
            " email_verified_at = null, is_disabled = true, deleted_at = now(), updated_at = now() where id = :id"
        ),
        {"id": user_id},
    )
    await session.execute(
        text("update identity_sessions set user_agent = null, ip = null where user_id = :id"), {"id": user_id}
    )
    for table in (
        "identity_passwords",
        "identity_totp",
        "identity_passkeys",
        "identity_recovery_codes",
        "identity_devices",
        "identity_links",
        "identity_login_tickets",
        "federated_identities",
        "organization_members",
    ):
        await session.execute(text(f"delete from {table} where user_id = :id"), {"id": user_id})


async def owned_alone(session: AsyncConnection, user_id: UserId) -> list[str]:
    """Return the names of the organisations that would be without an owner if the person went."""
    found = await session.execute(
        text(
            "select o.name from organization_members m join organizations o on o.id = m.organization_id"
            " where m.user_id = :id and m.role = 'owner' and not exists (select from organization_members other"
            " where other.organization_id = m.organization_id and other.role = 'owner' and other.user_id <> :id)"
            " order by o.name"
        ),
        {"id": user_id},
    )
    return list(found.scalars())


async def find_password(session: AsyncConnection, email: str) -> RowMapping | None:
    """Return `user_id` and `hash` (None without a password) for an address."""
    found = await session.execute(
        text(
            "select u.id as user_id, p.hash from users u left join identity_passwords p on p.user_id = u.id"
            " where lower(u.email) = lower(:email) and u.deleted_at is null"
        ),
        {"email": email},
    )
    return found.mappings().first()


async def password_of(session: AsyncConnection, user_id: UserId) -> str | None:
    """Return a person's password hash."""
    found = await session.execute(
        text("select hash from identity_passwords where user_id = :user_id"), {"user_id": user_id}
    )
    return found.scalar_one_or_none()


async def save_password(session: AsyncConnection, user_id: UserId, hashed: str) -> None:
    """Store a new password."""
    await session.execute(
        text(
            "insert into identity_passwords (user_id, hash) values (:user_id, :hash)"
            " on conflict (user_id) do update set hash = excluded.hash, changed_at = now()"
        ),
        {"user_id": user_id, "hash": hashed},
    )


async def replace_hash(session: AsyncConnection, user_id: UserId, *, old: str, new: str) -> None:
    """Store the same password's hash with today's parameters, unless the password has changed meanwhile."""
    await session.execute(
        text("update identity_passwords set hash = :new where user_id = :user_id and hash = :old"),
        {"user_id": user_id, "old": old, "new": new},
    )


async def insert_owner(session: AsyncConnection, organization_id: UUID, user_id: UserId) -> None:
    """Make a person an owner of the organisation."""
    await session.execute(
        text(
            "insert into organization_members (organization_id, user_id, role) values (:organization, :user, 'owner')"
        ),
        {"organization": organization_id, "user": user_id},
    )


async def factors_of(session: AsyncConnection, user_id: UserId) -> Factors:
    """Return what a person can sign in with."""
    found = await session.execute(
        text(
            "select exists (select from identity_passwords where user_id = :id) as has_password,"
            " exists (select from identity_totp where user_id = :id and confirmed_at is not null) as has_totp,"
            " (select count(*) from identity_passkeys where user_id = :id) as passkeys,"
            " (select count(*) from identity_recovery_codes where user_id = :id and used_at is null) as recovery_codes_left"
        ),
        {"id": user_id},
    )
    return Factors(**found.mappings().one())


async def has_upstream(session: AsyncConnection, user_id: UserId) -> bool:
    """Return whether the person can sign in by another provider."""
    found = await session.execute(
        text("select exists (select from federated_identities where user_id = :id)"), {"id": user_id}
    )
    return bool(found.scalar_one())


async def drop_useless_recovery_codes(session: AsyncConnection, user_id: UserId) -> None:
    """Delete recovery codes where there is no second factor left that they could stand in for."""
    await session.execute(
        text(
            "delete from identity_recovery_codes where user_id = :id"
            " and not exists (select from identity_totp where user_id = :id and confirmed_at is not null)"
            " and not exists (select from identity_passkeys where user_id = :id)"
        ),
        {"id": user_id},
    )


async def requires_second_factor(session: AsyncConnection, user_id: UserId) -> bool:
    """Return whether an organisation that the person is in requires a second factor of its members."""
    found = await session.execute(
        text(
            "select exists (select from organization_members m join organizations o on o.id = m.organization_id"
            " where m.user_id = :id and m.suspended_at is null and o.require_second_factor)"
        ),
        {"id": user_id},
    )
    return bool(found.scalar_one())
