"""Outbound HTTP to addresses that others named: identity providers, logout endpoints, documents fetched by URL.

A request reaches public addresses only. The name is resolved once for each request (so for each redirect, too), every
address it has is judged, and the connection goes to one that was judged: a name that answers differently the next time
(DNS rebinding) changes nothing. Sizes and times are bounded. No proxy, `.netrc` or cookie of the environment is used.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Self

import httpx

from ragecho.kernel.errors import InvalidInput, TooLarge, Unavailable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""From host and port to the addresses of the host, as text. Raises `OSError`."""

DEFAULT_MAX_BYTES = 1024**2
DEFAULT_SECONDS = 10.0
MAX_REDIRECTS = 4
# Global by the registries, yet a cloud's own service or a way into somebody's network.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's wire server
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# By the URL standard such a last label makes the whole host an IPv4 address, in whatever radix.
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0[xX][0-9a-fA-F]*)")


class AddressRefused(InvalidInput):
    """The URL leads where Echo does not go: another scheme, or an address that is not public."""

    code = "address_refused"


def is_public(address: IPAddress) -> bool:
    """Return whether the address is one on the public internet, and not another one in disguise."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False  # mapped, translated, local, multicast and unallocated ones are all outside of it
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address.version == network.version and address in network for network in _REFUSED)
    )


def check_url(url: httpx.URL | str) -> httpx.URL:
    """Return the URL if its form is acceptable; says nothing about its address. Raises `AddressRefused`."""
    try:
        parsed = httpx.URL(url)
        host = parsed.host
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise AddressRefused("That is not a URL.") from error
    if parsed.scheme not in ("http", "https"):
        raise AddressRefused("Only http and https URLs are fetched.")
    if parsed.userinfo:
        raise AddressRefused("A URL with a user name or password in it is not fetched.")
    if not host or "%" in host or "\\" in host or not host.isascii() or any(c.isspace() for c in host):
        raise AddressRefused("The URL's host is not a host name.")
    literal = _literal(host)
    if literal is None and _NUMERIC_LABEL.fullmatch(host.rstrip(".").rsplit(".", 1)[-1]):
        raise AddressRefused("An IPv4 address is written as four decimal numbers.")
    return parsed


def outbound_client(
    *,
    allow_private: bool = False,
    max_bytes: int = DEFAULT_MAX_BYTES,
    total_seconds: float = DEFAULT_SECONDS,
    follow_redirects: bool = False,
    headers: Mapping[str, str] | None = None,
    resolve: Resolve | None = None,
    may_reach: Callable[[IPAddress], bool] = is_public,
) -> httpx.AsyncClient:
    """Return a client for URLs that others named; use it as a context manager or close it.

    `allow_private` is for development (RAGECHO_ALLOW_PRIVATE_ADDRESSES); schemes, sizes and times are bounded all the
    same. Its requests raise `AddressRefused`, `TooLarge` (body over `max_bytes`), `Unavailable` (no answer within
    `total_seconds`, body included), and httpx's own errors for what fails on the way.
    """
    transport = GuardedTransport(
        httpx.AsyncHTTPTransport(
            verify=httpx.create_ssl_context(trust_env=True),
            trust_env=False,
            # Pinned connections are kept by address: one must not be reused for another name on the same address.
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=0),
        ),
        max_bytes=max_bytes,
        total_seconds=total_seconds,
        resolve=resolve or system_resolve,
        may_reach=(lambda _address: True) if allow_private else may_reach,
    )
    return httpx.AsyncClient(
        transport=transport,
        follow_redirects=follow_redirects,
        max_redirects=MAX_REDIRECTS,
        timeout=httpx.Timeout(total_seconds),
        trust_env=False,
        headers={"User-Agent": "ragecho", **(headers or {})},
    )


async def system_resolve(host: str, port: int) -> list[str]:
    """Return the addresses that the operating system knows for a host. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedTransport(httpx.AsyncBaseTransport):
    """Judges where each request goes, connects it there and nowhere else, and bounds what comes back."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        *,
        max_bytes: int,
        total_seconds: float,
        resolve: Resolve,
        may_reach: Callable[[IPAddress], bool],
    ) -> None:
        self._inner = inner
        self._max_bytes = max_bytes
        self._total_seconds = total_seconds
        self._resolve = resolve
        self._may_reach = may_reach

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; redirects come back here as requests of their own."""
        deadline = asyncio.get_running_loop().time() + self._total_seconds
        url = check_url(request.url)
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._send(request, url, await self._judged(url))
        except TimeoutError as error:
            raise Unavailable(f"{url.host} did not answer in time.") from error
        if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            await response.aclose()
            raise TooLarge(f"{url.host} sent compressed content, which was not asked for.")
        if _told_length(response) > self._max_bytes:
            await response.aclose()
            raise TooLarge(f"{url.host} sent more than {self._max_bytes} bytes.", max_bytes=self._max_bytes)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        bounded = _Bounded(response.stream, host=url.host, max_bytes=self._max_bytes, deadline=deadline)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=bounded, extensions=response.extensions
        )

    async def _judged(self, url: httpx.URL) -> list[str]:
        """Return the addresses of the host, all of which may be reached. Raises `AddressRefused` or `ConnectError`."""
        literal = _literal(url.host)
        if literal is not None:
            found = [str(literal)]
        else:
            try:
                found = await self._resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
            except (OSError, UnicodeError) as error:
                raise httpx.ConnectError(f"{url.host} has no address.") from error
        if not found:
            raise httpx.ConnectError(f"{url.host} has no address.")
        for address in found:
            parsed = _literal(address)
            if parsed is None or not self._may_reach(parsed):
                raise AddressRefused(f"{url.host} is not on the public internet.")
        return found

    async def _send(self, request: httpx.Request, url: httpx.URL, addresses: list[str]) -> httpx.Response:
        """Send to the first address that accepts a connection; the name stays in Host, SNI and the certificate check."""
        request.headers["Accept-Encoding"] = "identity"
        extensions = {**request.extensions, "sni_hostname": url.raw_host.decode("ascii")}
        failure: httpx.ConnectError | None = None
        for address in addresses:
            pinned = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions=extensions,
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except httpx.ConnectError as error:  # nothing was sent, so the next address may be tried
                failure = error
        assert failure is not None
        raise failure

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self


class _Bounded(httpx.AsyncByteStream):
    """A body of at most `max_bytes`, all of it before `deadline`."""

    def __init__(self, inner: httpx.AsyncByteStream, *, host: str, max_bytes: int, deadline: float) -> None:
        self._inner = inner
        self._host = host
        self._max_bytes = max_bytes
        self._deadline = deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        parts = aiter(self._inner)
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise Unavailable(f"{self._host} did not finish its answer in time.") from error
            seen += len(part)
            if seen > self._max_bytes:
                raise TooLarge(f"{self._host} sent more than {self._max_bytes} bytes.", max_bytes=self._max_bytes)
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


def _literal(host: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if isinstance(address, ipaddress.IPv6Address) and address.scope_id else address


def _told_length(response: httpx.Response) -> int:
    told = response.headers.get("content-length", "")
    return int(told[:20]) if told.isascii() and told.isdigit() else 0
