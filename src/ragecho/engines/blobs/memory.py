"""The fake: blobs in memory, for tests of what uses a `BlobStore`."""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from anyio.to_thread import run_sync

from ragecho.engines.blobs.files import CHUNK_BYTES, check_digest
from ragecho.kernel.errors import NotFound, TooLarge
from ragecho.kernel.ids import WorkspaceId
from ragecho.ports.blobs import ListedBlob, StoredBlob


class MemoryBlobStore:
    """A `BlobStore` that forgets."""

    def __init__(self) -> None:
        self._blobs: dict[tuple[WorkspaceId, str], tuple[bytes, datetime]] = {}

    async def put(self, workspace_id: WorkspaceId, content: AsyncIterator[bytes], *, max_bytes: int) -> StoredBlob:
        """Store the stream. Raises `TooLarge`, leaving nothing behind."""
        data = bytearray()
        async for piece in content:
            data += piece
            if len(data) > max_bytes:
                raise TooLarge(f"The file is larger than {max_bytes} bytes.", max_bytes=max_bytes)
        sha256 = hashlib.sha256(data).hexdigest()
        self._blobs[workspace_id, sha256] = (bytes(data), datetime.now(UTC))
        return StoredBlob(sha256, len(data))

    async def open(self, workspace_id: WorkspaceId, sha256: str) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces. Raises `NotFound`."""
        data = self._find(workspace_id, sha256)
        for start in range(0, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]

    @asynccontextmanager
    async def local_path(self, workspace_id: WorkspaceId, sha256: str) -> AsyncIterator[Path]:
        """Give the blob as a temporary file. Raises `NotFound`."""
        data = self._find(workspace_id, sha256)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / sha256
            await run_sync(path.write_bytes, data)
            yield path

    async def exists(self, workspace_id: WorkspaceId, sha256: str) -> bool:
        """Return whether the blob is there now."""
        return (workspace_id, check_digest(sha256)) in self._blobs

    async def iterate(self, workspace_id: WorkspaceId) -> AsyncIterator[ListedBlob]:
        """Yield every blob of the workspace."""
        for (owner, sha256), (data, written_at) in list(self._blobs.items()):
            if owner == workspace_id:
                yield ListedBlob(sha256, len(data), written_at)

    async def delete(self, workspace_id: WorkspaceId, sha256: str) -> None:
        """Remove the blob; removing what is not there is no error."""
        self._blobs.pop((workspace_id, check_digest(sha256)), None)

    async def check(self) -> None:
        """Memory is always there."""

    def _find(self, workspace_id: WorkspaceId, sha256: str) -> bytes:
        try:
            return self._blobs[workspace_id, check_digest(sha256)][0]
        except KeyError:
            raise NotFound("There is no such file.") from None
