"""Dynamic client registration (RFC 7591) and its management (RFC 7592)."""

import hmac
import secrets
import warnings
from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc7591 import ClientMetadataClaims, ClientRegistrationEndpoint, InvalidClientMetadataError
from authlib.oauth2.rfc7591.errors import InvalidRedirectURIError
from authlib.oauth2.rfc7592 import ClientConfigurationEndpoint
from authlib.oidc.registration import ClientMetadataClaims as OpenIDMetadataClaims
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet

from ragecho.identity import clients, store_clients
from ragecho.identity.client_model import SECRET_METHODS, Client, ClientKind, GrantType, digest_of
from ragecho.identity.protocol.metadata import metadata_of
from ragecho.identity.protocol.provider import Work
from ragecho.identity.protocol.requests import RegistrationRequest
from ragecho.identity.protocol.server import ProtocolServer, Reply
from ragecho.identity.scopes import API_SCOPES, IDENTITY_SCOPES, KNOWN_SCOPES
from ragecho.kernel.errors import InvalidInput
from ragecho.platform.bridge import run, wait

# Kept and given back; what is not named here (encryption, request objects, signed userinfo) we do not do.
KEPT = (
    "client_uri", "logo_uri", "contacts", "tos_uri", "policy_uri", "software_id", "software_version", "default_max_age",
    "require_auth_time", "initiate_login_uri", "jwks", "jwks_uri", "backchannel_logout_session_required",
)  # fmt: skip
_OURS = ("post_logout_redirect_uris", "backchannel_logout_uri", "backchannel_logout_session_required", "require_pkce")
_LISTS = ("redirect_uris", "post_logout_redirect_uris", "grant_types", "response_types", "contacts", "request_uris")
_TEXTS = (
    "client_name", "scope", "token_endpoint_auth_method", "application_type", "client_uri", "logo_uri", "tos_uri",
    "policy_uri", "backchannel_logout_uri", "id_token_signed_response_alg", "initiate_login_uri", "software_id",
    "software_version", "jwks_uri", "subject_type",
)  # fmt: skip
_KEY_TYPES = ("RSA", "EC", "OKP")
MAX_TEXT = 2000
# Registering oneself must not make one a client of what only administrators hand out.
OPEN_GRANTS = (GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN, GrantType.DEVICE_CODE)


class _Metadata:
    """What both endpoints make of the metadata that a client sends."""

    server: ProtocolServer

    def get_server_metadata(self) -> dict[str, Any]:
        """Return what the library checks against."""
        found = metadata_of(self.server.work.provider)
        return {**found, "grant_types_supported": [*map(str, OPEN_GRANTS)]}

    def extract_client_metadata(self, request: RegistrationRequest) -> dict[str, Any]:
        """Return the columns of a client. Raises `InvalidClientMetadataError` or `InvalidRedirectURIError`."""
        given = {name: value for name, value in request.payload.data.items() if value is not None}
        _check_types(given)
        try:
            is_native = given.get("application_type") == "native"
            clients.check_redirect_uris(given.get("redirect_uris") or [], is_native=is_native)
        except InvalidInput as error:
            raise InvalidRedirectURIError(_described(error)) from error
        if "jwks" in given:
            given["jwks"] = public_key_set(given["jwks"])
        # Unknown scopes are left out, as everywhere.
        wanted = [name for name in str(given.get("scope", "")).split() if name in KNOWN_SCOPES]
        given["scope"] = " ".join(wanted or (*IDENTITY_SCOPES, *API_SCOPES))
        checked = super().extract_client_metadata(_with(request, given))  # type: ignore[misc]  # a mixin of the library's classes
        checked.update({name: given[name] for name in _OURS if name in given})
        return _columns(checked)

    def generate_client_registration_info(self, client: Client, request: RegistrationRequest) -> dict[str, str]:
        """Return where and with which token the registration is managed: the one just made, or just presented."""
        url = f"{self.server.work.provider.issuer}/register/{client.id}"
        token = request.credential.token if isinstance(request.credential, _Bearer) else request.credential
        return {"registration_client_uri": url, "registration_access_token": token}


