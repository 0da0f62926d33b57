"""Port: bytes of a file to the internal form."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    ocr_pages: int = 2_000  # pictures of text that are recognised in one document
    members: int = 1_000  # files in one archive or e-mail, those within them counted
    archive_depth: int = 3  # archives and e-mails within each other
    archive_ratio: int = 200  # unpacked size by packed size of one member, from 1 MiB on
    unpacked_bytes: int = 512 * 1024**2  # of all members together


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """A file to read. `filename` and `content_type` are hints of the uploader, never trusted.

    `passwords` are tried in order on what is protected by one, members of an archive included; they are nowhere written. Without
    `recognise` a document with pictures of text that could be recognised is `NeedsRecognition`: that takes long, and may be for
    somebody else to do.
    """

    path: Path
    filename: str
    content_type: str | None = None
    passwords: tuple[str, ...] = field(default=(), repr=False)
    recognise: bool = True


class Parser(Protocol):
    """Reads a file of any supported type. Raises `ParseFailed`; a bad file never harms the process that asks."""

    async def parse(
        self,
        path: Path,
        *,
        filename: str,
        content_type: str | None,
        limits: ParseLimits,
        passwords: tuple[str, ...] = (),
        recognise: bool = True,
    ) -> ParsedDocument:
        """Return the parsed document; see `ParseRequest` for what the arguments mean."""
        ...

    async def parse_many(
        self, files: Sequence[ParseRequest], *, limits: ParseLimits
    ) -> list[ParsedDocument | ParseFailed]:
        """Return for each file, in order, what `parse` would return or raise. For small files of one tenant."""
        ...
