"""SQL of the links in mails."""

from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ragecho.kernel.ids import UserId


async def insert_link(
    session: AsyncConnection,
    *,
    digest: bytes,
    kind: str,
    minutes: int,
    user_id: UserId | None = None,
    email: str | None = None,
    organization_id: UUID | None = None,
) -> None:
    """Store a link by the digest of its secret."""
    await session.execute(
        text(
            "insert into identity_links (secret_sha256, kind, user_id, email, organization_id, expires_at)"
            " values (:digest, :kind, :user_id, :email, :organization_id, now() + make_interval(mins => :minutes))"
        ),
        {
            "digest": digest,
            "kind": kind,
            "user_id": user_id,
            "email": email,
            "organization_id": organization_id,
            "minutes": minutes,
        },
    )


async def find_link(session: AsyncConnection, digest: bytes, *, kind: str) -> RowMapping | None:
    """Return a link that still works, without using it."""
    found = await session.execute(
        text(
            "select user_id, email, organization_id from identity_links"
            " where secret_sha256 = :digest and kind = :kind and used_at is null and expires_at > now()"
        ),
        {"digest": digest, "kind": kind},
    )
    return found.mappings().first()


async def use_link(session: AsyncConnection, digest: bytes, *, kind: str) -> RowMapping | None:
    """Use a link, or return None when it is unknown, used or expired. One statement: of several requests one gets it."""
    done = await session.execute(
        text(
            "update identity_links set used_at = now()"
            " where secret_sha256 = :digest and kind = :kind and used_at is null and expires_at > now()"
            " returning user_id, email, organization_id"
        ),
        {"digest": digest, "kind": kind},
    )
    return done.mappings().first()


async def end_links(session: AsyncConnection, *, kinds: list[str], user_id: UserId | None, email: str | None) -> None:
    """End the links of these kinds that a person, or an address, has not used yet."""
    await session.execute(
        text(
            "update identity_links set used_at = now() where kind = any (:kinds) and used_at is null"
            " and ((cast(:user_id as uuid) is not null and user_id = :user_id)"
            " or (cast(:email as text) is not null and lower(email) = lower(:email)))"
        ),
        {"kinds": kinds, "user_id": user_id, "email": email},
    )


async def end_organization_links(session: AsyncConnection, organization_id: UUID, *, kind: str) -> None:
    """End the links of an organisation."""
    await session.execute(
        text(
            "update identity_links set used_at = now()"
            " where organization_id = :organization_id and kind = :kind and used_at is null"
        ),
        {"organization_id": organization_id, "kind": kind},
    )


async def delete_expired(session: AsyncConnection) -> None:
    """Forget links that nobody can use any more."""
    await session.execute(text("delete from identity_links where expires_at < now() - interval '7 days'"))


async def find_invitation(session: AsyncConnection, digest: bytes) -> RowMapping | None:
    """Return the invitation that this digest's secret opens."""
    found = await session.execute(text("select * from ragecho_find_invitation(:digest)"), {"digest": digest})
    return found.mappings().first()


async def accept_invitation(session: AsyncConnection, digest: bytes, user_id: UserId) -> RowMapping:
    """Make the person a member; returns `outcome` and `organization_id`."""
    done = await session.execute(
        text("select * from ragecho_accept_invitation(:digest, :user_id)"), {"digest": digest, "user_id": user_id}
    )
    return done.mappings().one()


async def lock_organization(session: AsyncConnection, organization_id: UUID) -> None:
    """Hold the organisation's first owner's place until the transaction ends."""
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended('first owner ' || :id, 0))"), {"id": str(organization_id)}
    )


async def has_owner_with_login(session: AsyncConnection, organization_id: UUID) -> bool:
    """Return whether an owner of the organisation can sign in."""
    found = await session.execute(
        text(
            "select exists (select from organization_members m join users u on u.id = m.user_id"
            " where m.organization_id = :id and m.role = 'owner' and not u.is_disabled"
            " and (exists (select from identity_passwords p where p.user_id = u.id)"
            " or exists (select from identity_passkeys k where k.user_id = u.id)"
            " or exists (select from federated_identities f where f.user_id = u.id)))"
        ),
        {"id": organization_id},
    )
    return bool(found.scalar_one())
