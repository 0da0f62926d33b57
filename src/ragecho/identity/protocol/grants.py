"""The grants of the token endpoint: Authlib's, over our store. What may happen once happens in one atomic statement."""

from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceCodeGrant

from ragecho.identity.client_model import Client, digest_of
from ragecho.identity.protocol import store_device, store_grants
from ragecho.identity.protocol.provider import Person, Work, new_claims
from ragecho.identity.protocol.resources import choose_audience, refuse_beyond_grant
from ragecho.identity.scopes import KNOWN_SCOPES
from ragecho.platform.bridge import wait

AUTH_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]


def person_of(work: Work, user_id: UUID) -> Person | None:
    """Return a person who is not disabled."""
    row = wait(store_grants.find_person(work.db, user_id))
    return Person(row["id"], new_claims(row)) if row else None


def _granted_person(work: Work, grant_id: UUID) -> Person | None:
    """Return whose live grant this is, and make it the one that tokens are made for."""
    work.grant = wait(store_grants.find_grant(work.db, grant_id))
    return person_of(work, work.grant["user_id"]) if work.grant else None


@dataclass(frozen=True, slots=True)
class TakenCode:
    """An authorization code that was just used up."""

    grant_id: UUID
    redirect_uri: str
    is_redirect_uri_given: bool
    nonce: str | None
    code_challenge: str | None
    scopes: tuple[str, ...]
    code_challenge_method: str = "S256"

    def get_redirect_uri(self) -> str | None:
        """Return the URI that the redemption must repeat."""
        return self.redirect_uri if self.is_redirect_uri_given else None

    def get_scope(self) -> str:
        """Return what was granted."""
        return " ".join(self.scopes)


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]  # Authlib has no annotations
    """Authorization code: used up before anything else is looked at, so that no second request gets as far."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    def query_authorization_code(self, code: str, client: Client) -> TakenCode | None:
        """Use the code, of this client only. Reuse ends the grant: its tokens may be in two hands (RFC 9700, 4.5)."""
        work: Work = self.server.work
        choose_audience(work, client, self.request.form)
        digest = digest_of(code)
        row = wait(store_grants.take_code(work.db, digest, client.id))
        if row is None:
            reused = wait(store_grants.grant_of_used_code(work.db, digest))
            if reused is not None:
                wait(store_grants.revoke_grant(work.db, reused, "code_reuse"))
            return None
        work.grant = wait(store_grants.find_grant(work.db, row["grant_id"]))
        if work.grant is None:
            return None
        refuse_beyond_grant(work, client, work.grant["resources"])
        return TakenCode(**row, scopes=tuple(work.grant["scopes"]))

    def delete_authorization_code(self, authorization_code: TakenCode) -> None:
        """Leave it: a used code must be recognised."""

    def authenticate_user(self, authorization_code: TakenCode) -> Person | None:
        """Return whose code it is."""
        return _granted_person(self.server.work, authorization_code.grant_id)

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Leave it to `authorize`, which knows the browser's session."""
        raise NotImplementedError


class S256Challenge(CodeChallenge):  # type: ignore[misc]  # Authlib has no annotations
    """PKCE with S256 only; the library allows `plain` and takes it where no method is named."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD: ClassVar = ["S256"]

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Insist on a challenge unless the client was registered without."""
        given = grant.request.payload.data
        if not given.get("code_challenge"):
            if given.get("code_challenge_method") or grant.request.client.require_pkce:
                raise InvalidRequestError("PKCE is required: send code_challenge and code_challenge_method=S256.")
            return
        if given.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE: send code_challenge_method=S256, the only method supported.")
        super().validate_code_challenge(grant, redirect_uri)


class ClientCredentials(ClientCredentialsGrant):  # type: ignore[misc]  # Authlib has no annotations
    """A service acts for itself. Nothing is stored: the token says everything, and ends with the client."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = [name for name in AUTH_METHODS if name != "none"]

    def validate_requested_scope(self) -> None:
        """Give all of the client's scopes where none are named; refuse what the client may not have."""
        client: Client = self.request.client
        choose_audience(self.server.work, client, self.request.form)
        asked = (self.request.payload.scope or "").split()
        refuse_foreign_scopes(client, asked)
        if not asked:
            self.request.payload.data["scope"] = " ".join(client.scopes)


@dataclass(frozen=True, slots=True)
class FoundRefreshToken:
    """A refresh token that counts. `is_first_use` is False for a repetition within the leeway."""

    grant_id: UUID
    generation: int
    is_first_use: bool
    client_id: str
    scopes: tuple[str, ...]

    def check_client(self, client: Client) -> bool:
        """Return whether it was issued to this client."""
        return client.id == self.client_id

    def get_scope(self) -> str:
        """Return what was granted."""
        return " ".join(self.scopes)


