"""Port: places that documents come from. What is there, what changed, and the bytes of one thing."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ragecho.kernel.errors import InvalidInput


class SourceRefused(InvalidInput):
    """The source says no, and trying again changes nothing: a wrong password, a name that is not there.

    `reason` is a stable word; the message is for the person who set the source up and says what to do.
    """

    code = "source_refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message, reason=reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Item:
    """A thing in a source, with what is known of it from before.

    `key` is its lasting name there; `revision` changes whenever its content does (None: it must be asked for to know).
    `etag` and `last_modified` are what the server said of the copy that we hold; `depth` counts links from the start.
    """

    key: str
    revision: str | None = None
    depth: int = 0
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds, or what changed in it since the cursor.

    With `is_complete`, whatever was there before and is not among `items` is gone; `gone` names things that are gone either
    way. `cursor` is where the next listing starts, kept once all of this one is done.
    """

    items: tuple[Item, ...]
    gone: tuple[str, ...] = ()
    cursor: Mapping[str, Any] | None = None
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Fetched:
    """The content of an item. `key` differs from the one asked for where that leads to another (a redirect).

    `links` are further items to visit, where the source is walked rather than listed. `content` is to be closed.
    `revision` is what a later listing says while nothing changed; None where only asking tells. Without `is_indexable` the
    page asks not to be in anybody's index.
    """

    key: str
    name: str
    content: AsyncGenerator[bytes]
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    revision: str | None = None
    is_indexable: bool = True


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The copy that we hold is the present one."""


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no such thing any more."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """There is something, and it is not for us: `reason` says why, for the person who set the source up."""

    reason: str
    links: tuple[str, ...] = ()
    revision: str | None = None


Outcome = Fetched | Unchanged | Gone | Skipped


class Source(Protocol):
    """One configured place. Raises `SourceRefused` for what only a person can put right, `Unavailable` for what may pass.

    `at_once` is how many items may be fetched at the same time, `max_items` how many one run looks at.
    """

    @property
    def at_once(self) -> int: ...  # noqa: D102 - told above
    @property
    def max_items(self) -> int: ...  # noqa: D102 - told above

    async def list_changes(self, cursor: Mapping[str, Any] | None) -> Listing:
        """Return what is there; with a cursor from an earlier listing, what changed since then is enough."""
        ...

    async def fetch(self, item: Item) -> Outcome:
        """Return one item. Raises as the others do, and `TooLarge`; then only this item fails."""
        ...

    async def close(self) -> None:
        """Let go of connections and files."""
        ...


class Pages(Protocol):
    """Fetches pages from the web. Never from addresses that are not public, unless the operator permits it."""

    async def fetch(self, url: str, *, etag: str | None = None, last_modified: str | None = None) -> Outcome:
        """Return the page behind a URL, redirects followed. Raises `AddressRefused`, `SourceRefused`, `Unavailable`."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
