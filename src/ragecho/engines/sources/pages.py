"""Pages over HTTP, through the client that refuses private addresses."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from email.message import Message

import httpx

from ragecho.engines.sources.links import read_links
from ragecho.kernel.errors import Unavailable
from ragecho.kernel.urls import canonical_url, page_name
from ragecho.platform.outbound import outbound_client
from ragecho.ports.source import Fetched, Gone, Outcome, Skipped, SourceRefused, Unchanged

# Read whole, for its links; a longer page is somebody's data.
MAX_HTML_BYTES = 10 * 1024**2
HTML_TYPES = ("text/html", "application/xhtml+xml")
_ACCEPT = "text/html,application/xhtml+xml,application/pdf,text/*;q=0.9,*/*;q=0.5"
_NO_DOCUMENTS = (
    "video/",
    "audio/",
    "font/",
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/wasm",
)
_GONE = (404, 410)
_MAY_PASS = (408, 425, 429)


class HttpPages:
    """Fetches pages. One for a whole source, or for many single URLs."""

    def __init__(
        self, *, allow_private: bool = False, max_bytes: int, seconds: float, user_agent: str = "ragecho"
    ) -> None:
        self._client = outbound_client(
            allow_private=allow_private,
            max_bytes=max_bytes,
            total_seconds=seconds,
            follow_redirects=True,
            headers={"User-Agent": user_agent, "Accept": _ACCEPT},
        )

    async def fetch(self, url: str, *, etag: str | None = None, last_modified: str | None = None) -> Outcome:
        """Return the page behind a URL; see `Pages`."""
        headers = {}
        if etag:
            headers["If-None-Match"] = etag
        if last_modified:
            headers["If-Modified-Since"] = last_modified
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(self._client.stream("GET", url, headers=headers))
            except httpx.TooManyRedirects as error:
                raise SourceRefused("too_many_redirects", "The page redirects again and again.") from error
            except httpx.HTTPError as error:
                raise Unavailable(_failure(url, error)) from error
            judged = _judged(response)
            if judged is not None:
                return judged
            return await _read(response, stack.pop_all())

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _judged(response: httpx.Response) -> Outcome | None:
    """Return what a response without a page means, None where there is one. Raises for refusals and failures."""
    status, host = response.status_code, response.url.host
    if status == httpx.codes.NOT_MODIFIED:
        return Unchanged()
    if status in _GONE:
        return Gone()
    if status in (401, 403, 407):
        raise SourceRefused("not_permitted", f"{host} does not show this page to everybody ({status}).")
    if status in _MAY_PASS or status >= 500:  # noqa: PLR2004 - the server errors of HTTP
        raise Unavailable(f"{host} answered with {status}.")
    if status != httpx.codes.OK:
        raise SourceRefused("unexpected_answer", f"{host} answered with {status} instead of a page.")
    if content_type_of(response).startswith(_NO_DOCUMENTS):
        return Skipped(f"Nothing to read: {content_type_of(response)}.")
    return None


async def _read(response: httpx.Response, stack: AsyncExitStack) -> Fetched:
    """Return the page; an HTML one is read whole for its links, others are read as they are stored."""
    url = canonical_url(str(response.url)) or str(response.url)
    content_type = content_type_of(response)
    key, links, is_indexable = url, tuple[str, ...](), True
    content = _streamed(response, stack)
    if content_type in HTML_TYPES:
        try:
            html = b"".join([piece async for piece in content])
        finally:
            await content.aclose()
        found = await asyncio.to_thread(read_links, html[:MAX_HTML_BYTES], url)
        key, links, is_indexable = found.canonical or url, found.links, found.is_index
        content = _whole(html)
    return Fetched(
        key,
        page_name(key),
        content,
        content_type or None,
        etag=response.headers.get("etag"),
        last_modified=response.headers.get("last-modified"),
        metadata={"url": key},
        links=links,
        is_indexable=is_indexable,
    )


async def _streamed(response: httpx.Response, stack: AsyncExitStack) -> AsyncGenerator[bytes]:
    async with stack:
        try:
            async for piece in response.aiter_raw():
                yield piece
        except httpx.HTTPError as error:
            raise Unavailable(_failure(str(response.url), error)) from error


async def _whole(content: bytes) -> AsyncGenerator[bytes]:
    yield content


def content_type_of(response: httpx.Response) -> str:
    """Return the media type in lower case, without parameters; empty where none was said."""
    message = Message()
    message["content-type"] = response.headers.get("content-type", "")
    return message.get_content_type() if response.headers.get("content-type") else ""


def _failure(url: str, error: httpx.HTTPError) -> str:
    host = httpx.URL(url).host
    if isinstance(error, httpx.ConnectError):
        return (
            f"{host} cannot be reached: {error}"
            if "certificate" in str(error).lower()
            else f"{host} cannot be reached."
        )
    return f"The connection to {host} failed: {type(error).__name__}."
