"""Web sites: one page, the pages of a sitemap, or those that links lead to. robots.txt is obeyed (RFC 9309)."""

import asyncio
import time
import zlib
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from protego import Protego

from ragecho.engines.sources.patterns import is_wanted
from ragecho.kernel.errors import TooLarge
from ragecho.kernel.urls import canonical_url, host_of
from ragecho.ports.source import Fetched, Item, Listing, Outcome, Pages, Skipped, SourceRefused
from ragecho.ports.source_configs import CrawlConfig, SitemapConfig, UrlConfig

MAX_ROBOTS_BYTES = 512 * 1024  # RFC 9309 asks for at least 500 kB
MAX_SITEMAP_BYTES = 50 * 1024**2  # sitemaps.org
MAX_SITEMAPS = 100
MAX_CRAWL_DELAY = 30.0

WebConfig = UrlConfig | SitemapConfig | CrawlConfig


class WebSource:
    """A site."""

    at_once = 1

    def __init__(self, config: WebConfig, pages: Pages, *, user_agent: str) -> None:
        self._config = config
        self._pages = pages
        self._agent = user_agent
        self._robots: dict[str, Protego | None] = {}
        self._last = 0.0
        self._delay = config.delay_seconds if isinstance(config, SitemapConfig | CrawlConfig) else 0.0

    @property
    def max_items(self) -> int:
        """How many pages one run looks at."""
        return self._config.max_pages if isinstance(self._config, SitemapConfig | CrawlConfig) else 1

    async def list_changes(self, cursor: Mapping[str, Any] | None) -> Listing:
        """Return where to begin, or all that a sitemap names. What is gone shows when everything was visited."""
        if isinstance(self._config, SitemapConfig):
            return Listing(tuple(await self._sitemap_items(self._config)), cursor=cursor)
        return Listing((Item(self._config.url),), cursor=cursor)

    async def fetch(self, item: Item) -> Outcome:
        """Return a page with the links that are to be followed."""
        if not await self._may_fetch(item.key):
            return Skipped("The site's robots.txt does not permit it.")
        await self._wait()
        outcome = await self._pages.fetch(item.key, etag=item.etag, last_modified=item.last_modified)
        if isinstance(outcome, Skipped):
            return replace(outcome, links=self._wanted_links(item, outcome.links))
        if not isinstance(outcome, Fetched):
            return outcome
        links = self._wanted_links(item, outcome.links)
        if item.depth and not self._is_inside(outcome.key):
            await outcome.content.aclose()
            return Skipped("It leads out of what this source is about.")
        if not outcome.is_indexable:
            await outcome.content.aclose()
            return Skipped("The page asks not to be indexed.", links=links, revision=item.revision)
        return replace(outcome, links=links, revision=item.revision)

    async def close(self) -> None:
        """Close all connections."""
        await self._pages.close()

    def _wanted_links(self, item: Item, links: tuple[str, ...]) -> tuple[str, ...]:
        config = self._config
        if not isinstance(config, CrawlConfig) or item.depth >= config.max_depth:
            return ()
        return tuple(link for link in links if self._is_inside(link))

    def _is_inside(self, url: str) -> bool:
        config = self._config
        if not isinstance(config, CrawlConfig):
            return True
        start = urlsplit(config.url)
        if host_of(url) != host_of(config.url) or urlsplit(url).port != start.port:
            return False
        folder = start.path.rsplit("/", 1)[0] + "/"
        if config.scope == "prefix" and not urlsplit(url).path.startswith(folder):
            return False
        return is_wanted(url, include=config.include, exclude=config.exclude)

    async def _may_fetch(self, url: str) -> bool:
        robots = await self._robots_of(url)
        return robots is None or robots.can_fetch(url, self._agent)

    async def _robots_of(self, url: str) -> Protego | None:
        """Return the rules of a page's site, None where it has none. Raises `Unavailable` when that cannot be known."""
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._robots:
            self._robots[site] = await self._read_robots(f"{site}/robots.txt")
            robots = self._robots[site]
            asked = robots.crawl_delay(self._agent) if robots is not None else None
            if asked is not None:
                self._delay = max(self._delay, min(float(asked), MAX_CRAWL_DELAY))
        return self._robots[site]

    async def _read_robots(self, url: str) -> Protego | None:
        try:
            outcome = await self._pages.fetch(url)
        except SourceRefused:
            return None  # 4xx: there are no rules
        if not isinstance(outcome, Fetched):
            return None
        content = await _content(outcome, MAX_ROBOTS_BYTES, is_cut=True)
        return await asyncio.to_thread(Protego.parse, content.decode("utf-8", "replace"))

    async def _wait(self) -> None:
        """Leave the site alone for a while between two requests."""
        pause = self._last + self._delay - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._last = time.monotonic()

    async def _sitemap_items(self, config: SitemapConfig) -> list[Item]:
        """Return the pages of the sitemaps; their `lastmod` is the revision."""
        is_sitemap = config.url.endswith((".xml", ".xml.gz", ".txt"))
        queue = [config.url] if is_sitemap else await self._known_sitemaps(config.url)
        seen: set[str] = set()
        items: dict[str, Item] = {}
        while queue and len(seen) < MAX_SITEMAPS and len(items) < config.max_pages + 1:
            address = queue.pop(0)
            if address in seen:
                continue
            seen.add(address)
            await self._wait()
            further, found = await self._read_sitemap(address)
            queue += further
            for url, modified in found:
                canonical = canonical_url(url)
                if canonical is None or host_of(canonical) != host_of(address):
                    continue  # a sitemap speaks for its own site
                if is_wanted(canonical, include=config.include, exclude=config.exclude):
                    items.setdefault(canonical, Item(canonical, revision=modified))
        return list(items.values())

    async def _known_sitemaps(self, url: str) -> list[str]:
        robots = await self._robots_of(url)
        return list(robots.sitemaps) if robots is not None and list(robots.sitemaps) else [urljoin(url, "/sitemap.xml")]

    async def _read_sitemap(self, address: str) -> tuple[list[str], list[tuple[str, str | None]]]:
        outcome = await self._pages.fetch(address)
        if not isinstance(outcome, Fetched):
            raise SourceRefused("no_sitemap", f"There is no sitemap at {address}.")
        content = await _content(outcome, MAX_SITEMAP_BYTES)
        return await asyncio.to_thread(read_sitemap, content)


