"""RSS and Atom feeds, read by feedparser."""

import asyncio
import html
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from typing import Any

from ragecho.kernel.errors import TooLarge
from ragecho.kernel.urls import canonical_url, page_name
from ragecho.ports.source import Fetched, Gone, Item, Listing, Outcome, Pages, SourceRefused
from ragecho.ports.source_configs import FeedConfig

MAX_FEED_BYTES = 20 * 1024**2
_KEY_LETTERS = 1500


class FeedSource:
    """The entries of one feed: their own text, or the pages that they link to."""

    def __init__(self, config: FeedConfig, pages: Pages) -> None:
        self._config = config
        self._pages = pages
        self._entries: dict[str, dict[str, Any]] | None = None
        self.at_once = 2

    @property
    def max_items(self) -> int:
        """How many entries one run looks at."""
        return self._config.max_entries

    async def list_changes(self, cursor: Mapping[str, Any] | None) -> Listing:
        """Return the feed's entries; an entry's revision is made of all that the feed says of it."""
        entries = await self._load()
        items = tuple(Item(key, revision=_revision(entry)) for key, entry in entries.items())
        return Listing(items[: self.max_items], cursor=cursor, is_complete=self._config.mirror)

    async def fetch(self, item: Item) -> Outcome:
        """Return an entry as a small page, or the page that it links to."""
        entry = (await self._load()).get(item.key)
        if entry is None:
            return Gone()
        link = canonical_url(str(entry.get("link", "")), base=self._config.url)
        facts = {
            "url": link,
            "feed": self._config.url,
            "author": entry.get("author"),
            "published": entry.get("published") or entry.get("updated"),
        }
        known = {name: value for name, value in facts.items() if value}
        if self._config.pages and link:
            outcome = await self._pages.fetch(link, etag=item.etag, last_modified=item.last_modified)
            if not isinstance(outcome, Fetched):
                return outcome
            # The entry's own key: the page may move while the entry stays the same one.
            metadata = {**known, **outcome.metadata}
            return replace(outcome, key=item.key, links=(), metadata=metadata, revision=_revision(entry))
        name = page_name(link) if link else str(entry.get("title") or item.key)
        return Fetched(
            item.key, name, _page(entry), "text/html; charset=utf-8", metadata=known, revision=_revision(entry)
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pages.close()

    async def _load(self) -> dict[str, dict[str, Any]]:
        if self._entries is None:
            outcome = await self._pages.fetch(self._config.url)
            if not isinstance(outcome, Fetched):
                raise SourceRefused("no_feed", f"There is no feed at {self._config.url}.")
            content = bytearray()
            async with aclosing(outcome.content) as pieces:
                async for piece in pieces:
                    content += piece
                    if len(content) > MAX_FEED_BYTES:
                        raise TooLarge(f"The feed has more than {MAX_FEED_BYTES} bytes.", max_bytes=MAX_FEED_BYTES)
            self._entries = await asyncio.to_thread(read_feed, bytes(content), outcome.content_type or "")
        return self._entries


def read_feed(content: bytes, content_type: str) -> dict[str, dict[str, Any]]:
    """Return the entries by their id, in the feed's order. Raises `SourceRefused` for what is no feed."""
    import feedparser  # type: ignore[import-untyped]  # not annotated upstream; imported late, for it is slow

    parsed = feedparser.parse(
        content, response_headers={"content-type": content_type or "application/xml"}, sanitize_html=True
    )
    if not parsed.get("version"):
        raise SourceRefused("no_feed", "What is at this address is neither RSS nor Atom.")
    entries: dict[str, dict[str, Any]] = {}
    for entry in parsed.entries:
        key = str(entry.get("id") or entry.get("link") or entry.get("title") or "")
        if key:
            entries.setdefault(_short(key), dict(entry))
    return entries


def _short(key: str) -> str:
    encoded = key.encode("utf-8", "replace")
    if len(encoded) <= _KEY_LETTERS:
        return encoded.decode().replace("\0", "")
    return f"{encoded[:_KEY_LETTERS].decode('utf-8', 'ignore')}…{sha256(encoded).hexdigest()[:16]}"


def _text_of(entry: Mapping[str, Any]) -> str:
    contents = [part.get("value", "") for part in entry.get("content", [])]
    return str(max([*contents, str(entry.get("summary", ""))], key=len))


def _revision(entry: Mapping[str, Any]) -> str:
    said = [str(entry.get(name, "")) for name in ("title", "link", "author", "updated")]
    return sha256("\0".join([*said, _text_of(entry)]).encode("utf-8", "replace")).hexdigest()[:32]


async def _page(entry: Mapping[str, Any]) -> AsyncGenerator[bytes]:
    title = html.escape(str(entry.get("title", "")))
    # Feeds hold HTML that feedparser has cleaned; it is text to the reader in the sandbox, and shown to nobody as HTML.
    body = _text_of(entry)
    page = f"<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>"
    yield page.encode("utf-8", "replace")
