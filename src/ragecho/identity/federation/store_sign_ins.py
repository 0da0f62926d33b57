"""SQL of journeys to upstream providers, connected accounts and the people behind them. Runs as the identity service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from ragecho.identity.federation.model import Destination, Journey, Linked, PendingLink, WorkspaceGrant
from ragecho.kernel.ids import OrganizationId, UserId
from ragecho.platform.database import Session


@dataclass(frozen=True, slots=True)
class Person:
    """An account as far as sign-in through a provider needs it."""

    id: UserId
    email: str
    is_disabled: bool
    managed_by_organization_id: OrganizationId | None
    is_member: bool
    is_suspended: bool


PERSON = (
    "u.id, u.email, u.is_disabled, u.managed_by_organization_id, m.user_id is not null as is_member,"
    " m.suspended_at is not null as is_suspended"
)
MEMBERSHIP = "left join organization_members m on m.user_id = u.id and m.organization_id = :organization_id"


async def insert_journey(
    db: Session,
    *,
    state_sha256: bytes,
    browser_sha256: bytes,
    provider_id: UUID,
    destination: Destination,
    linking_user_id: UserId | None,
    seconds: int,
) -> None:
    """Store where a browser is going; what is long over goes."""
    await db.execute(text("delete from federation_sign_ins where expires_at < now() - interval '1 day'"))
    await db.execute(text("delete from federation_pending_links where expires_at < now() - interval '1 day'"))
    await db.execute(
        text(
            "insert into federation_sign_ins (state_sha256, browser_sha256, provider_id, interaction, next_page, linking_user_id,"
            " expires_at) values (:state, :browser, :provider, :interaction, :next_page, :linking,"
            " now() + make_interval(secs => :seconds))"
        ),
        {
            "state": state_sha256,
            "browser": browser_sha256,
            "provider": provider_id,
            "interaction": destination.interaction,
            "next_page": destination.next_page,
            "linking": linking_user_id,
            "seconds": seconds,
        },
    )


async def journey_browser(db: Session, state_sha256: bytes) -> bytes | None:
    """Return the digest of the browser that started this journey, while it lasts."""
    found = await db.execute(
        text(
            "select browser_sha256 from federation_sign_ins"
            " where state_sha256 = :state and used_at is null and expires_at > now()"
        ),
        {"state": state_sha256},
    )
    return found.scalar_one_or_none()


async def end_journey(db: Session, *, state_sha256: bytes, browser_sha256: bytes, provider_id: UUID) -> Journey | None:
    """Use up a state, once: for its own browser and provider only. None where it does not count (any more)."""
    done = await db.execute(
        text(
            "update federation_sign_ins set used_at = now() where state_sha256 = :state and browser_sha256 = :browser"
            " and provider_id = :provider and used_at is null and expires_at > now()"
            " returning provider_id, interaction, next_page, linking_user_id"
        ),
        {"state": state_sha256, "browser": browser_sha256, "provider": provider_id},
    )
    row = done.mappings().first()
    if row is None:
        return None
    return Journey(row["provider_id"], Destination(row["interaction"], row["next_page"]), row["linking_user_id"])


async def find_identity(
    db: Session, issuer: str, subject: str, organization_id: OrganizationId
) -> tuple[UUID, Person] | None:
    """Return the connection of an upstream account and its person, with their membership in the organisation."""
    found = await db.execute(
        text(
            f"select i.id as identity_id, {PERSON} from federated_identities i join users u on u.id = i.user_id {MEMBERSHIP}"
            " where i.issuer = :issuer and i.subject = :subject and u.deleted_at is null"
        ),
        {"issuer": issuer, "subject": subject, "organization_id": organization_id},
    )
    row = found.mappings().first()
    if row is None:
        return None
    return row["identity_id"], Person(**{name: row[name] for name in Person.__slots__})


async def find_person(db: Session, organization_id: OrganizationId, *, email: str) -> Person | None:
    """Return who has this address."""
    found = await db.execute(
        text(
            f"select {PERSON} from users u {MEMBERSHIP} where lower(u.email) = lower(:email) and u.deleted_at is null"
        ),
        {"email": email, "organization_id": organization_id},
    )
    row = found.mappings().first()
    return Person(**row) if row else None


async def insert_person(
    db: Session,
    user_id: UserId,
    *,
    email: str,
    name: str | None,
    locale: str | None,
    managed_by: OrganizationId | None,
) -> bool:
    """Create an account with a confirmed address and no password; False when the address is taken."""
    made = await db.execute(
        text(
            "insert into users (id, email, name, locale, managed_by_organization_id, email_verified_at)"
            " values (:id, :email, :name, :locale, :managed_by, now()) on conflict do nothing"
        ),
        {"id": user_id, "email": email, "name": name, "locale": locale, "managed_by": managed_by},
    )
    return bool(made.rowcount)


async def confirm_email(db: Session, user_id: UserId) -> None:
    """Note that the address is the person's own, unless that is known."""
    await db.execute(
        text("update users set email_verified_at = now() where id = :id and email_verified_at is null"),
        {"id": user_id},
    )


