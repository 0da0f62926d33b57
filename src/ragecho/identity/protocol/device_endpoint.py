"""The device authorization endpoint (RFC 8628, 3.1)."""

import secrets
from typing import Any

from authlib.oauth2.rfc6749 import InvalidScopeError, UnauthorizedClientError
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint

from ragecho.identity.client_model import Client, GrantType, digest_of
from ragecho.identity.protocol import store_device
from ragecho.identity.protocol.grants import AUTH_METHODS, refuse_foreign_scopes
from ragecho.identity.protocol.provider import Work
from ragecho.identity.protocol.requests import ProtocolRequest
from ragecho.identity.protocol.resources import asked_resources
from ragecho.identity.protocol.server import ProtocolServer, Reply
from ragecho.platform.bridge import run, wait

_ATTEMPTS = 5


class DeviceAuthorization(DeviceAuthorizationEndpoint):  # type: ignore[misc]  # Authlib has no annotations
    """Gives a device its two codes."""

    CLIENT_AUTH_METHODS = AUTH_METHODS

    def __init__(self, server: ProtocolServer) -> None:
        super().__init__(server)
        settings = server.work.provider.settings
        self.EXPIRES_IN = settings.device_code_seconds
        self._resources: tuple[str, ...] = ()
        self.INTERVAL = settings.device_interval_seconds

    def authenticate_client(self, request: ProtocolRequest) -> Client:
        """Return a client that may use the grant."""
        client: Client = super().authenticate_client(request)
        if not client.check_grant_type(GrantType.DEVICE_CODE):
            raise UnauthorizedClientError("This client is not registered for the device authorization grant.")
        refuse_foreign_scopes(client, (request.payload.scope or "").split())
        if not client.get_allowed_scope(request.payload.scope):
            raise InvalidScopeError("Name a scope, for instance 'openid'.")
        self._resources = asked_resources(self.server.work.provider, client, request.form)
        return client

    def generate_device_code(self) -> str:
        """Return 256 random bits."""
        return secrets.token_urlsafe(32)

    def get_verification_uri(self) -> str:
        """Return the page where a person types the code."""
        return f"{self.server.work.provider.issuer}/device"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        """Store the request; a user code that is taken by another one is replaced."""
        client = wait(self.server.work.provider.clients.find(client_id))
        allowed = client.get_allowed_scope(scope) if client else ""
        for _ in range(_ATTEMPTS):
            is_stored = wait(
                store_device.insert(
                    self.server.work.db,
                    device_code_sha256=digest_of(data["device_code"]),
                    user_code=data["user_code"],
                    client_id=client_id,
                    scopes=(allowed or "").split(),
                    resources=self._resources,
                    seconds=self.EXPIRES_IN,
                    interval_seconds=self.INTERVAL,
                )
            )
            if is_stored:
                return
            data["user_code"] = self.generate_user_code()
            complete = data["verification_uri"] + "?user_code=" + data["user_code"]
            data["verification_uri_complete"] = complete
        raise RuntimeError("no free user code was found")


async def device_reply(work: Work, request: ProtocolRequest) -> Reply:
    """Return the endpoint's answer."""
    server = ProtocolServer(work)
    server.register_endpoint(DeviceAuthorization)
    return await run(server.create_endpoint_response, DeviceAuthorization.ENDPOINT_NAME, request)
