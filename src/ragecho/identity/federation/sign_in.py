"""Signing in through another provider: the way there, the way back, and whose account it is.

An account is found by (issuer, subject) alone. An address decides nothing but whether a new account may have it, and
whether an account that the organisation's own directory made is meant; with any other account its person signs in first
and then connects.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from ragecho.identity.federation import store_providers, store_sign_ins
from ragecho.identity.federation.claims import domain_of
from ragecho.identity.federation.errors import Fault, FederationFailed
from ragecho.identity.federation.model import (
    Button,
    Connected,
    Destination,
    IdentityProvider,
    Journey,
    Linked,
    MustSignInFirst,
    PendingLink,
    Registration,
    SignedIn,
)
from ragecho.identity.federation.upstream import Upstreams, check_response_issuer
from ragecho.identity.federation.whose_account import connect, insert_connection, sign_in
from ragecho.identity.vault import Vault
from ragecho.kernel.errors import Conflict, NotFound
from ragecho.kernel.ids import UserId
from ragecho.platform.database import Database, Session

JOURNEY_SECONDS = 600
PENDING_SECONDS = 900
MOST_BUTTONS = 6
SECRET_PURPOSE = "federation.client_secret"  # noqa: S105 - a purpose of the vault, not a secret
_LONGEST_WORD = 50
# The errors of an authorization response that mean: the person did not want to, or may not.
DENIALS = frozenset({"access_denied", "login_required", "interaction_required", "account_selection_required"})

Outcome = SignedIn | MustSignInFirst | Connected


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser brought back. `browser_secret` is from its cookie."""

    provider_id: UUID
    browser_secret: str | None
    state: str | None = None
    code: str | None = None
    error: str | None = None
    issuer: str | None = None


class FederatedSignIn:
    """The journeys of browsers. `issuer` is the identity service's own URL, without a slash at its end."""

    def __init__(self, database: Database, vault: Vault, upstreams: Upstreams, *, issuer: str) -> None:
        self._database = database
        self._vault = vault
        self._upstreams = upstreams
        self._issuer = issuer

    def redirect_uri(self, provider_id: UUID) -> str:
        """Return the address to register at the provider. Each has its own, so that no provider's code reaches another's."""
        return f"{self._issuer}/federation/{provider_id}/callback"

    def backchannel_logout_uri(self, provider_id: UUID) -> str:
        """Return where the provider may tell that somebody signed out there."""
        return f"{self._issuer}/federation/{provider_id}/backchannel-logout"

    async def start(
        self,
        provider_id: UUID,
        *,
        browser_secret: str,
        destination: Destination,
        linking_user_id: UserId | None = None,
        login_hint: str | None = None,
        is_fresh: bool = False,
    ) -> str:
        """Return where the browser goes. `is_fresh` asks the provider for a new login. Raises `FederationFailed`, `NotFound`."""
        async with self._database.anonymous() as db:
            provider = await self._enabled(db, provider_id)
        state = secrets.token_urlsafe(32)
        url = await self._upstreams.authorization_url(
            registration_of(provider, None),
            redirect_uri=self.redirect_uri(provider.id),
            state=state,
            nonce=self._nonce(state),
            verifier=self._verifier(state),
            login_hint=login_hint,
            prompt="login" if is_fresh else None,
        )
        async with self._database.anonymous() as db:
            await store_sign_ins.insert_journey(
                db,
                state_sha256=_digest(state),
                browser_sha256=_digest(browser_secret),
                provider_id=provider.id,
                destination=destination,
                linking_user_id=linking_user_id,
                seconds=JOURNEY_SECONDS,
            )
        return url

    async def finish(self, answer: Answer, *, signed_in_user_id: UserId | None = None) -> Outcome:
        """Return whose account the answer opens, or what has to happen first. Raises `FederationFailed`."""
        async with self._database.anonymous() as db:
            journey = await self._journey(db, answer)
            provider = await self._enabled(db, answer.provider_id)
            sealed = await store_providers.sealed_secret(db, provider.id)
        if journey.linking_user_id is not None and journey.linking_user_id != signed_in_user_id:
            raise FederationFailed(
                Fault.NOT_SIGNED_IN, "Sign in to your account first, then connect the other one from there."
            )
        registration = registration_of(provider, self._opened(sealed))
        if answer.error is not None or answer.code is None:
            metadata = await self._upstreams.discovery.metadata(provider.issuer)
            check_response_issuer(metadata, answer.issuer)
            raise _refused(answer.error)
        state = answer.state or ""
        identity = await self._upstreams.identify(
            registration,
            code=answer.code,
            redirect_uri=self.redirect_uri(provider.id),
            verifier=self._verifier(state),
            nonce_sha256=_digest(self._nonce(state)),
            response_issuer=answer.issuer,
        )
        async with self._database.anonymous() as db:
            if journey.linking_user_id is not None:
                await connect(db, provider, identity, journey.linking_user_id)
                return Connected(provider.name, journey.destination)
            found = await sign_in(db, provider, identity, journey)
            if isinstance(found, MustSignInFirst):
                await store_sign_ins.insert_pending_link(
                    db,
                    found.pending_id,
                    browser_sha256=_digest(answer.browser_secret or ""),
                    provider_id=provider.id,
                    issuer=identity.issuer,
                    subject=identity.subject,
                    email=identity.email,
                    destination=journey.destination,
                    seconds=PENDING_SECONDS,
                )
            return found

    async def pending_link(
        self, db: Session, pending_id: UUID, browser_secret: str | None
    ) -> tuple[PendingLink, IdentityProvider]:
        """Return a connection that waits in this browser. Raises `NotFound`."""
        found = await store_sign_ins.find_pending_link(db, pending_id, _digest(browser_secret or ""))
        if found is None:
            raise NotFound(
                "This connection has expired or belongs to another browser. Sign in with the provider again."
            )
        return found, await self._enabled(db, found.provider_id)

    async def confirm_link(
        self, db: Session, pending: PendingLink, provider: IdentityProvider, user_id: UserId
    ) -> None:
        """Connect what waits to the signed-in person's account. Raises `FederationFailed` or `NotFound`."""
        if not await store_sign_ins.use_pending_link(db, pending.id):
            raise NotFound("This connection has been made or refused already.")
        await insert_connection(
            db, provider, user_id, issuer=pending.issuer, subject=pending.subject, email=pending.email
        )

    async def _journey(self, db: Session, answer: Answer) -> Journey:
        """Use up the state. Raises `FederationFailed` where it is unknown, used, expired or another browser's."""
        if not answer.state or not answer.browser_secret:
            raise _unknown_state()
        journey = await store_sign_ins.end_journey(
            db,
            state_sha256=_digest(answer.state),
            browser_sha256=_digest(answer.browser_secret),
            provider_id=answer.provider_id,
        )
        if journey is not None:
            return journey
        browser = await store_sign_ins.journey_browser(db, _digest(answer.state))
        if browser is not None and browser != _digest(answer.browser_secret):
            raise FederationFailed(
                Fault.OTHER_BROWSER, "This sign-in was started in another browser. Start again in this one."
            )
        raise _unknown_state()

    async def _enabled(self, db: Session, provider_id: UUID) -> IdentityProvider:
        provider = await store_providers.find_provider(db, provider_id)
        if provider is None:
            raise NotFound("There is no such identity provider.")
        if not provider.is_enabled:
            raise FederationFailed(Fault.PROVIDER_DISABLED, "Signing in with this provider is switched off.")
        return provider

    def _opened(self, sealed: str | None) -> str | None:
        return None if sealed is None else self._vault.decrypt(sealed, purpose=SECRET_PURPOSE).decode()

    def _nonce(self, state: str) -> str:
        return self._vault.derive("federation.nonce", state)

    def _verifier(self, state: str) -> str:
        return self._vault.derive("federation.verifier", state)


