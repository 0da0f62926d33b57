import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from ragecho.engines.blobs import FileBlobStore, MemoryBlobStore
from ragecho.kernel.errors import NotFound, TooLarge, Unavailable
from ragecho.kernel.ids import WorkspaceId, uuid7
from ragecho.ports.blobs import BlobStore

pytestmark = pytest.mark.anyio
A, B = WorkspaceId(uuid7()), WorkspaceId(uuid7())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def files(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(tmp_path / "blobs")


@pytest.fixture(params=["files", "memory"])
def store(request: pytest.FixtureRequest, files: FileBlobStore) -> BlobStore:
    return files if request.param == "files" else MemoryBlobStore()


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(store: BlobStore, workspace_id: WorkspaceId, sha256: str) -> bytes:
    return b"".join([piece async for piece in store.open(workspace_id, sha256)])


def everything(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(3 * 1024**2 + 7)], ids=["empty", "one", "large"])
async def test_bytes_come_back_under_their_digest(store: BlobStore, data: bytes) -> None:
    pieces = [data[i : i + 65536] for i in range(0, len(data), 65536)]
    stored = await store.put(A, stream(*pieces), max_bytes=10 * 1024**2)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.size_bytes == len(data)
    assert await read(store, A, stored.sha256) == data
    async with store.local_path(A, stored.sha256) as path:
        assert path.read_bytes() == data


async def test_a_blob_exists_in_its_workspace_until_it_is_deleted(store: BlobStore) -> None:
    stored = await store.put(A, stream(b"here"), max_bytes=10)
    assert await store.exists(A, stored.sha256)
    assert not await store.exists(B, stored.sha256)
    await store.delete(A, stored.sha256)
    assert not await store.exists(A, stored.sha256)


async def test_the_same_bytes_twice_are_one_blob(store: BlobStore) -> None:
    first = await store.put(A, stream(b"same"), max_bytes=10)
    second = await store.put(A, stream(b"sa", b"me"), max_bytes=10)
    assert first == second
    await store.delete(A, first.sha256)
    with pytest.raises(NotFound):
        await read(store, A, first.sha256)


async def test_two_workspaces_never_share_a_blob(store: BlobStore) -> None:
    stored = await store.put(A, stream(b"same"), max_bytes=10)
    with pytest.raises(NotFound):
        await read(store, B, stored.sha256)
    await store.put(B, stream(b"same"), max_bytes=10)
    await store.delete(A, stored.sha256)
    assert await read(store, B, stored.sha256) == b"same"


async def test_too_large_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(TooLarge) as caught:
        await store.put(A, stream(b"12345", b"678"), max_bytes=7)
    assert caught.value.facts["max_bytes"] == 7
    assert everything(tmp_path) == []
    await store.put(A, stream(b"1234567"), max_bytes=7)


async def test_a_failing_or_cancelled_source_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError

    started = anyio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        started.set()
        await anyio.sleep_forever()

    with pytest.raises(ConnectionResetError):
        await store.put(A, broken(), max_bytes=10**9)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: store.put(A, endless(), max_bytes=10**9))
        await started.wait()
        group.cancel_scope.cancel()
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a" * 63, "A" * 64, "a" * 64 + "\n", "\x00" * 64, "a" * 64])
async def test_an_address_that_is_no_digest_or_unknown_is_not_found(store: BlobStore, name: str) -> None:
    with pytest.raises(NotFound):
        await read(store, A, name)
    with pytest.raises(NotFound):
        async with store.local_path(A, name):
            pass


async def test_deleting_what_is_not_there_is_no_error(store: BlobStore) -> None:
    await store.delete(A, "a" * 64)


async def test_parallel_writers_of_the_same_bytes_all_succeed(store: BlobStore) -> None:
    data = os.urandom(200_000)
    results: list[str] = []

    async def write() -> None:
        results.append((await store.put(A, stream(data), max_bytes=10**6)).sha256)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(write)
    assert set(results) == {hashlib.sha256(data).hexdigest()}
    assert await read(store, A, results[0]) == data


async def test_files_are_private_and_named_by_digest_only(files: FileBlobStore, tmp_path: Path) -> None:
    stored = await files.put(A, stream(b"x"), max_bytes=10)
    (path,) = everything(tmp_path)
    assert path == tmp_path / "blobs" / str(A) / stored.sha256[:2] / stored.sha256
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_workspace_that_is_no_uuid_never_becomes_a_path(files: FileBlobStore, tmp_path: Path) -> None:
    outside = WorkspaceId("../outside")  # type: ignore[arg-type]  # what a careless caller could pass
    with pytest.raises(ValueError, match="UUID"):
        await files.put(outside, stream(b"x"), max_bytes=10)
    assert everything(tmp_path) == []


async def test_sweep_removes_old_leftovers_and_nothing_else(files: FileBlobStore, tmp_path: Path) -> None:
    stored = await files.put(A, stream(b"kept"), max_bytes=10)
    folder = tmp_path / "blobs" / str(A)
    old, fresh = folder / "crashed.tmp", folder / "running.tmp"
    for leftover in (old, fresh):
        leftover.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert await files.sweep() == 1
    assert not old.exists()
    assert fresh.exists()
    assert await read(files, A, stored.sha256) == b"kept"


async def test_sweeping_before_anything_was_stored_is_fine(files: FileBlobStore) -> None:
    assert await files.sweep() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
async def test_a_full_disk_says_so(files: FileBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel's own full device stands in for the temporary file: the write fails as on a full disk.
    def open_full(*_: object) -> object:
        return Path("/dev/full").open("wb", buffering=0)

    monkeypatch.setattr("ragecho.engines.blobs.files._create", open_full)
    with pytest.raises(Unavailable, match="full") as caught:
        await files.put(A, stream(b"x"), max_bytes=10)
    assert caught.value.facts["reason"] == "disk_full"
    assert everything(tmp_path) == []


async def test_a_root_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        await FileBlobStore(tmp_path / "file").put(A, stream(b"x"), max_bytes=10)
