"""Port: a page of a document as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ragecho.ports.parser import ParseLimits


class PageRenderer(Protocol):
    """Draws pages. A bad file never harms the process that asks."""

    async def render_page(
        self,
        path: Path,
        *,
        page: int,
        width: int = 1200,
        quotes: Sequence[str] = (),
        passwords: Sequence[str] = (),
        limits: ParseLimits,
    ) -> bytes:
        """Return page `page` (from 1) as a PNG of `width` pixels with the `quotes` marked where they are found.

        The first of `passwords` that fits opens a locked document.

        Raises `ParseFailed`, with reason "no_page" for a page that the document does not have.
        """
        ...

    async def close(self) -> None:
        """Let go of processes."""
        ...
