"""Port: bytes of a file to the internal form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.parsed import ParsedDocument


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What one document may cost. The sandbox enforces them; exceeding one is a `ParseFailed` with the limit's name."""

    memory_bytes: int = 2 * 1024**3
    cpu_seconds: int = 60
    wall_seconds: float = 120.0
    output_bytes: int = 64 * 1024**2
    pages: int = 10_000
    characters: int = 20_000_000


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """A file to read. `filename` and `content_type` are hints of the uploader, never trusted."""

    path: Path
    filename: str
    content_type: str | None = None


class Parser(Protocol):
    """Reads a file of any supported type. Raises `ParseFailed`; a bad file never harms the process that asks."""

    async def parse(
        self, path: Path, *, filename: str, content_type: str | None, limits: ParseLimits
    ) -> ParsedDocument:
        """Return the parsed document. `filename` and `content_type` are hints of the uploader, never trusted."""
        ...

    async def parse_many(
        self, files: Sequence[ParseRequest], *, limits: ParseLimits
    ) -> list[ParsedDocument | ParseFailed]:
        """Return for each file, in order, what `parse` would return or raise. For small files of one tenant."""
        ...
