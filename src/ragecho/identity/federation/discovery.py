"""What a provider says about itself (OpenID Connect Discovery 1.0), and its keys; both kept for a while."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.oidc.discovery import get_well_known_url

from ragecho.identity.federation.errors import Fault, FederationFailed
from ragecho.kernel.errors import EchoError
from ragecho.platform.outbound import AddressRefused, check_url

KEPT_SECONDS = 600.0
# A token with an unknown key makes us look again, since providers rotate their keys; at most this often.
KEYS_AGAIN_SECONDS = 1.0
# Whoever asks while a provider does not answer gets the same answer at once: nobody queues for it.
FAILURE_SECONDS = 5.0
_MOST_KEPT = 1000
_MOST_KEYS = 100
LONGEST_URL = 2000


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of a discovery document that we use."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    id_token_algorithms: tuple[str, ...]
    auth_methods: tuple[str, ...]
    sends_response_issuer: bool
    pkce_methods: tuple[str, ...] | None

    def auth_method(self, *, has_secret: bool) -> str:
        """Return how we authenticate at the token endpoint. Raises `FederationFailed` when there is no common way."""
        if not has_secret:
            return "none"
        for method in ("client_secret_basic", "client_secret_post"):
            if method in self.auth_methods:
                return method
        raise FederationFailed(
            Fault.UNSUPPORTED,
            "Your provider asks for a kind of client authentication that is not supported.",
            hint="The provider supports neither client_secret_basic nor client_secret_post.",
        )


class Discovery:
    """Fetches and keeps discovery documents and key sets, by issuer."""

    def __init__(self, client: httpx.AsyncClient, *, allow_http: bool) -> None:
        self._client = client
        self._schemes = ("https", "http") if allow_http else ("https",)
        self._metadata: dict[str, tuple[float, Metadata]] = {}
        self._failures: dict[str, tuple[float, FederationFailed]] = {}
        self._keys: dict[str, tuple[float, list[Mapping[str, Any]]]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def metadata(self, issuer: str, *, is_fresh: bool = False) -> Metadata:
        """Return what the issuer says about itself. Raises `FederationFailed`."""
        async with self._lock(issuer):
            kept = self._metadata.get(issuer)
            if kept is not None and not is_fresh and time.monotonic() - kept[0] < KEPT_SECONDS:
                return kept[1]
            failed = self._failures.get(issuer)
            if failed is not None and not is_fresh and time.monotonic() - failed[0] < FAILURE_SECONDS:
                raise FederationFailed(failed[1].fault, failed[1].message, hint=failed[1].hint)
            self._check_issuer(issuer)
            try:
                found = self._read(issuer, await self._fetch(get_well_known_url(issuer, external=True)))
            except FederationFailed as error:
                _keep(self._failures, issuer, error)
                raise
            self._failures.pop(issuer, None)
            _keep(self._metadata, issuer, found)
            return found

    async def keys(self, metadata: Metadata, *, is_fresh: bool = False) -> list[Mapping[str, Any]]:
        """Return the provider's JSON Web Keys; `is_fresh` fetches them unless that was done just now."""
        async with self._lock(metadata.issuer):
            kept = self._keys.get(metadata.jwks_uri)
            longest = KEYS_AGAIN_SECONDS if is_fresh else KEPT_SECONDS
            if kept is not None and time.monotonic() - kept[0] < longest:
                return kept[1]
            found = (await self._fetch(metadata.jwks_uri)).get("keys")
            if not isinstance(found, list):
                raise _bad_document("The key set has no list of keys.")
            keys: list[Mapping[str, Any]] = [key for key in found[:_MOST_KEYS] if isinstance(key, dict)]
            _keep(self._keys, metadata.jwks_uri, keys)
            return keys

    def _lock(self, issuer: str) -> asyncio.Lock:
        if len(self._locks) > _MOST_KEPT:
            self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(issuer, asyncio.Lock())

    async def _fetch(self, url: str) -> dict[str, Any]:
        host = urlsplit(url).hostname
        try:
            answer = await self._client.get(url, headers={"Accept": "application/json"}, follow_redirects=False)
        except AddressRefused as error:
            raise FederationFailed(
                Fault.INSECURE,
                "This provider's address cannot be used.",
                hint=f"{error.message} RAGECHO_ALLOW_PRIVATE_ADDRESSES=true permits it in development.",
            ) from error
        except (httpx.HTTPError, EchoError) as error:
            why = getattr(error, "message", None) or str(error) or type(error).__name__
            raise FederationFailed(
                Fault.UNREACHABLE,
                "Your provider does not answer now. Try again later.",
                hint=f"GET {url}: {why}",
            ) from error
        if answer.status_code != httpx.codes.OK:
            raise _bad_document(f"GET {url} answered {answer.status_code}.")
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise _bad_document(f"What {host} sent is not a JSON object.")
        return found

    def _check_issuer(self, issuer: str) -> None:
        parts = urlsplit(issuer)
        if parts.scheme not in self._schemes or parts.query or parts.fragment or len(issuer) > LONGEST_URL:
            raise FederationFailed(
                Fault.INSECURE,
                "This provider's address cannot be used.",
                hint="An issuer is an https URL without query and fragment.",
            )

    def _read(self, issuer: str, document: Mapping[str, Any]) -> Metadata:
        if document.get("issuer") != issuer:
            told = document.get("issuer")
            shown = (
                told if isinstance(told, str) and len(told) <= LONGEST_URL and told.isprintable() else "something else"
            )
            raise FederationFailed(
                Fault.ISSUER_MISMATCH,
                "This provider is not set up correctly. Ask your administrator.",
                hint=f"The issuer is set to '{issuer}', the provider calls itself '{shown}': they must be equal, to the letter.",
            )
        algorithms = _words(document, "id_token_signing_alg_values_supported") or ("RS256",)
        return Metadata(
            issuer=issuer,
            authorization_endpoint=self._endpoint(document, "authorization_endpoint"),
            token_endpoint=self._endpoint(document, "token_endpoint"),
            jwks_uri=self._endpoint(document, "jwks_uri"),
            userinfo_endpoint=self._optional(document, "userinfo_endpoint"),
            end_session_endpoint=self._optional(document, "end_session_endpoint"),
            id_token_algorithms=algorithms,
            auth_methods=_words(document, "token_endpoint_auth_methods_supported") or ("client_secret_basic",),
            sends_response_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            pkce_methods=_words(document, "code_challenge_methods_supported"),
        )

    def _endpoint(self, document: Mapping[str, Any], name: str) -> str:
        url = document.get(name)
        if not isinstance(url, str) or len(url) > LONGEST_URL:
            raise _bad_document(f"The discovery document has no {name}.")
        try:
            check_url(url)
        except AddressRefused as error:
            raise _bad_document(f"{name}: {error.message}") from error
        if urlsplit(url).scheme not in self._schemes or urlsplit(url).fragment:
            raise FederationFailed(
                Fault.INSECURE,
                "This provider's address cannot be used.",
                hint=f"{name} is not an https URL.",
            )
        return url

    def _optional(self, document: Mapping[str, Any], name: str) -> str | None:
        return self._endpoint(document, name) if document.get(name) else None


def _words(document: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    found = document.get(name)
    if not isinstance(found, list):
        return None
    return tuple(item for item in found if isinstance(item, str))


def _bad_document(hint: str) -> FederationFailed:
    return FederationFailed(
        Fault.DISCOVERY, "This provider is not set up correctly. Ask your administrator.", hint=hint
    )


def _keep[T](kept: dict[str, tuple[float, T]], name: str, value: T) -> None:
    """Keep the newest ones only: who may register providers must not fill our memory."""
    kept.pop(name, None)
    while len(kept) >= _MOST_KEPT:
        kept.pop(next(iter(kept)))
    kept[name] = (time.monotonic(), value)
