"""How each kind of source is set up: what a person says about it, apart from its secrets."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from ragecho.kernel.urls import canonical_url

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class SourceConfig(BaseModel):
    """What every kind has. `secrets` names what is given apart and stored sealed; those with `?` may be left out."""

    model_config = ConfigDict(extra="forbid")

    secrets: ClassVar[tuple[str, ...]] = ()


class PageConfig(SourceConfig):
    """Pages at an http or https address."""

    url: Url

    @field_validator("url")
    @classmethod
    def _canonical(cls, value: str) -> str:
        canonical = canonical_url(value)
        if canonical is None:
            raise ValueError("this is not an http or https address")
        return canonical


class Selection(SourceConfig):
    """Which things to take, by patterns as for file names; of pages the whole address counts."""

    include: list[Pattern] = Field(default_factory=list, max_length=50, description="Only these; empty means all.")
    exclude: list[Pattern] = Field(default_factory=list, max_length=50, description="Not these.")


class Polite(Selection):
    """How a site is visited."""

    max_pages: int = Field(500, ge=1, le=50_000, description="Most pages of one run.")
    delay_seconds: float = Field(
        1.0, ge=0, le=60, description="Pause between two requests; robots.txt may ask for a longer one."
    )


class UrlConfig(PageConfig):
    """One page."""


class SitemapConfig(PageConfig, Polite):
    """The pages of a sitemap, or of the sitemaps that a site's robots.txt names."""


class CrawlConfig(PageConfig, Polite):
    """The pages that can be reached by links from one."""

    max_depth: int = Field(3, ge=0, le=50, description="How many links away from the first page.")
    scope: Literal["host", "prefix"] = Field(
        "host", description="`host`: the same site; `prefix`: only below the first page's folder."
    )


class FeedConfig(PageConfig):
    """An RSS or Atom feed. Entries that it no longer shows are kept unless `mirror`."""

    pages: bool = Field(False, description="Fetch the page of each entry instead of taking the entry's own text.")
    mirror: bool = Field(False, description="Remove entries that the feed no longer shows.")
    max_entries: int = Field(500, ge=1, le=5_000, description="Most entries of one run.")


class S3Config(Selection):
    """A bucket that speaks the S3 protocol."""

    secrets: ClassVar[tuple[str, ...]] = ("access_key_id?", "secret_access_key?", "session_token?")

    bucket: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$")]
    prefix: str = Field("", max_length=1024)
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")] = "us-east-1"
    endpoint: Url | None = Field(None, description="Of another service than Amazon's, such as MinIO.")
    max_objects: int = Field(100_000, ge=1, le=1_000_000)


class GitConfig(Selection):
    """The files of one branch of a Git repository, over http or https."""

    secrets: ClassVar[tuple[str, ...]] = ("username?", "password?")

    url: Url = Field(description="https://…; file://… where private addresses are permitted.")
    branch: str | None = Field(None, max_length=250, description="Default: the repository's own.")
    max_files: int = Field(20_000, ge=1, le=200_000)


class ImapConfig(SourceConfig):
    """The messages in folders of a mailbox."""

    secrets: ClassVar[tuple[str, ...]] = ("password",)

    host: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    port: int = Field(993, ge=1, le=65535)
    security: Literal["tls", "starttls", "none"] = Field(
        "tls", description="`none` only where private addresses are permitted."
    )
    username: Annotated[str, StringConstraints(min_length=1, max_length=320)]
    folders: list[Annotated[str, StringConstraints(min_length=1, max_length=500)]] = Field(
        default_factory=lambda: ["INBOX"], min_length=1, max_length=100
    )
    days: int | None = Field(None, ge=1, le=36_500, description="Only messages of the last so many days.")
    max_messages: int = Field(20_000, ge=1, le=200_000)


CONFIGS: dict[str, type[SourceConfig]] = {
    "url": UrlConfig,
    "sitemap": SitemapConfig,
    "crawl": CrawlConfig,
    "feed": FeedConfig,
    "s3": S3Config,
    "git": GitConfig,
    "imap": ImapConfig,
}
