"""What federation hands out."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.kernel.ids import OrganizationId, UserId, WorkspaceId

GOOGLE_ISSUER = "https://accounts.google.com"
DEFAULT_SCOPES = ("openid", "email", "profile")


@dataclass(frozen=True, slots=True)
class Registration:
    """How Echo is known to an upstream provider. `auth_method` None means: what the provider's metadata says."""

    issuer: str
    client_id: str
    client_secret: str | None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    auth_method: str | None = None
    hosted_domain: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamIdentity:
    """Who somebody is at an upstream provider, from a validated ID token; (`issuer`, `subject`) is the key, nothing else.

    `email` is normalised; `is_email_verified` is what the provider says (None: nothing), which alone proves nothing to us.
    `hosted_domain` is Google's `hd`.
    """

    issuer: str
    subject: str
    email: str | None
    is_email_verified: bool | None
    hosted_domain: str | None
    name: str | None
    locale: str | None
    amr: tuple[str, ...]
    acr: str | None
    auth_time: datetime | None
    upstream_session: str | None


@dataclass(frozen=True, slots=True)
class WorkspaceGrant:
    """A role in a workspace that new members get."""

    workspace_id: WorkspaceId
    role: WorkspaceRole


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """An upstream provider of one organisation, without its secret."""

    id: UUID
    organization_id: OrganizationId
    name: str
    preset: str
    issuer: str
    client_id: str
    has_secret: bool
    auth_method: str | None
    scopes: tuple[str, ...]
    hosted_domain: str | None
    is_enabled: bool
    is_listed: bool
    trusts_email: bool
    trusts_own_domains: bool
    routed_domains: tuple[str, ...]
    allowed_domains: tuple[str, ...]
    creates_members: bool
    default_role: OrganizationRole
    default_workspaces: tuple[WorkspaceGrant, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of an organisation; `txt_value` is what a TXT record of the domain must say until it is verified."""

    id: UUID
    organization_id: OrganizationId
    name: str
    txt_value: str
    verified_at: datetime | None
    verified_by: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a sign-in leads: to a request of the protocol, or to a page of our own."""

    interaction: UUID | None = None
    next_page: str = "account"


@dataclass(frozen=True, slots=True)
class Journey:
    """A browser's way to an upstream provider and back. Connecting an account has a `linking_user_id`."""

    provider_id: UUID
    destination: Destination
    linking_user_id: UserId | None


@dataclass(frozen=True, slots=True)
class PendingLink:
    """An upstream account whose connection waits for its person to sign in to the account that has the address."""

    id: UUID
    provider_id: UUID
    issuer: str
    subject: str
    email: str | None
    destination: Destination


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who came back, by which connection."""

    user_id: UserId
    identity_id: UUID
    identity: UpstreamIdentity
    destination: Destination


@dataclass(frozen=True, slots=True)
class MustSignInFirst:
    """An account with that address exists: sign in to it, then confirm the connection."""

    pending_id: UUID
    provider_name: str
    email: str
    destination: Destination


@dataclass(frozen=True, slots=True)
class Connected:
    """A signed-in person connected an upstream account."""

    provider_name: str
    destination: Destination


@dataclass(frozen=True, slots=True)
class Linked:
    """Somebody's connection to an upstream provider."""

    id: UUID
    issuer: str
    provider_name: str
    email: str | None
    created_at: datetime
    last_used_at: datetime


@dataclass(frozen=True, slots=True)
class Button:
    """`Sign in with …` on the login page. Add `?interaction=` to `href` where there is one."""

    name: str
    href: str
