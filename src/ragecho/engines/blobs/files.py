"""Blobs as files: `<workspace>/<aa>/<sha256>`, written so that a crash leaves either the whole file or nothing.

No name from outside ever becomes a path: a path is made of a UUID and of a digest that is checked to be one.
"""

import errno
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import anyio
from anyio.to_thread import run_sync

from ragecho.kernel.errors import InvalidInput, NotFound, TooLarge, Unavailable
from ragecho.kernel.ids import WorkspaceId, uuid7
from ragecho.ports.blobs import ListedBlob, StoredBlob

CHUNK_BYTES = 1024**2
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".tmp"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def check_digest(sha256: str) -> str:
    """Return `sha256` if it is 64 lower-case hex digits; raise `NotFound` otherwise: nothing has such an address."""
    if not _DIGEST.fullmatch(sha256):
        raise NotFound("There is no such file.")
    return sha256


class FileBlobStore:
    """A `BlobStore` in a folder of a local or shared POSIX file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, workspace_id: WorkspaceId, content: AsyncIterator[bytes], *, max_bytes: int) -> StoredBlob:
        """Store the stream durably: file and folders are flushed to the disk before this returns.

        Raises `TooLarge` over `max_bytes` and `Unavailable` when the disk is full; either way, and when cancelled,
        nothing is left behind.
        """
        folder = self._folder(workspace_id)
        temporary = folder / f"{uuid7().hex}{_TEMPORARY}"
        content = aiter(content)
        small = await _whole(content)
        if small.is_whole:
            _check_size(len(small.head), max_bytes)
            # Everything in one go: a thread's turn for each step costs more than the steps.
            with anyio.CancelScope(shield=True):
                sha256 = await _guarded(_put_small, self._root, folder, temporary, small.head)
            return StoredBlob(sha256, len(small.head))
        content = _joined(small.head, content)
        file = await _guarded(_create, self._root, folder, temporary)
        is_kept = False
        try:
            sha256, size_bytes = await _write(file, content, max_bytes)
            target = folder / sha256[:2] / sha256
            await _guarded(_finish, file, temporary, target)
            is_kept = True
            return StoredBlob(sha256, size_bytes)
        finally:
            # Shielded, because the usual way here is a cancelled upload.
            with anyio.CancelScope(shield=True):
                await run_sync(_discard, file, None if is_kept else temporary)

    async def open(self, workspace_id: WorkspaceId, sha256: str) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces of at most 1 MiB. Raises `NotFound`."""
        file = await run_sync(_open, self._path(workspace_id, sha256))
        try:
            while piece := await run_sync(file.read, CHUNK_BYTES):
                yield piece
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(file.close)

    @asynccontextmanager
    async def local_path(self, workspace_id: WorkspaceId, sha256: str) -> AsyncIterator[Path]:
        """Give the stored file itself; it must not be changed. Raises `NotFound`."""
        path = self._path(workspace_id, sha256)
        if not await run_sync(path.is_file):
            raise NotFound("There is no such file.")
        yield path

    async def exists(self, workspace_id: WorkspaceId, sha256: str) -> bool:
        """Return whether the blob is there now."""
        return await run_sync(self._path(workspace_id, sha256).is_file)

    async def iterate(self, workspace_id: WorkspaceId) -> AsyncIterator[ListedBlob]:
        """Yield every blob of the workspace, in no order."""
        for listed in await run_sync(_listed, self._folder(workspace_id)):
            yield listed

    async def delete(self, workspace_id: WorkspaceId, sha256: str) -> None:
        """Remove the blob; removing what is not there is no error."""
        await _guarded(_remove, self._path(workspace_id, sha256))

    async def sweep(self, *, older_than_seconds: float = 24 * 3600) -> int:
        """Remove what interrupted writes of crashed processes left, and return how many; run it at start and daily."""
        return await run_sync(_sweep, self._root, time.time() - older_than_seconds)

    async def check(self) -> None:
        """Write and remove a small file. Raises `Unavailable`."""
        name = self._root / f"{uuid7().hex}{_TEMPORARY}"
        file = await _guarded(_create, self._root, self._root, name)
        await run_sync(_discard, file, name)

    def _folder(self, workspace_id: WorkspaceId) -> Path:
        # UUID() and str() again: whatever is passed, only hex digits and dashes reach the path.
        return self._root / str(UUID(str(workspace_id)))

    def _path(self, workspace_id: WorkspaceId, sha256: str) -> Path:
        digest = check_digest(sha256)
        return self._folder(workspace_id) / digest[:2] / digest


