"""Links of an HTML page, with the tolerant parser of the standard library."""

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import override

from ragecho.kernel.urls import canonical_url, host_of

MAX_LINKS = 2000


@dataclass(frozen=True, slots=True)
class Links:
    """Where a page leads: `canonical` is what it says its own address is, on its own site; `links` in order, each once."""

    canonical: str | None
    links: tuple[str, ...]
    is_index: bool = True


def read_links(html: bytes, url: str) -> Links:
    """Return the links of a page at `url`; addresses are ASCII, so any encoding that ASCII is part of will do."""
    reader = _Reader(url)
    reader.feed(html.decode("utf-8", "replace"))
    canonical = reader.canonical
    if canonical is not None and host_of(canonical) != host_of(url):
        canonical = None  # another site cannot be spoken for
    return Links(canonical, tuple(reader.links), reader.is_index)


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self._base = url
        self._is_following = True
        self.links: dict[str, None] = {}
        self.canonical: str | None = None
        self.is_index = True

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        relations = attributes.get("rel", "").lower().split()
        href = attributes.get("href", "")
        if tag == "base" and href:
            self._base = canonical_url(href, base=self._base) or self._base
        elif tag == "link" and "canonical" in relations and href:
            self.canonical = self.canonical or canonical_url(href, base=self._base)
        elif tag == "meta" and attributes.get("name", "").lower() in ("robots", "ragecho"):
            self._obey(attributes.get("content", "").lower())
        elif tag in ("a", "area") and href and "nofollow" not in relations:
            self._follow(href)

    def _obey(self, content: str) -> None:
        rules = {rule.strip() for rule in content.split(",")}
        self.is_index = self.is_index and not rules & {"noindex", "none"}
        if rules & {"nofollow", "none"}:
            self._is_following = False
            self.links.clear()

    def _follow(self, href: str) -> None:
        if self._is_following and len(self.links) < MAX_LINKS:
            target = canonical_url(href, base=self._base)
            if target is not None:
                self.links.setdefault(target)
