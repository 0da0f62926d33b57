"""Signing in and out, and what a session cookie stands for."""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from ragecho.identity.accounts.digests import digest_of, new_secret
from ragecho.identity.accounts.sessions import EndReason, end_other_sessions
from ragecho.identity.clients import ensure_first_party_clients, web_client
from ragecho.identity.settings import base_url_of
from ragecho.identity.vault import Vault, VaultError
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound, Unauthenticated
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import Database
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import get_logger
from ragecho.web import store
from ragecho.web.errors import ProviderAway, SignInFailed, TokenRefused
from ragecho.web.model import APP_PATH, CALLBACK_PATH, SCOPES, SignedIn, SignIn, Tokens, WebSession
from ragecho.web.provider import IdentityProvider
from ragecho.web.return_to import local_path
from ragecho.web.settings import GatewaySettings

log = get_logger(__name__)

# The provider answers a repeated refresh token for ten seconds. Whoever renews has five (the provider's timeout); when that
# one is lost, the next may try while the old token still counts.
RENEWAL_SECONDS = 8.0
_PURPOSE = "web-session"
_LONGEST = 4096

CallerOf = Callable[[WebSession, str | None], Awaitable[Caller]]


class Gateway:
    """The browser app's sessions. `identity` runs as the identity service's role; `caller_of` makes a session's caller."""

    def __init__(
        self,
        identity: Database,
        vault: Vault,
        provider: IdentityProvider,
        settings: Settings,
        *,
        caller_of: CallerOf,
        gateway: GatewaySettings | None = None,
    ) -> None:
        self._identity = identity
        self._vault = vault
        self._caller_of = caller_of
        self._settings = gateway or GatewaySettings()
        self._deployment = settings
        self._base_url = base_url_of(settings)
        self._client: tuple[str, str] | None = None
        self.provider = provider
        parts = urlsplit(self._base_url)
        self.is_https = parts.scheme == "https"
        self.origin = f"{parts.scheme}://{parts.netloc}"

    @property
    def cookie_name(self) -> str:
        """The session cookie. `__Host-`: https only, from this very host, for all its paths."""
        return "__Host-echo_session" if self.is_https else "echo_session"

    @property
    def login_cookie_name(self) -> str:
        """The cookie that binds sign-ins to a browser."""
        return "__Host-echo_signin" if self.is_https else "echo_signin"

    async def start(self) -> None:
        """Register the addresses that this process answers at. To be called before the first request."""
        async with self._identity.anonymous() as db:
            await ensure_first_party_clients(db, self._deployment, self._vault, is_serving=True)

    async def begin(self, return_to: str | None, browser_secret: str | None) -> SignIn:
        """Begin a sign-in in this browser. Raises `ProviderAway`."""
        endpoint = await self.provider.endpoint("authorization_endpoint")
        client_id, _ = await self._credentials()
        state, browser = new_secret(), _plausible(browser_secret) or new_secret()
        async with self._identity.anonymous() as db:
            await store.insert_login(
                db,
                digest_of(state),
                browser_sha256=digest_of(browser),
                return_to=local_path(return_to),
                minutes=self._settings.login_minutes,
            )
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": self._base_url + CALLBACK_PATH,
            "scope": " ".join(SCOPES),
            "state": state,
            "nonce": self._vault.derive("web-nonce", state),
            "code_challenge": create_s256_code_challenge(self._vault.derive("web-code-verifier", state)),
            "code_challenge_method": "S256",
        }
        return SignIn(f"{endpoint}?{urlencode(query)}", browser)

    async def finish(
        self, answer: dict[str, str], browser_secret: str | None, *, old_cookie: str | None = None
    ) -> SignedIn:
        """Make a session of the provider's answer. Raises `SignInFailed`."""
        return_to = await self._return_to(answer.get("state", ""), browser_secret)
        if answer.get("iss") != self.provider.issuer and (
            "iss" in answer or await self.provider.announces("authorization_response_iss_parameter_supported")
        ):
            # Another provider's answer (mix-up; RFC 9207).
            raise SignInFailed("The answer did not come from the identity service.", return_to=return_to)
        if "code" not in answer:
            raise SignInFailed(_explained(answer.get("error", "")), return_to=return_to)
        try:
            return await self._session_of(answer["code"], answer["state"], return_to, old_cookie)
        except TokenRefused as error:
            log.warning("sign_in.refused", reason=str(error.facts.get("error", "")) or error.message)
            raise SignInFailed(
                "The sign-in was not completed in time. Please try again.", return_to=return_to
            ) from error
        except ProviderAway as error:
            raise SignInFailed(
                "The identity service does not answer at the moment. Please try again.", return_to=return_to
            ) from error

    async def _return_to(self, state: str, browser_secret: str | None) -> str:
        pending = None
        if browser_secret and state:
            async with self._identity.anonymous() as db:
                pending = await store.take_login(db, digest_of(state), digest_of(browser_secret))
        if pending is None:
            raise SignInFailed("This sign-in was begun in another browser, or too long ago.")
        if not pending.is_open:
            raise SignInFailed("This sign-in page was used already, or has expired.", return_to=pending.return_to)
        return pending.return_to

    async def _session_of(self, code: str, state: str, return_to: str, old_cookie: str | None) -> SignedIn:
        client = await self._credentials()
        tokens = await self.provider.exchange(
            client,
            code=code,
            redirect_uri=self._base_url + CALLBACK_PATH,
            verifier=self._vault.derive("web-code-verifier", state),
        )
        claims = await self.provider.checked_id_token(
            tokens, client_id=client[0], nonce=self._vault.derive("web-nonce", state)
        )
        grant = await self.provider.grant_of(tokens.access_token)
        secret = new_secret()
        async with self._identity.anonymous() as db:
            if old_cookie:
                await store.end_session(db, digest_of(old_cookie), reason="replaced")
            await store.insert_session(
                db,
                {
                    "id": uuid7(),
                    "digest": digest_of(secret),
                    "user_id": UUID(str(claims["sub"])),
                    "provider_session_id": _uuid(claims.get("sid")),
                    "grant_id": _uuid(grant),
                    "id_token_sealed": self._sealed(tokens.id_token),
                    "refresh_sealed": self._sealed(tokens.refresh_token),
                    "renew_seconds": _renewal_of(tokens) if tokens.refresh_token else None,
                    "idle_seconds": self._settings.session_idle_minutes * 60,
                    "max_minutes": self._settings.session_max_minutes,
                },
            )
        return SignedIn(secret, return_to)

    async def session(self, cookie: str | None) -> WebSession | None:
        """Return the live session of a cookie, or None; notes its use and renews its tokens where they are due."""
        if not _plausible(cookie):
            return None
        assert cookie is not None
        (rows,) = await self._identity.read(None, (store.FIND_SESSION, {"digest": digest_of(cookie)}))
        if not rows:
            return None
        found = store.session_of(rows[0])
        if found.is_unseen:
            async with self._identity.anonymous() as db:
                await store.touch(db, found.id)
        if found.is_due and not await self._renew(found):
            return None
        return found

    async def _renew(self, session: WebSession) -> bool:
        """Renew the tokens, unless another request is at it; False when the provider has refused and the session ends.

        A provider that does not answer ends nothing: whatever would end the session is looked at in the database.
        """
        async with self._identity.anonymous() as db:
            sealed = await store.claim_renewal(db, session.id, seconds=RENEWAL_SECONDS)
        if sealed is None:
            return True
        try:
            refresh_token = self._vault.decrypt(sealed, purpose=_PURPOSE).decode()
            tokens = await self.provider.refresh(await self._credentials(), refresh_token)
        except ProviderAway:
            log.warning("session.renewal_failed", reason="away")
            return True
        except (TokenRefused, VaultError):
            log.info("session.renewal_refused", user_id=str(session.user_id))
            async with self._identity.anonymous() as db:
                await store.end_by_id(db, session.id, reason="refused")
            return False
        async with self._identity.anonymous() as db:
            await store.save_renewal(
                db,
                session.id,
                refresh_sealed=self._sealed(tokens.refresh_token) if tokens.refresh_token else None,
                id_token_sealed=self._sealed(tokens.id_token) if tokens.id_token else None,
                renew_seconds=_renewal_of(tokens),
            )
        return True

    async def end(self, cookie: str | None, *, is_everywhere: bool = False) -> str:
        """End the session, or all of the person's; return where the browser goes to end the provider's session too."""
        ended = None
        if _plausible(cookie):
            assert cookie is not None
            async with self._identity.anonymous() as db:
                ended = await store.end_session(db, digest_of(cookie), reason="signed_out")
                if ended is not None and is_everywhere:
                    await store.end_matching(db, user_id=ended[0], provider_session_id=None, reason="everywhere")
                    await end_other_sessions(db, ended[0], reason=EndReason.SIGNED_OUT_REMOTELY)
        if ended is None:
            return APP_PATH
        try:
            endpoint = await self.provider.endpoint("end_session_endpoint")
            hint = self._vault.decrypt(ended[2], purpose=_PURPOSE).decode()
        except (ProviderAway, VaultError):
            return APP_PATH  # our session is over, whatever the provider's is
        query = {"id_token_hint": hint, "post_logout_redirect_uri": self._base_url + APP_PATH}
        return f"{endpoint}?{urlencode(query)}"

    async def end_by_logout_token(self, logout_token: str) -> int:
        """End what a logout token of the provider names; return how many sessions. Raises `TokenRefused`."""
        client_id, _ = await self._credentials()
        token = await self.provider.checked_logout_token(logout_token, client_id=client_id)
        subject, session_id = _uuid(token.subject), _uuid(token.session_id)
        if (token.subject and subject is None) or (token.session_id and session_id is None):
            raise TokenRefused("The logout token names nobody here.")
        async with self._identity.anonymous() as db:
            jti_sha256 = hashlib.sha256(token.jti.encode()).digest()
            if not await store.remember_logout_token(db, jti_sha256, token.expires_at):
                raise TokenRefused("This logout token was used before.")
            user_id = UserId(subject) if subject else None
            return await store.end_matching(db, user_id=user_id, provider_session_id=session_id, reason="backchannel")

    async def verify(self, cookie: str, *, workspace: str | None) -> Caller:
        """Return the caller of a session cookie; see the port `SessionVerifier`."""
        found = await self.session(cookie)
        if found is None:
            raise Unauthenticated("Your session has ended. Sign in again.", login_url="/auth/login")
        return await self._caller_of(found, workspace)

    def csrf_token(self, cookie: str) -> str:
        """Return the token that state changes by this session must carry: only who can read our pages knows it.

        An HMAC of the cookie's secret (OWASP's HMAC-based token pattern), so that there is nothing to store.
        """
        made = hmac.new(cookie.encode("utf-8", "surrogatepass"), b"ragecho csrf token", hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()

    def is_csrf_token(self, cookie: str, token: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.csrf_token(cookie).encode(), token.encode("utf-8", "surrogatepass"))

    async def _credentials(self) -> tuple[str, str]:
        if self._client is None:
            async with self._identity.anonymous() as db:
                try:
                    self._client = await web_client(db, self._vault)
                except NotFound as error:
                    raise ProviderAway(error.message) from error
        return self._client

    def _sealed(self, token: str | None) -> str | None:
        return self._vault.encrypt(token, purpose=_PURPOSE) if token else None


def _renewal_of(tokens: Tokens) -> float:
    return max(5.0, tokens.expires_in_seconds * 0.8)


def _plausible(cookie: str | None) -> str | None:
    return cookie if cookie and len(cookie) <= _LONGEST else None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None


def _explained(error: str) -> str:
    if error == "access_denied":
        return "You did not allow the sign-in, or it was refused."
    if error in ("server_error", "temporarily_unavailable"):
        return "The identity service could not sign you in at the moment. Please try again."
    return "The sign-in did not work. Please try again."