@dataclass(frozen=True, slots=True)
class _Head:
    """The start of a stream, and whether there is no more of it."""

    head: bytes
    is_whole: bool


async def _whole(content: AsyncIterator[bytes]) -> _Head:
    """Read a stream up to the size that is written at once."""
    pending = bytearray()
    async for piece in content:
        pending += piece
        if len(pending) >= CHUNK_BYTES:
            return _Head(bytes(pending), is_whole=False)
    return _Head(bytes(pending), is_whole=True)


async def _joined(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in rest:
        yield piece


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLarge(f"The file is larger than {max_bytes} bytes.", max_bytes=max_bytes)


def _put_small(root: Path, folder: Path, temporary: Path, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    file = _create(root, folder, temporary)
    try:
        _write_all(file, content)
        _finish(file, temporary, folder / sha256[:2] / sha256)
    except BaseException:
        _discard(file, temporary)
        raise
    return sha256


def _write_all(file: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:  # an unbuffered write may take less than it was given, e.g. just before the disk is full
        rest = rest[file.write(rest) :]


async def _write(file: BinaryIO, content: AsyncIterator[bytes], max_bytes: int) -> tuple[str, int]:
    """Write the stream in large pieces: a thread per network packet would cost more than the disk."""
    digest = hashlib.sha256()
    size = 0
    pending = bytearray()

    def flush(piece: bytes) -> None:
        digest.update(piece)
        _write_all(file, piece)

    async for piece in content:
        size += len(piece)
        _check_size(size, max_bytes)
        pending += piece
        if len(pending) >= CHUNK_BYTES:
            await _guarded(flush, bytes(pending))
            pending.clear()
    await _guarded(flush, bytes(pending))
    return digest.hexdigest(), size


async def _guarded[*Ts, R](step: Callable[[*Ts], R], *args: *Ts) -> R:
    """Run `step` in a thread; what is wrong with the disk becomes an error a person can act on."""
    try:
        return await run_sync(step, *args)
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable("The disk that holds the files is full.", reason="disk_full") from error
        if error.errno == errno.EFBIG:
            raise InvalidInput("The file is larger than the file system allows.") from error
        reason = errno.errorcode.get(error.errno or 0, "EIO")
        raise Unavailable(f"The folder of files cannot be written ({reason}).", reason="storage") from error


def _create(root: Path, folder: Path, temporary: Path) -> BinaryIO:
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_new:
        _sync_folder(root)
    return os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


def _finish(file: BinaryIO, temporary: Path, target: Path) -> None:
    os.fsync(file.fileno())
    file.close()
    is_new = not target.parent.exists()
    target.parent.mkdir(mode=0o700, exist_ok=True)
    # Replacing an existing blob replaces it with the same bytes; readers keep the old file open.
    temporary.replace(target)
    _sync_folder(target.parent)
    if is_new:
        _sync_folder(target.parent.parent)


def _sync_folder(folder: Path) -> None:
    """Make names in `folder` durable (POSIX: a file's fsync does not cover its name)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(file: BinaryIO, temporary: Path | None) -> None:
    file.close()
    if temporary is not None:
        temporary.unlink(missing_ok=True)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise NotFound("There is no such file.") from None


def _listed(folder: Path) -> list[ListedBlob]:
    found = []
    for path in folder.glob("??/*"):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue  # removed meanwhile
        if _DIGEST.fullmatch(path.name):
            found.append(ListedBlob(path.name, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC)))
    return found


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _sweep(root: Path, before: float) -> int:
    removed = 0
    for leftover in root.glob(f"*/*{_TEMPORARY}"):
        try:
            if leftover.stat().st_mtime < before:
                leftover.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # another process swept it, or its writer finished
    return removed
