"""Authlib's authorization server over one request's work. Everything here is synchronous and runs in the bridge."""

from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer

from ragecho.identity import store_clients
from ragecho.identity.client_model import Client, digest_of
from ragecho.identity.protocol import store_grants
from ragecho.identity.protocol.assertions import ClientAssertions
from ragecho.identity.protocol.grants import (
    ClientCredentials,
    CodeGrant,
    Device,
    FoundRefreshToken,
    Refresh,
    S256Challenge,
)
from ragecho.identity.protocol.provider import Work
from ragecho.identity.protocol.requests import ProtocolRequest, RegistrationRequest
from ragecho.identity.protocol.tokens import AccessTokens, IdTokens
from ragecho.platform.bridge import run, wait


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer without a web framework: JSON where `body` is a dictionary."""

    status: int
    body: dict[str, Any] | str
    headers: tuple[tuple[str, str], ...] = field(default=())


class ProtocolServer(AuthorizationServer):  # type: ignore[misc]  # Authlib has no annotations
    """One request's authorization server."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work
        self.tokens = AccessTokens(work)
        self.register_token_generator("default", self.tokens)
        self.register_client_auth_method("private_key_jwt", ClientAssertions(work))
        id_tokens = IdTokens(work)
        self.register_grant(ClientCredentials)
        self.register_grant(CodeGrant, [S256Challenge(), id_tokens])
        self.register_grant(Refresh, [id_tokens])
        self.register_grant(Device, [id_tokens])

    def query_client(self, client_id: str) -> Client | None:
        """Return an enabled client."""
        if self.work.client is not None and self.work.client.id == client_id:
            return self.work.client
        if self.work.session is None:
            return wait(self.work.provider.clients.find(client_id))
        return wait(store_clients.find(self.work.db, client_id))

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        """Store a new refresh token; access and ID tokens are stored nowhere."""
        value = token.get("refresh_token")
        if value is None:
            return
        used: FoundRefreshToken | None = request.refresh_token
        if used is not None and not used.is_first_use:
            return  # the parallel request has stored this same successor
        wait(
            store_grants.insert_refresh_token(
                self.work.db,
                digest_of(value),
                grant_id=self.work.grant["id"],
                generation=used.generation + 1 if used else 0,
                idle_days=self.work.provider.settings.refresh_idle_days,
            )
        )

    def validate_requested_scope(self, scope: str | None) -> None:
        """Leave it to the grants: unknown scopes are ignored (OpenID Connect Core 3.1.2.1)."""

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        """Return the request; it was made from HTTP before."""
        return request

    def create_json_request(self, request: RegistrationRequest) -> RegistrationRequest:
        """Return the request; it was made from HTTP before."""
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Reply:
        """Return the answer."""
        return Reply(status, body if isinstance(body, (dict, str)) else dict(body), tuple(headers))

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""


async def token_reply(work: Work, request: ProtocolRequest) -> Reply:
    """Return the token endpoint's answer."""
    return await run(ProtocolServer(work).create_token_response, request)


def error_reply(error: OAuth2Error) -> Reply:
    """Return the answer to a request that failed before any grant saw it."""
    status, body, headers = error()
    return Reply(status, body if isinstance(body, dict) else dict(body), tuple(headers))
