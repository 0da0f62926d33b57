"""HTTP input for Authlib's core, after everything that its parsing or PostgreSQL would stumble over was refused."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload, JsonPayload, JsonRequest, OAuth2Request

MAX_FIELDS = 64
MAX_BYTES = 64 * 1024
MAX_VALUE = 16 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Values that errors may repeat have only characters that an error description may have (RFC 6749, appendix A.8).
_STRICT = frozenset(
    {"client_id", "redirect_uri", "response_type", "response_mode", "grant_type", "scope", "prompt", "resource"}
)
_DESCRIBABLE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")
_FORM = "application/x-www-form-urlencoded"
# Unlike the others it may be in a request several times (RFC 8707); kept with spaces between, which no URI has.
_REPEATABLE = frozenset({"resource"})


@dataclass(frozen=True, slots=True)
class HttpInput:
    """What the protocol needs of a request. Header names are as HTTP writes them: `Authorization`."""

    method: str
    path: str
    query: bytes = b""
    body: bytes = b""
    content_type: str = ""
    authorization: str | None = None


class ProtocolRequest(OAuth2Request):  # type: ignore[misc]  # Authlib has no annotations
    """A request with checked parameters, each at most once."""

    def __init__(self, method: str, path: str, parameters: Mapping[str, str], authorization: str | None = None) -> None:
        # The core insists on https in the URI. Whether the deployment has it is `config check`'s question: TLS may end in
        # front of us.
        super().__init__(method, f"https://identity{path}", headers=_headers(authorization))
        self._parameters = dict(parameters)
        self.payload = BasicOAuth2Payload(self._parameters)

    @property
    def args(self) -> Mapping[str, str]:
        """The parameters."""
        return self._parameters

    @property
    def form(self) -> Mapping[str, str]:
        """The parameters."""
        return self._parameters


class _Json(JsonPayload):  # type: ignore[misc]  # Authlib has no annotations
    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @property
    def data(self) -> dict[str, Any]:
        return self._data


class RegistrationRequest(JsonRequest):  # type: ignore[misc]  # Authlib has no annotations
    """A JSON request of the registration endpoints; `registration_client_id` is in the path."""

    def __init__(
        self, method: str, data: dict[str, Any], authorization: str | None, registration_client_id: str | None
    ) -> None:
        super().__init__(method, "https://identity/register", headers=_headers(authorization))
        self.payload = _Json(data)
        self.registration_client_id = registration_client_id
        self.credential: Any = None
        self.client: Any = None


def read_form(given: HttpInput) -> ProtocolRequest:
    """Return a POST's form as a request. Raises `InvalidRequestError` or `InvalidClientError`."""
    if given.content_type.partition(";")[0].strip().lower() != _FORM:
        raise InvalidRequestError(f"Send the parameters as {_FORM}.")
    parameters = parse_parameters(given.body)
    if given.authorization and given.authorization[:6].lower() == "basic " and "client_secret" in parameters:
        raise InvalidRequestError("Authenticate the client in one way: HTTP Basic or the form.")
    return ProtocolRequest(given.method, given.path, parameters, given.authorization)


def parse_parameters(raw: bytes) -> dict[str, str]:
    """Return the parameters of a query or form; those without a value count as absent (RFC 6749, 3.1).

    Raises `InvalidRequestError` for duplicates, NUL and control characters, bytes that are not UTF-8, and too much.
    """
    if len(raw) > MAX_BYTES:
        raise InvalidRequestError("The request is too long.")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError as error:  # UnicodeDecodeError among them
        raise InvalidRequestError("The parameters are not form-encoded UTF-8, or too many.") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if not value:
            continue
        shown = name if re.fullmatch(r"[a-z_]{1,40}", name) else "a parameter"
        if name in found and name not in _REPEATABLE:
            raise InvalidRequestError(f"Multiple '{shown}' in request.")
        if len(value) > MAX_VALUE or len(name) > MAX_VALUE:
            raise InvalidRequestError(f"The value of '{shown}' is too long.")
        if _CONTROL.search(value) or _CONTROL.search(name):
            raise InvalidRequestError(f"The value of '{shown}' has control characters.")
        if name in _STRICT and not _DESCRIBABLE.fullmatch(value):
            raise InvalidRequestError(f"The value of '{shown}' has characters that it must not have.")
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def _headers(authorization: str | None) -> dict[str, str]:
    """Return the headers that the core reads. Raises `InvalidClientError` for credentials that are not text."""
    if not authorization:
        return {}
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return {"Authorization": authorization}
    try:
        decoded = base64.b64decode(encoded.strip() or "?", validate=True).decode("utf-8")
        parts = [unquote(part, errors="strict") for part in decoded.split(":", 1)]
    except (binascii.Error, ValueError) as error:
        raise InvalidClientError("The Basic credentials are not base64 of UTF-8 text.", status_code=401) from error
    if any(_CONTROL.search(part) or len(part) > MAX_VALUE for part in parts):
        raise InvalidClientError("The Basic credentials have control characters or are too long.", status_code=401)
    return {"Authorization": f"Basic {encoded.strip()}"}
