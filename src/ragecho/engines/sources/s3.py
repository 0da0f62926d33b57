"""Buckets that speak the S3 protocol: ListObjectsV2 and GetObject, signed by AWS Signature Version 4.

Two requests do not need a client library that brings its own HTTP stack around our guard against private addresses.
Sources: Amazon S3 API Reference; "Signature Version 4 signing process" (AWS IAM User Guide).
"""

import hmac
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import httpx

from ragecho.engines.sources.patterns import is_wanted
from ragecho.kernel.errors import Unavailable
from ragecho.platform.outbound import check_url, outbound_client
from ragecho.ports.source import Fetched, Gone, Item, Listing, Outcome, Skipped, SourceRefused
from ragecho.ports.source_configs import S3Config

_EMPTY = sha256(b"").hexdigest()
_REASONS = {
    "NoSuchBucket": ("no_bucket", "There is no bucket of that name."),
    "InvalidAccessKeyId": ("not_permitted", "The access key id is not known there."),
    "SignatureDoesNotMatch": ("not_permitted", "The secret access key is not the one of this access key id."),
    "AccessDenied": ("not_permitted", "The key may not list or read this bucket."),
    "ExpiredToken": ("not_permitted", "The session token has expired."),
    "PermanentRedirect": ("wrong_region", "The bucket is in another region."),
    "AuthorizationHeaderMalformed": ("wrong_region", "The bucket is in another region."),
}


class S3Source:
    """The objects of a bucket, below a prefix."""

    at_once = 4

    def __init__(
        self,
        config: S3Config,
        secrets: Mapping[str, str],
        *,
        allow_private: bool = False,
        max_bytes: int,
        seconds: float,
    ) -> None:
        self._config = config
        self._secrets = secrets
        endpoint = config.endpoint or f"https://s3.{config.region}.amazonaws.com"
        self._base = str(check_url(endpoint)).rstrip("/")
        self._max_bytes = max_bytes
        self._client = outbound_client(allow_private=allow_private, max_bytes=max_bytes, total_seconds=seconds)

    @property
    def max_items(self) -> int:
        """How many objects one run looks at."""
        return self._config.max_objects

    async def list_changes(self, cursor: Mapping[str, Any] | None) -> Listing:
        """Return all objects; an object's ETag is its revision, so only changed ones are fetched."""
        items: list[Item] = []
        token: str | None = None
        while len(items) <= self.max_items:
            query = {"list-type": "2", "prefix": self._config.prefix, "encoding-type": "url"}
            if token is not None:
                query["continuation-token"] = token
            page = _Page(await self._get("", query))
            items += [Item(key, revision=etag) for key, etag in page.objects if self._wants(key)]
            token = page.next_token
            if token is None:
                break
        return Listing(tuple(items), cursor=cursor)

    async def fetch(self, item: Item) -> Outcome:
        """Return an object."""
        async with AsyncExitStack() as stack:
            response = await self._send(stack, f"/{quote(item.key, safe='/-._~')}", {})
            if response.status_code == httpx.codes.NOT_FOUND:
                return Gone()
            size = int(response.headers.get("content-length", "0"))
            if size == 0:
                return Skipped("It is empty.", revision=item.revision)
            await _judge(response, self._config)
            location = f"s3://{self._config.bucket}/{item.key}"
            return Fetched(
                item.key,
                item.key,
                _streamed(response, stack.pop_all()),
                response.headers.get("content-type"),
                metadata={"url": location},
                revision=_unquoted(response.headers.get("etag")) or item.revision,
            )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _wants(self, key: str) -> bool:
        if key.endswith("/"):
            return False  # a folder that a console made
        return is_wanted(key, include=self._config.include, exclude=self._config.exclude)

    async def _get(self, path: str, query: Mapping[str, str]) -> bytes:
        async with AsyncExitStack() as stack:
            response = await self._send(stack, path, query)
            await _judge(response, self._config)
            return await response.aread()

    async def _send(self, stack: AsyncExitStack, path: str, query: Mapping[str, str]) -> httpx.Response:
        encoded = "&".join(f"{quote(name, safe='-._~')}={quote(query[name], safe='-._~')}" for name in sorted(query))
        url = httpx.URL(f"{self._base}/{self._config.bucket}{path}" + (f"?{encoded}" if encoded else ""))
        headers = signed_headers(url, encoded, self._secrets, region=self._config.region, now=datetime.now(UTC))
        try:
            return await stack.enter_async_context(self._client.stream("GET", url, headers=headers))
        except httpx.HTTPError as error:
            raise Unavailable(f"{url.host} cannot be reached: {type(error).__name__}.") from error


def signed_headers(
    url: httpx.URL, query: str, secrets: Mapping[str, str], *, region: str, now: datetime
) -> dict[str, str]:
    """Return the headers that sign a GET without a body; none but the date without an access key (a public bucket)."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": url.netloc.decode("ascii"), "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    key_id, secret = secrets.get("access_key_id"), secrets.get("secret_access_key")
    if not key_id or not secret:
        return headers
    if token := secrets.get("session_token"):
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    told = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    path = url.raw_path.split(b"?")[0].decode("ascii")
    request = f"GET\n{path}\n{query}\n{told}\n{names}\n{_EMPTY}"
    scope = f"{day}/{region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), sha256).digest()
    signature = hmac.new(key, to_sign.encode(), sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


class _Page:
    """One answer of ListObjectsV2."""

    def __init__(self, content: bytes) -> None:
        from urllib.parse import unquote_plus

        try:
            root = ElementTree.fromstring(content)  # noqa: S314 - nothing is fetched by it, and the size is bounded
        except ElementTree.ParseError as error:
            raise SourceRefused("no_bucket", "What answers at this address does not speak the S3 protocol.") from error
        name = root.tag.rpartition("}")[2]
        if name != "ListBucketResult":
            raise SourceRefused("no_bucket", "What answers at this address does not speak the S3 protocol.")
        space = root.tag[: -len(name)]
        is_encoded = (root.findtext(f"{space}EncodingType") or "") == "url"
        self.objects: list[tuple[str, str | None]] = []
        for entry in root.iter(f"{space}Contents"):
            key = entry.findtext(f"{space}Key") or ""
            self.objects.append((unquote_plus(key) if is_encoded else key, _unquoted(entry.findtext(f"{space}ETag"))))
        self.next_token = root.findtext(f"{space}NextContinuationToken") or None


async def _judge(response: httpx.Response, config: S3Config) -> None:
    """Raise what an answer that is no success means."""
    status = response.status_code
    if status == httpx.codes.OK:
        return
    if status >= 500 or status in (408, 429):  # noqa: PLR2004 - the server errors of HTTP
        raise Unavailable(f"The store answered with {status}.")
    code = ""
    with suppress(ElementTree.ParseError):
        code = ElementTree.fromstring(await response.aread()).findtext("Code") or ""  # noqa: S314 - as above
    reason, message = _REASONS.get(code, ("unexpected_answer", f"The store answered with {status} {code}.".strip()))
    raise SourceRefused(reason, f"{config.bucket}: {message}")


async def _streamed(response: httpx.Response, stack: AsyncExitStack) -> AsyncGenerator[bytes]:
    async with stack:
        try:
            async for piece in response.aiter_raw():
                yield piece
        except httpx.HTTPError as error:
            raise Unavailable(f"The connection to the store failed: {type(error).__name__}.") from error


def _unquoted(etag: str | None) -> str | None:
    return etag.strip('"') if etag else None