class Registration(_Metadata, ClientRegistrationEndpoint):  # type: ignore[misc]  # Authlib has no annotations
    """Registers a client that asks for it."""

    def create_registration_response(self, request: RegistrationRequest) -> tuple[int, dict[str, Any], Any]:
        """Store the client and return all of its metadata with its credentials."""
        values = self.extract_client_metadata(request)
        secret = None if values["auth_method"] in ("none", "private_key_jwt") else clients.new_secret()
        request.credential = secrets.token_urlsafe(32)
        client = wait(
            store_clients.insert(
                self.server.work.db,
                {
                    **values,
                    "id": clients.new_client_id(values["name"]),
                    "kind": ClientKind.DYNAMIC,
                    "secret_sha256": digest_of(secret) if secret else None,
                    "registration_sha256": digest_of(request.credential),
                },
            )
        )
        assert client is not None, "client ids are random"
        body = {**client_information(client), **self.generate_client_registration_info(client, request)}
        if secret:
            body |= {"client_secret": secret, "client_secret_expires_at": 0}
        return 201, body, [("Content-Type", "application/json"), ("Cache-Control", "no-store")]


class Configuration(_Metadata, ClientConfigurationEndpoint):  # type: ignore[misc]  # Authlib has no annotations
    """Reads, changes and removes a registration, by its registration access token."""

    def authenticate_token(self, request: RegistrationRequest) -> Any:
        """Return the bearer of the registration access token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return _Bearer(token.strip()) if scheme.lower() == "bearer" and token.strip() else None

    def authenticate_client(self, request: RegistrationRequest) -> Client | None:
        """Return the client of the address."""
        found = wait(store_clients.find(self.server.work.db, str(request.registration_client_id)))
        return found if found is not None and found.kind is ClientKind.DYNAMIC else None

    def revoke_access_token(self, token: object, request: object) -> None:
        """Leave it: it ended with its client."""

    def check_permission(self, client: Client, request: RegistrationRequest) -> bool:
        """Return whether this client may manage itself."""
        return True

    def introspect_client(self, client: Client) -> dict[str, Any]:
        """Return the metadata."""
        return client_information(client)

    def delete_client(self, client: Client, request: RegistrationRequest) -> None:
        """Remove the client with everything it was given."""
        wait(store_clients.delete(self.server.work.db, client.id))

    def update_client(self, client: Client, client_metadata: dict[str, Any], request: RegistrationRequest) -> Client:
        """Replace the metadata; a client cannot become one with or without a secret."""
        if (client_metadata["auth_method"] in SECRET_METHODS) != (client.secret_sha256 is not None):
            raise InvalidClientMetadataError("token_endpoint_auth_method cannot change to or from one with a secret.")
        changed = wait(store_clients.update(self.server.work.db, client.id, client_metadata))
        if changed is None:
            raise InvalidRequestError("The client was removed.")
        return changed


class _Bearer:
    """The holder of a registration access token."""

    def __init__(self, token: str) -> None:
        self.token = token
        self._digest = digest_of(token)

    def check_client(self, client: Client) -> bool:
        """Return whether the token belongs to the client, in constant time."""
        return client.registration_sha256 is not None and hmac.compare_digest(client.registration_sha256, self._digest)


def client_information(client: Client) -> dict[str, Any]:
    """Return a client's metadata as RFC 7591 names it."""
    return {
        "client_id": client.id,
        "client_id_issued_at": int(client.created_at.timestamp()),
        "client_name": client.name,
        "application_type": client.application_type,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "grant_types": list(client.grant_types),
        "response_types": ["code"] if client.check_response_type("code") else [],
        "token_endpoint_auth_method": client.auth_method,
        "id_token_signed_response_alg": client.id_token_alg,
        "subject_type": "public",
        "scope": " ".join(client.scopes),
        "require_pkce": client.require_pkce,
        **({"backchannel_logout_uri": client.backchannel_logout_uri} if client.backchannel_logout_uri else {}),
        **client.metadata,
    }


