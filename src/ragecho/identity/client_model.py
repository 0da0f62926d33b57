"""A registered client, as the protocol and administration see it."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

# In a client's audiences: Echo's own API, wherever it is served.
ECHO_API = "echo"
SECRET_METHODS = ("client_secret_basic", "client_secret_post")
MAX_AUDIENCE = 2000
_PRINTABLE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # what an error may repeat: no space, no `"`, no `\`
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")


class ClientKind(StrEnum):
    """How a client came to be."""

    MANAGED = "managed"
    DYNAMIC = "dynamic"
    FIRST_PARTY = "first_party"


class GrantType(StrEnum):
    """What a client may exchange for tokens."""

    AUTHORIZATION_CODE = "authorization_code"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a name of RFC 6749
    CLIENT_CREDENTIALS = "client_credentials"
    DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class Client:
    """A client. Its methods are what Authlib's core asks (`ClientMixin`)."""

    id: str
    name: str
    kind: ClientKind
    auth_method: str
    application_type: str
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    require_pkce: bool
    id_token_alg: str
    backchannel_logout_uri: str | None
    metadata: Mapping[str, Any]
    organization_id: UUID | None
    workspace_id: UUID | None
    service_account_id: UUID | None
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None
    secret_sha256: bytes | None = field(repr=False)
    registration_sha256: bytes | None = field(repr=False)

    @property
    def is_public(self) -> bool:
        """Whether the client keeps no secret."""
        return self.auth_method == "none"

    @property
    def is_first_party(self) -> bool:
        """Whether this is Echo's own, which needs no consent."""
        return self.kind is ClientKind.FIRST_PARTY

    def audiences_at(self, api: str) -> tuple[str, ...]:
        """Return whom this client's tokens may be for, the first by default; `api` is Echo's own API."""
        return tuple(api if name == ECHO_API else name for name in self.audiences) or (api,)

    def get_client_id(self) -> str:
        """Return the id."""
        return self.id

    def get_default_redirect_uri(self) -> str | None:
        """Return the one registered URI, or None where there are several: then a request must name one."""
        return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Return those asked-for scopes that the client may have."""
        return " ".join(name for name in dict.fromkeys((scope or "").split()) if name in self.scopes)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Return whether the URI is registered, character for character.

        A native application on the loopback interface may choose its port (RFC 8252, 7.3).
        """
        if redirect_uri in self.redirect_uris:
            return True
        if self.application_type != "native":
            return False
        portless = _without_loopback_port(redirect_uri)
        return portless is not None and any(_without_loopback_port(known) == portless for known in self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare in constant time."""
        if self.secret_sha256 is None:
            return False
        return hmac.compare_digest(self.secret_sha256, digest_of(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Return whether the client may authenticate in this way; a secret may be sent in either of two places."""
        if self.auth_method in SECRET_METHODS:
            return method in SECRET_METHODS
        return method == self.auth_method

    def check_response_type(self, response_type: str) -> bool:
        """Only the code flow exists."""
        return response_type == "code" and self.check_grant_type(GrantType.AUTHORIZATION_CODE)

    def check_grant_type(self, grant_type: str) -> bool:
        """Return whether the client may use the grant."""
        return grant_type in self.grant_types


def digest_of(secret: str) -> bytes:
    """Return what is stored of a high-entropy secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _without_loopback_port(uri: str) -> tuple[str, str] | None:
    """Return host and the rest of an http URI on the loopback interface, else None."""
    if not uri.startswith("http://"):
        return None
    authority, slash, rest = uri.removeprefix("http://").partition("/")
    host, _, port = (
        authority.rpartition(":") if not authority.endswith("]") and ":" in authority else (authority, "", "")
    )
    if host not in _LOOPBACK or (port and not (port.isascii() and port.isdigit())):
        return None
    return host, slash + rest


def is_audience(uri: str) -> bool:
    """Return whether a text can name an audience: an absolute URI without fragment (RFC 8707, 2)."""
    if len(uri) > MAX_AUDIENCE or not _PRINTABLE.fullmatch(uri) or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path))


def is_loopback_uri(uri: str) -> bool:
    """Return whether an http URI names this very machine."""
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
