"""The identity service as its clients see it: discovery, keys, introspection. Everything fetched is checked and cached."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ragecho_sdk.errors import EchoError
from ragecho_sdk.transport import is_loopback, plain_options

KEYS_SECONDS = 600.0
# Tokens with made-up key ids must not turn into requests to the identity service.
REFETCH_SECONDS = 15.0
# Keys that were good go on being good for so long while the identity service cannot be reached.
STALE_SECONDS = 86_400.0
_MAX_BYTES = 256 * 1024


class ProviderError(EchoError):
    """The identity service does not answer, or not as one does; the message names its address."""


class Provider:
    """One identity service. Safe to share between threads: what is needed is fetched once, by whoever comes first.

    `http` makes the client for a URL; `monotonic` counts seconds. An issuer without TLS is accepted on this machine
    only, unless `allows_http` says that the network between is trusted. Raises `ValueError` otherwise.
    """

    def __init__(
        self,
        issuer: str,
        *,
        allows_http: bool = False,
        http: Callable[[str], httpx.Client] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(issuer)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError(f"ECHO_ISSUER '{issuer}' is not an address like https://echo.example.com/identity.")
        if parts.scheme == "http" and not (allows_http or is_loopback(issuer)):
            raise ValueError(f"ECHO_ISSUER '{issuer}' must be https, or on this machine (or pass allows_http=True).")
        self.issuer = issuer
        self._http = http or (lambda url: httpx.Client(**plain_options(url)))
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._metadata: Mapping[str, Any] | None = None
        self._keys: KeySet | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def metadata(self) -> Mapping[str, Any]:
        """Return the discovery document. Raises `ProviderError`."""
        with self._lock:
            return self._discovered()

    def endpoint(self, name: str) -> str:
        """Return an endpoint of the discovery document, e.g. `token_endpoint`. Raises `ProviderError`."""
        found = self.metadata().get(name)
        if not isinstance(found, str):
            raise ProviderError(f"The identity service at {self.issuer} has no {name}.")
        return found

    def fresh_keys(self) -> KeySet | None:
        """Return the keys if they need no fetching."""
        return self._keys if self._monotonic() - self._fetched_at < KEYS_SECONDS else None

    def keys(self) -> KeySet:
        """Return the signing keys, at most ten minutes old while the service answers. Raises `ProviderError`."""
        with self._lock:
            now = self._monotonic()
            age = now - self._fetched_at
            was_just_tried = now - self._tried_at < REFETCH_SECONDS and age <= STALE_SECONDS
            if self._keys is not None and (age < KEYS_SECONDS or was_just_tried):
                return self._keys
            try:
                return self._fetch_keys(now)
            except ProviderError:
                if self._keys is None or age > STALE_SECONDS:
                    raise
                return self._keys

    def keys_after(self, known: KeySet) -> KeySet | None:
        """Return newer keys than `known`, or None: there are none, or they were asked for a moment ago."""
        with self._lock:
            if self._keys is not None and self._keys is not known:
                return self._keys
            now = self._monotonic()
            if now - self._tried_at < REFETCH_SECONDS:
                return None
            try:
                return self._fetch_keys(now)
            except ProviderError:
                return None

    def introspect(self, token: str, client_id: str, client_secret: str) -> bool:
        """Return whether the service still stands by the token (RFC 7662). Raises `ProviderError`."""
        url = self.endpoint("introspection_endpoint")
        answer = self._request("POST", url, data={"token": token}, auth=(client_id, client_secret))
        return answer.get("active") is True

    def tokens(self, client: tuple[str, str], form: Mapping[str, str]) -> dict[str, Any]:
        """Return what the token endpoint gives for a grant. Raises `ProviderError`, also when it refuses."""
        return self._request("POST", self.endpoint("token_endpoint"), data=dict(form), auth=client)

    def userinfo(self, access_token: str) -> dict[str, Any]:
        """Return the standard claims of the person a token is about. Raises `ProviderError`."""
        return self._request("GET", self.endpoint("userinfo_endpoint"), token=access_token)

    def _discovered(self) -> Mapping[str, Any]:
        if self._metadata is None:
            found = self._request("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.issuer:
                raise ProviderError(
                    f"The identity service at {self.issuer} calls itself {found.get('issuer')!r}: set ECHO_ISSUER to that."
                )
            self._metadata = found
        return self._metadata

    def _fetch_keys(self, now: float) -> KeySet:
        self._tried_at = now
        uri = self._discovered().get("jwks_uri")
        if not isinstance(uri, str):
            raise ProviderError(f"The identity service at {self.issuer} has no jwks_uri.")
        try:
            found = KeySet.import_key_set(self._request("GET", uri))  # type: ignore[arg-type]  # checked by it
        except (JoseError, ValueError, KeyError, TypeError):
            raise ProviderError(f"The keys of the identity service at {self.issuer} cannot be read.") from None
        self._keys, self._fetched_at = found, now
        return found

    def _request(self, method: str, url: str, *, token: str | None = None, **options: Any) -> dict[str, Any]:
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            with self._http(url) as client:
                response = client.request(method, url, headers=headers, **options)
        except httpx.HTTPError as error:
            raise ProviderError(
                f"The identity service at {self.issuer} does not answer ({type(error).__name__}). Is ECHO_ISSUER right?"
            ) from None
        if response.status_code != httpx.codes.OK or len(response.content) > _MAX_BYTES:
            raise ProviderError(
                f"The identity service at {self.issuer} answered {response.status_code} for {urlsplit(url).path}."
            )
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ProviderError(f"{self.issuer} does not answer like an identity service. Is ECHO_ISSUER right?")
        return answer