def _check_types(given: Mapping[str, Any]) -> None:
    """Raise for values that the library would stumble over."""
    for name in _TEXTS:
        value = given.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
            raise InvalidClientMetadataError(f"{name} is a text of at most {MAX_TEXT} printable characters.")
    for name in _LISTS:
        value = given.get(name, [])
        if (
            not isinstance(value, list)
            or len(value) > clients.MAX_URIS
            or not all(isinstance(one, str) for one in value)
        ):
            raise InvalidClientMetadataError(f"{name} is a list of at most {clients.MAX_URIS} strings.")
    if len(repr(given.get("jwks", ""))) > 20 * MAX_TEXT:
        raise InvalidClientMetadataError("jwks is too large.")


def _columns(checked: Mapping[str, Any]) -> dict[str, Any]:
    uris = checked.get("redirect_uris") or []
    is_native = checked.get("application_type") == "native"
    # Confidential web clients may say that they send no PKCE, as those of the Foundation's basic profile.
    method = checked["token_endpoint_auth_method"]
    is_public = method == "none"
    metadata = {name: checked[name] for name in KEPT if name in checked}
    if method == "private_key_jwt" and "jwks" not in checked:
        raise InvalidClientMetadataError("private_key_jwt needs the public keys in jwks.")
    grants = checked.get("grant_types") or [str(GrantType.AUTHORIZATION_CODE)]
    if GrantType.AUTHORIZATION_CODE in grants and not uris:
        raise InvalidRedirectURIError("redirect_uris is needed.")
    name = checked.get("client_name") or "An application"
    backchannel = checked.get("backchannel_logout_uri")
    try:
        clients.check_name(name)
        clients.check_web_uris("post_logout_redirect_uris", checked.get("post_logout_redirect_uris") or [])
        clients.check_web_uris("backchannel_logout_uri", [backchannel] if backchannel else [])
        for page in ("client_uri", "logo_uri", "tos_uri", "policy_uri", "initiate_login_uri", "jwks_uri"):
            clients.check_web_uris(page, [checked[page]] if checked.get(page) else [])
    except InvalidInput as error:
        raise InvalidClientMetadataError(_described(error)) from error
    return {
        "name": name.strip(),
        "auth_method": method,
        "application_type": checked["application_type"],
        "redirect_uris": uris,
        "post_logout_redirect_uris": checked.get("post_logout_redirect_uris") or [],
        "grant_types": list(dict.fromkeys(grants)),
        "scopes": list(dict.fromkeys(checked["scope"].split())),
        "id_token_alg": checked["id_token_signed_response_alg"],
        "backchannel_logout_uri": backchannel,
        "require_pkce": checked.get("require_pkce") is not False or is_native or is_public,
        "metadata": metadata,
    }


def public_key_set(jwks: Any) -> dict[str, Any]:
    """Return the public halves of a client's keys. Raises `InvalidClientMetadataError`, also for keys that are too weak."""
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    is_set = isinstance(keys, list) and all(isinstance(key, dict) and key.get("kty") in _KEY_TYPES for key in keys)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)
            if is_set:
                return dict(KeySet.import_key_set(jwks).as_dict(private=False))
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidClientMetadataError("jwks has a key that cannot be used.") from error
    raise InvalidClientMetadataError("jwks is a set of public keys: RSA, EC or OKP.")


def _described(error: InvalidInput) -> str:
    """Return the message with the characters that an error description may have."""
    return error.message.replace("…", "...").replace('"', "'")


def _with(request: RegistrationRequest, data: dict[str, Any]) -> RegistrationRequest:
    changed = RegistrationRequest(request.method, data, None, request.registration_client_id)
    changed.headers = request.headers
    return changed


async def register(work: Work, request: RegistrationRequest) -> Reply:
    """Return the registration endpoint's answer."""
    return await _answer(work, request, Registration)


async def configure(work: Work, request: RegistrationRequest) -> Reply:
    """Return the configuration endpoint's answer."""
    return await _answer(work, request, Configuration)


async def _answer(work: Work, request: RegistrationRequest, endpoint: Any) -> Reply:
    server = ProtocolServer(work)
    server.register_endpoint(endpoint(server, claims_classes=[ClientMetadataClaims, OpenIDMetadataClaims]))
    return await run(server.create_endpoint_response, endpoint.ENDPOINT_NAME, request)
