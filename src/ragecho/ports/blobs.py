"""Port: where original bytes are kept, addressed by their SHA-256."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ragecho.kernel.ids import WorkspaceId


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What was written."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """A blob as listed; `written_at` is when it was written last."""

    sha256: str
    size_bytes: int
    written_at: datetime


class BlobStore(Protocol):
    """Keeps bytes per workspace; the same bytes in two workspaces are two blobs, so deleting one never touches the other."""

    async def put(self, workspace_id: WorkspaceId, content: AsyncIterator[bytes], *, max_bytes: int) -> StoredBlob:
        """Store the stream durably and return its digest. Raises `TooLarge`, leaving nothing behind."""
        ...

    def open(self, workspace_id: WorkspaceId, sha256: str) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces. Raises `NotFound`."""
        ...

    def local_path(self, workspace_id: WorkspaceId, sha256: str) -> AbstractAsyncContextManager[Path]:
        """Give the blob as a local file for the time of the block. Raises `NotFound`."""
        ...

    async def exists(self, workspace_id: WorkspaceId, sha256: str) -> bool:
        """Return whether the blob is there now."""
        ...

    def iterate(self, workspace_id: WorkspaceId) -> AsyncIterator[ListedBlob]:
        """Yield every blob of the workspace, in no order; what is written or removed meanwhile may be among them or not."""
        ...

    async def delete(self, workspace_id: WorkspaceId, sha256: str) -> None:
        """Remove the blob; removing what is not there is no error."""
        ...

    async def check(self) -> None:
        """Raise `Unavailable` when blobs cannot be written now; for the readiness probe."""
        ...