async def insert_identity(
    db: Session,
    identity_id: UUID,
    *,
    issuer: str,
    subject: str,
    user_id: UserId,
    provider_id: UUID,
    email: str | None,
) -> bool:
    """Connect an upstream account; False when it is connected already, to whomever."""
    made = await db.execute(
        text(
            "insert into federated_identities (id, issuer, subject, user_id, provider_id, email)"
            " values (:id, :issuer, :subject, :user_id, :provider_id, :email) on conflict do nothing"
        ),
        {
            "id": identity_id,
            "issuer": issuer,
            "subject": subject,
            "user_id": user_id,
            "provider_id": provider_id,
            "email": email,
        },
    )
    return bool(made.rowcount)


async def touch_identity(db: Session, identity_id: UUID, *, email: str | None) -> None:
    """Note a sign-in and the address that the provider has now."""
    await db.execute(
        text("update federated_identities set last_used_at = now(), email = coalesce(:email, email) where id = :id"),
        {"id": identity_id, "email": email},
    )


async def list_identities(db: Session, user_id: UserId) -> list[Linked]:
    """Return a person's connections, oldest first."""
    found = await db.execute(
        text(
            "select i.id, i.issuer, coalesce(p.name, i.issuer) as provider_name, i.email, i.created_at, i.last_used_at"
            " from federated_identities i left join identity_providers p on p.id = i.provider_id"
            " where i.user_id = :user_id order by i.created_at, i.id"
        ),
        {"user_id": user_id},
    )
    return [Linked(**row) for row in found.mappings()]


async def delete_identity(db: Session, user_id: UserId, identity_id: UUID) -> bool:
    """Remove a person's connection; False where it is not theirs."""
    done = await db.execute(
        text("delete from federated_identities where user_id = :user_id and id = :id"),
        {"user_id": user_id, "id": identity_id},
    )
    return bool(done.rowcount)


async def can_sign_in_without(db: Session, user_id: UserId, identity_id: UUID) -> bool:
    """Return whether the person has another way to sign in than this connection."""
    found = await db.execute(
        text(
            "select exists (select from identity_passwords where user_id = :user_id)"
            " or exists (select from identity_passkeys where user_id = :user_id)"
            " or exists (select from federated_identities where user_id = :user_id and id <> :id)"
        ),
        {"user_id": user_id, "id": identity_id},
    )
    return bool(found.scalar_one())


async def insert_member(
    db: Session,
    organization_id: OrganizationId,
    user_id: UserId,
    *,
    role: str,
    workspaces: Sequence[WorkspaceGrant],
) -> bool:
    """Make the person a member with roles in workspaces that exist; False when they are one already."""
    made = await db.execute(
        text(
            "insert into organization_members (organization_id, user_id, role) values (:organization_id, :user_id, :role)"
            " on conflict do nothing"
        ),
        {"organization_id": organization_id, "user_id": user_id, "role": role},
    )
    if not made.rowcount:
        return False
    for grant in workspaces:
        await db.execute(
            text(
                "insert into workspace_members (organization_id, workspace_id, user_id, role)"
                " select :organization_id, w.id, :user_id, :role from workspaces w"
                " where w.id = :workspace_id and w.organization_id = :organization_id on conflict do nothing"
            ),
            {
                "organization_id": organization_id,
                "workspace_id": grant.workspace_id,
                "user_id": user_id,
                "role": str(grant.role),
            },
        )
    return True