async def login_buttons(db: Session) -> list[Button]:
    """Return the providers that everybody may sign in with."""
    found = await store_providers.listed_providers(db, limit=MOST_BUTTONS)
    return [Button(name, f"/identity/federation/{provider_id}/start") for provider_id, name in found]


async def route_email(db: Session, email: str) -> Button | None:
    """Return the provider that people of this address's domain sign in with; None for everybody else."""
    domain = domain_of(email)
    found = await store_providers.provider_of_domain(db, domain) if "." in domain else None
    return Button(found[1], f"/identity/federation/{found[0]}/start") if found else None


async def list_connections(db: Session, user_id: UserId) -> list[Linked]:
    """Return the upstream accounts that a person has connected."""
    return await store_sign_ins.list_identities(db, user_id)


async def disconnect(db: Session, user_id: UserId, identity_id: UUID) -> None:
    """Remove a connection. Raises `NotFound`, and `Conflict` when the person could not sign in any more."""
    if not await store_sign_ins.can_sign_in_without(db, user_id, identity_id):
        raise Conflict("This is the only way to sign in to your account. Set a password first.")
    if not await store_sign_ins.delete_identity(db, user_id, identity_id):
        raise NotFound("There is no such connection.")


def registration_of(provider: IdentityProvider, secret: str | None) -> Registration:
    """Return how Echo is known to the provider."""
    return Registration(
        issuer=provider.issuer,
        client_id=provider.client_id,
        client_secret=secret,
        scopes=provider.scopes,
        auth_method=provider.auth_method,
        hosted_domain=provider.hosted_domain,
    )


def _refused(error: str | None) -> FederationFailed:
    if error in DENIALS:
        return FederationFailed(Fault.DENIED, "You did not sign in with your provider, or it did not let you.")
    known = error if error and error.isascii() and error.isprintable() and len(error) <= _LONGEST_WORD else "none"
    return FederationFailed(
        Fault.UPSTREAM_ERROR,
        "Your provider answered with an error. Try again later.",
        hint=f"The authorization response has no code; error: {known}.",
    )


def _unknown_state() -> FederationFailed:
    return FederationFailed(Fault.UNKNOWN_STATE, "This sign-in has expired or was finished already. Start again.")


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def browsers_secret(cookie: str | None) -> str:
    """Return the secret that binds journeys to a browser: the cookie's, or a new one."""
    is_ours = cookie is not None and len(cookie) == 43 and cookie.isascii()  # noqa: PLR2004 - 256 bits in base64url
    return cookie if is_ours and cookie is not None else secrets.token_urlsafe(32)
