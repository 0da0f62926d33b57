"""Whose account an upstream identity opens. See `sign_in`, which brings it here."""

from uuid import UUID

from ragecho.identity.federation import store_providers, store_sign_ins
from ragecho.identity.federation.claims import domain_of
from ragecho.identity.federation.errors import Fault, FederationFailed
from ragecho.identity.federation.model import (
    GOOGLE_ISSUER,
    IdentityProvider,
    Journey,
    MustSignInFirst,
    SignedIn,
    UpstreamIdentity,
)
from ragecho.identity.federation.store_sign_ins import Person
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import OrganizationId, UserId, WorkspaceId, uuid7
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session

# In a provider's list of allowed domains: whatever address it vouches for.
ANY_DOMAIN = "*"
NO_WORKSPACE = WorkspaceId(UUID(int=0))
GOOGLE_MAIL = frozenset({"gmail.com", "googlemail.com"})


async def sign_in(
    db: Session, provider: IdentityProvider, identity: UpstreamIdentity, journey: Journey
) -> SignedIn | MustSignInFirst:
    """Return whose account an upstream identity opens, making it where that is allowed. Raises `FederationFailed`."""
    known = await store_sign_ins.find_identity(db, identity.issuer, identity.subject, provider.organization_id)
    if known is not None:
        identity_id, person = known
        await _admit(db, provider, identity, person)
        await store_sign_ins.touch_identity(db, identity_id, email=identity.email)
        return SignedIn(person.id, identity_id, identity, journey.destination)

    email, is_own_domain = await _believed_email(db, provider, identity)
    existing = await store_sign_ins.find_person(db, provider.organization_id, email=email)
    if existing is None:
        return await _create(db, provider, identity, journey, email=email, is_own_domain=is_own_domain)
    if not is_own_domain or existing.managed_by_organization_id != provider.organization_id:
        return MustSignInFirst(uuid7(), provider.name, email, journey.destination)
    # The organisation's directory made this account, and the organisation controls the address's domain.
    await _admit(db, provider, identity, existing)
    identity_id = await insert_connection(
        db, provider, existing.id, issuer=identity.issuer, subject=identity.subject, email=identity.email
    )
    await store_sign_ins.confirm_email(db, existing.id)
    return SignedIn(existing.id, identity_id, identity, journey.destination)


async def connect(db: Session, provider: IdentityProvider, identity: UpstreamIdentity, user_id: UserId) -> None:
    """Connect an upstream account to a signed-in person's. Raises `FederationFailed` when it is somebody else's."""
    await insert_connection(
        db, provider, user_id, issuer=identity.issuer, subject=identity.subject, email=identity.email
    )


async def _believed_email(db: Session, provider: IdentityProvider, identity: UpstreamIdentity) -> tuple[str, bool]:
    """Return the address, and whether its domain is the organisation's own. Raises `FederationFailed` unless proved.

    Two things are needed: the provider says that the address is verified, and has a right to say so: over domains that
    its organisation controls, or over all because the operator (or, for Google's own addresses, everybody) trusts it.
    """
    email = identity.email
    if email is None:
        raise FederationFailed(
            Fault.NO_EMAIL,
            "Your provider did not tell your e-mail address.",
            hint="The scope 'email' may be missing, or the account has no address.",
        )
    domain = domain_of(email)
    is_own = await store_providers.controls_domain(db, provider.organization_id, domain)
    is_silent_but_trusted = identity.is_email_verified is None and is_own and provider.trusts_own_domains
    if identity.is_email_verified is not True and not is_silent_but_trusted:
        raise FederationFailed(
            Fault.EMAIL_UNVERIFIED,
            "Your provider has not verified your e-mail address. Verify it there, then sign in again.",
            hint="The claim email_verified is not true. A provider that never sends it needs 'trusts_own_domains'.",
        )
    is_googles = identity.issuer == GOOGLE_ISSUER and (domain in GOOGLE_MAIL or identity.hosted_domain == domain)
    if not is_own and not provider.trusts_email and not is_googles:
        raise FederationFailed(
            Fault.EMAIL_NOT_TRUSTED,
            "Addresses of this domain cannot be used to sign in here. Ask your administrator.",
            hint=f"The organisation has not verified the domain {domain}.",
        )
    return email, is_own


