"""Large files in pieces (tus 1.0): what to send next, without I/O of the network; both clients drive it."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ragecho_sdk.calls import Call, Source, segment
from ragecho_sdk.models import Upload

# From here on a file goes in pieces: one request would be lost as a whole when its connection breaks.
LARGE_BYTES = 32 * 1024 * 1024
PIECE_BYTES = 8 * 1024 * 1024
# Pieces in a row that did not get through before it is given up.
MAX_FAILURES = 6
PIECE_TYPE = "application/offset+octet-stream"


def size_of(source: Source) -> int:
    """Return how many bytes a file has."""
    return len(source[1]) if isinstance(source, tuple) else Path(source).stat().st_size


class LargeFile:
    """A file that is read in pieces; use it in a `with` statement."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._file: BinaryIO | None = None
        self.size_bytes = size_of(source)
        self.filename = source[0] if isinstance(source, tuple) else Path(source).name
        self.failures = 0

    def __enter__(self) -> LargeFile:
        if not isinstance(self._source, tuple):
            self._file = Path(self._source).open("rb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, offset: int) -> bytes:
        """Return the piece that begins at `offset`."""
        if isinstance(self._source, tuple):
            return self._source[1][offset : offset + PIECE_BYTES]
        assert self._file is not None
        self._file.seek(offset, os.SEEK_SET)
        return self._file.read(PIECE_BYTES)

    def pause_after_failure(self) -> float | None:
        """Return how long to wait before going on, None when it is time to give up."""
        self.failures += 1
        return None if self.failures >= MAX_FAILURES else min(8.0, 0.25 * 2**self.failures)


def create_upload(size_bytes: int, fields: Mapping[str, str]) -> Call[Upload]:
    """Begin an upload."""
    pairs = [f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in fields.items()]
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size_bytes), "Upload-Metadata": ",".join(pairs)}
    return Call("POST", "/api/v1/uploads", Upload.read, headers=headers)


def get_upload(upload_id: str) -> Call[Upload]:
    """Where an upload stands."""
    return Call("GET", f"/api/v1/uploads/{segment(upload_id)}", Upload.read, is_repeatable=True)


def append_piece(upload_id: str, offset: int, piece: bytes) -> Call[None]:
    """Send a piece."""
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), "Content-Type": PIECE_TYPE}
    path = f"/api/v1/uploads/{segment(upload_id)}"
    return Call("PATCH", path, _nothing, headers=headers, content=piece)


def metadata_of(filename: str, form: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of an upload's form as an upload in pieces names them."""
    fields = {"filename": filename}
    for name, value in form.items():
        fields[name] = ",".join(value) if isinstance(value, list) else str(value)
    return fields


def _nothing(_: Any) -> None:
    return
