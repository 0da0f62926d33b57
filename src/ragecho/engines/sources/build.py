"""From a kind and its configuration to a source."""

from collections.abc import Mapping
from dataclasses import dataclass

from ragecho.engines.sources.pages import HttpPages
from ragecho.ports.source import Source
from ragecho.ports.source_configs import (
    CrawlConfig,
    FeedConfig,
    GitConfig,
    ImapConfig,
    S3Config,
    SitemapConfig,
    SourceConfig,
    UrlConfig,
)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one fetch may cost, who asks, and where it may go."""

    max_bytes: int
    seconds: float
    user_agent: str
    allow_private: bool = False

    def pages(self) -> HttpPages:
        """Return a fetcher of pages."""
        return HttpPages(
            allow_private=self.allow_private,
            max_bytes=self.max_bytes,
            seconds=self.seconds,
            user_agent=self.user_agent,
        )


def build_source(config: SourceConfig, secrets: Mapping[str, str], limits: FetchLimits) -> Source:
    """Return the source; it connects at first use."""
    if isinstance(config, FeedConfig):
        from ragecho.engines.sources.feed import FeedSource

        return FeedSource(config, limits.pages())
    if isinstance(config, UrlConfig | SitemapConfig | CrawlConfig):
        from ragecho.engines.sources.web import WebSource

        return WebSource(config, limits.pages(), user_agent=limits.user_agent)
    if isinstance(config, S3Config):
        from ragecho.engines.sources.s3 import S3Source

        return S3Source(
            config,
            secrets,
            allow_private=limits.allow_private,
            max_bytes=limits.max_bytes,
            seconds=limits.seconds,
        )
    if isinstance(config, GitConfig):
        from ragecho.engines.sources.git import GitSource

        return GitSource(config, secrets, allow_private=limits.allow_private, max_bytes=limits.max_bytes)
    if isinstance(config, ImapConfig):
        from ragecho.engines.sources.imap import ImapSource

        return ImapSource(config, secrets, allow_private=limits.allow_private, max_bytes=limits.max_bytes)
    raise AssertionError(type(config).__name__)