async def insert_pending_link(
    db: Session,
    pending_id: UUID,
    *,
    browser_sha256: bytes,
    provider_id: UUID,
    issuer: str,
    subject: str,
    email: str | None,
    destination: Destination,
    seconds: int,
) -> None:
    """Keep a connection that waits for a sign-in in the same browser."""
    await db.execute(
        text(
            "insert into federation_pending_links (id, browser_sha256, provider_id, issuer, subject, email, interaction,"
            " next_page, expires_at) values (:id, :browser, :provider, :issuer, :subject, :email, :interaction, :next_page,"
            " now() + make_interval(secs => :seconds))"
        ),
        {
            "id": pending_id,
            "browser": browser_sha256,
            "provider": provider_id,
            "issuer": issuer,
            "subject": subject,
            "email": email,
            "interaction": destination.interaction,
            "next_page": destination.next_page,
            "seconds": seconds,
        },
    )


async def find_pending_link(db: Session, pending_id: UUID, browser_sha256: bytes) -> PendingLink | None:
    """Return a connection that waits, in its own browser."""
    found = await db.execute(
        text(
            "select id, provider_id, issuer, subject, email, interaction, next_page from federation_pending_links"
            " where id = :id and browser_sha256 = :browser and used_at is null and expires_at > now()"
        ),
        {"id": pending_id, "browser": browser_sha256},
    )
    row = found.mappings().first()
    if row is None:
        return None
    fields = {name: row[name] for name in ("id", "provider_id", "issuer", "subject", "email")}
    return PendingLink(**fields, destination=Destination(row["interaction"], row["next_page"]))


async def use_pending_link(db: Session, pending_id: UUID) -> bool:
    """Use up a connection that waits; False when that was done already."""
    done = await db.execute(
        text("update federation_pending_links set used_at = now() where id = :id and used_at is null"),
        {"id": pending_id},
    )
    return bool(done.rowcount)


async def insert_federated_session(
    db: Session, session_id: UUID, identity_id: UUID, *, upstream_session: str | None
) -> None:
    """Note which upstream session a session of ours came from."""
    await db.execute(
        text(
            "insert into federated_sessions (session_id, identity_id, upstream_session)"
            " values (:session_id, :identity_id, :upstream_session) on conflict (session_id)"
            " do update set identity_id = excluded.identity_id, upstream_session = excluded.upstream_session"
        ),
        {"session_id": session_id, "identity_id": identity_id, "upstream_session": upstream_session},
    )


async def date_session(db: Session, session_id: UUID, authenticated_at: datetime) -> datetime | None:
    """Put the time of authentication of a session back to when the provider says it was, and return it; never forward."""
    done = await db.execute(
        text(
            "update identity_sessions set authenticated_at = :moment where id = :id and authenticated_at > :moment"
            " returning authenticated_at"
        ),
        {"id": session_id, "moment": authenticated_at},
    )
    return done.scalar_one_or_none()


async def sessions_from(
    db: Session, issuer: str, *, subject: str | None, upstream_session: str | None
) -> list[tuple[UUID, UserId]]:
    """Return our live sessions that came from this person or session at the issuer, and whose they are."""
    found = await db.execute(
        text(
            "select s.id, s.user_id from federated_sessions f join federated_identities i on i.id = f.identity_id"
            " join identity_sessions s on s.id = f.session_id where i.issuer = :issuer and s.ended_at is null"
            " and (cast(:subject as text) is null or i.subject = :subject)"
            " and (cast(:upstream_session as text) is null or f.upstream_session = :upstream_session)"
        ),
        {"issuer": issuer, "subject": subject, "upstream_session": upstream_session},
    )
    return [(row.id, row.user_id) for row in found]


async def use_logout_token(db: Session, issuer: str, jti: str, *, seconds: int) -> bool:
    """Note a logout token; False when it was used before. What is long over goes."""
    await db.execute(text("delete from federation_logout_tokens where expires_at < now()"))
    made = await db.execute(
        text(
            "insert into federation_logout_tokens (issuer, jti, expires_at)"
            " values (:issuer, :jti, now() + make_interval(secs => :seconds)) on conflict do nothing"
        ),
        {"issuer": issuer, "jti": jti, "seconds": seconds},
    )
    return bool(made.rowcount)