async def _create(
    db: Session,
    provider: IdentityProvider,
    identity: UpstreamIdentity,
    journey: Journey,
    *,
    email: str,
    is_own_domain: bool,
) -> SignedIn | MustSignInFirst:
    """Make account, connection and membership together."""
    if not _may_join(provider, email, is_own_domain=is_own_domain):
        raise FederationFailed(
            Fault.DOMAIN_NOT_ALLOWED, "Addresses of your domain may not sign up here. Ask your administrator."
        )
    if not provider.creates_members:
        raise FederationFailed(
            Fault.NOT_A_MEMBER, "You have no account here yet. Ask your administrator to invite you."
        )
    user_id = UserId(uuid7())
    managed_by = provider.organization_id if is_own_domain else None
    if not await store_sign_ins.insert_person(
        db, user_id, email=email, name=identity.name, locale=identity.locale, managed_by=managed_by
    ):
        # It was made in this very moment, perhaps by the same person in another tab.
        return await sign_in(db, provider, identity, journey)
    identity_id = await insert_connection(
        db, provider, user_id, issuer=identity.issuer, subject=identity.subject, email=identity.email
    )
    await _enrol(db, provider, user_id)
    return SignedIn(user_id, identity_id, identity, journey.destination)


async def _admit(db: Session, provider: IdentityProvider, identity: UpstreamIdentity, person: Person) -> None:
    """Refuse who is suspended; make a member of who may become one, and let everybody else into their own account."""
    if person.is_disabled or person.is_suspended:
        raise FederationFailed(Fault.SUSPENDED, "Your account is suspended. Ask your administrator.")
    if person.is_member or not provider.creates_members:
        return
    try:
        email, is_own_domain = await _believed_email(db, provider, identity)
    except FederationFailed:
        return
    if _may_join(provider, email, is_own_domain=is_own_domain):
        await _enrol(db, provider, person.id)


def _may_join(provider: IdentityProvider, email: str, *, is_own_domain: bool) -> bool:
    """Return whether people with this address become members by signing in.

    Without a list, only those of the organisation's own domains: a provider like Google lets everybody in.
    """
    allowed = provider.allowed_domains
    return (domain_of(email) in allowed or ANY_DOMAIN in allowed) if allowed else is_own_domain


async def _enrol(db: Session, provider: IdentityProvider, user_id: UserId) -> None:
    is_new = await store_sign_ins.insert_member(
        db,
        provider.organization_id,
        user_id,
        role=str(provider.default_role),
        workspaces=provider.default_workspaces,
    )
    if is_new:
        await _tell(
            db, provider.organization_id, user_id, "member.joined", role=str(provider.default_role), by=provider.name
        )


async def insert_connection(
    db: Session, provider: IdentityProvider, user_id: UserId, *, issuer: str, subject: str, email: str | None
) -> UUID:
    """Connect and return the connection's id; connecting again changes nothing. Raises `FederationFailed`."""
    identity_id = uuid7()
    if await store_sign_ins.insert_identity(
        db,
        identity_id,
        issuer=issuer,
        subject=subject,
        user_id=user_id,
        provider_id=provider.id,
        email=email,
    ):
        return identity_id
    known = await store_sign_ins.find_identity(db, issuer, subject, provider.organization_id)
    if known is None or known[1].id != user_id:
        raise FederationFailed(
            Fault.LINKED_ELSEWHERE, "That account is connected to another person here. Disconnect it there first."
        )
    return known[0]


async def _tell(db: Session, organization_id: OrganizationId, user_id: UserId, action: str, **details: object) -> None:
    """Write into the organisation's log."""
    actor = Caller(organization_id, NO_WORKSPACE, (), frozenset(), user_id=user_id)
    await record(db, actor, action, Target("member", user_id), details=details)