async def _content(page: Fetched, most: int, *, is_cut: bool = False) -> bytes:
    collected = bytearray()
    async with aclosing(page.content) as content:
        async for piece in content:
            collected += piece
            if len(collected) > most:
                if is_cut:
                    return bytes(collected[:most])
                raise TooLarge(f"{page.name} has more than {most} bytes.", max_bytes=most)
    return bytes(collected)


def read_sitemap(content: bytes) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Return further sitemaps, and the pages with when they changed; XML (also gzipped) or one address in each line.

    Raises `SourceRefused`. The standard library's parser fetches nothing, and expat stops entities that grow without bound.
    """
    if content.startswith(b"\x1f\x8b"):
        content = _unzipped(content)
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = content.decode("utf-8", "replace").splitlines()
        return [], [(line.strip(), None) for line in lines if line.strip()]
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - see above; sizes are bounded
    except ElementTree.ParseError as error:
        raise SourceRefused("no_sitemap", f"The sitemap is not well-formed: {error}.") from error
    sitemaps: list[str] = []
    pages: list[tuple[str, str | None]] = []
    for entry in root:
        values = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in entry}
        address = values.get("loc")
        if not address:
            continue
        if entry.tag.rpartition("}")[2] == "sitemap":
            sitemaps.append(address)
        else:
            pages.append((address, values.get("lastmod") or None))
    return sitemaps, pages


def _unzipped(content: bytes) -> bytes:
    try:
        decompressor = zlib.decompressobj(wbits=31)
        unzipped = decompressor.decompress(content, MAX_SITEMAP_BYTES)
    except zlib.error as error:
        raise SourceRefused("no_sitemap", "The sitemap is not a gzip file.") from error
    if decompressor.unconsumed_tail:
        raise TooLarge(f"The sitemap has more than {MAX_SITEMAP_BYTES} bytes.", max_bytes=MAX_SITEMAP_BYTES)
    return unzipped