class Refresh(RefreshTokenGrant):  # type: ignore[misc]  # Authlib has no annotations
    """Refresh with rotation. A token that was used before ends its whole family, but for a short leeway."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> FoundRefreshToken | None:
        """Use the token, unless something else is wrong with the request: then it stays as it was."""
        work: Work = self.server.work
        digest = digest_of(refresh_token)
        row = wait(store_grants.find_refresh_token(work.db, digest))
        if row is None or row["client_id"] != self.request.client.id or not row["is_live"]:
            return None
        asked = (self.request.payload.scope or "").split()
        if not set(asked) <= set(row["scopes"]):
            raise InvalidScopeError("A refresh can narrow the scope but not widen it.")
        choose_audience(work, self.request.client, self.request.form)
        refuse_beyond_grant(work, self.request.client, row["resources"])
        is_first_use = wait(store_grants.take_refresh_token(work.db, digest))
        leeway = work.provider.settings.refresh_leeway_seconds
        if not is_first_use and not wait(store_grants.is_within_leeway(work.db, digest, seconds=leeway)):
            wait(store_grants.revoke_grant(work.db, row["grant_id"], "refresh_reuse"))
            return None
        self.server.tokens.presented_refresh_token = refresh_token
        return FoundRefreshToken(
            row["grant_id"], row["generation"], is_first_use, row["client_id"], tuple(row["scopes"])
        )

    def authenticate_user(self, refresh_token: FoundRefreshToken) -> Person | None:
        """Return whose grant it is."""
        person = _granted_person(self.server.work, refresh_token.grant_id)
        if person is None:
            raise InvalidGrantError
        return person

    def revoke_old_credential(self, refresh_token: FoundRefreshToken) -> None:
        """Leave it: it was used up already."""


@dataclass(frozen=True, slots=True)
class PolledDevice:
    """A device's request as a poll finds it."""

    row: Any
    digest: bytes

    def get_client_id(self) -> str:
        """Return the client."""
        return str(self.row["client_id"])

    def get_scope(self) -> str:
        """Return what was asked for."""
        return " ".join(self.row["scopes"])

    def get_user_code(self) -> str:
        """Return the code that a person types."""
        return str(self.row["user_code"])

    def is_expired(self) -> bool:
        """Return whether it waited too long."""
        return bool(self.row["is_expired"])


class Device(DeviceCodeGrant):  # type: ignore[misc]  # Authlib has no annotations
    """Device authorization: the polling side."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    _polled: PolledDevice

    def query_device_credential(self, device_code: str) -> PolledDevice:
        """Return the request and count the poll."""
        digest = digest_of(device_code)
        row = wait(store_device.poll(self.server.work.db, digest))
        if row is None or row["status"] == "used":
            raise InvalidGrantError("Invalid 'device_code' in request.")
        self._polled = PolledDevice(row, digest)
        return self._polled

    def query_user_grant(self, user_code: str) -> tuple[Person | None, bool] | None:
        """Return who decided what, or None while nobody did; an approval is used up by the first who asks."""
        client = self.server.query_client(self._polled.get_client_id())
        if client is None:
            raise InvalidGrantError("Invalid 'device_code' in request.")
        choose_audience(self.server.work, client, self.request.form)
        refuse_beyond_grant(self.server.work, client, self._polled.row["resources"])
        status = self._polled.row["status"]
        if status == "denied":
            return None, False
        if status != "approved":
            return None
        grant_id = wait(store_device.take(self.server.work.db, self._polled.digest))
        person = _granted_person(self.server.work, grant_id) if grant_id else None
        if person is None:
            raise InvalidGrantError("Invalid 'device_code' in request.")
        return person, True

    def should_slow_down(self, credential: PolledDevice) -> bool:
        """Return whether the device asks too often."""
        return bool(credential.row["is_too_fast"])


def refuse_foreign_scopes(client: Client, asked: list[str]) -> None:
    """Raise `InvalidScopeError` for scopes of ours that the client was not registered for. Unknown ones are ignored."""
    foreign = [name for name in asked if name in KNOWN_SCOPES and name not in client.scopes]
    if foreign:
        raise InvalidScopeError(f"The client {client.id} is not registered for the scope '{foreign[0]}'.")
    if asked and not set(asked) & KNOWN_SCOPES:
        raise InvalidScopeError("None of these scopes exists here; the discovery document lists scopes_supported.")
