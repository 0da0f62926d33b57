"""The way between the sandbox's caller and its zygote: start it, send to it, hear how its children ended."""

import asyncio
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

_ZYGOTE = "ragecho.engines.parsing.zygote"
_MESSAGE_BYTES = 64 * 1024
_READ_BYTES = 1 << 18
_START_SECONDS = 60.0
# A child sees no secret of ours: not the database's address, no provider's key.
_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "SSL_CERT_FILE",
    "TZ",
    "TESSDATA_PREFIX",
)


class ZygoteGoneError(Exception):
    """The zygote ended while a document was with it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended; `code` is negative for the signal that killed it."""

    code: int
    is_out_of_memory: bool
    peak_bytes: int
    cpu_ms: int


@dataclass(slots=True)
class Zygote:
    """A running zygote, and who waits for which of its children."""

    process: asyncio.subprocess.Process
    channel: socket.socket
    ready: asyncio.Future[int]
    ended: dict[int, asyncio.Future[Ended]] = field(default_factory=dict)
    preloaded: set[str] = field(default_factory=set)
    is_gone: bool = False


async def start_zygote() -> Zygote:
    """Return a zygote that has loaded its libraries. Raises `TimeoutError` or `ZygoteGoneError`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # Fewer arenas: each costs address space, which is what RLIMIT_AS counts.
    environment |= {"MALLOC_ARENA_MAX": "2", "HF_HUB_OFFLINE": "1", "OMP_THREAD_LIMIT": "1"}
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            _ZYGOTE,
            str(theirs.fileno()),
            str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=environment,
            cwd="/",
        )
    finally:
        theirs.close()
    loop = asyncio.get_running_loop()
    zygote = Zygote(process, ours, loop.create_future())
    loop.add_reader(ours.fileno(), _receive, zygote)
    try:
        async with asyncio.timeout(_START_SECONDS):
            await zygote.ready
    except BaseException:
        await end_zygote(zygote)
        raise
    return zygote


async def end_zygote(zygote: Zygote) -> None:
    """Kill a zygote and with it its children; whoever waits for them gets `ZygoteGoneError`."""
    _mark_gone(zygote)
    with suppress(ProcessLookupError):
        zygote.process.kill()
    await zygote.process.wait()


def _mark_gone(zygote: Zygote) -> None:
    if zygote.is_gone:
        return
    zygote.is_gone = True
    asyncio.get_running_loop().remove_reader(zygote.channel.fileno())
    zygote.channel.close()
    unanswered: list[asyncio.Future[Any]] = [zygote.ready, *zygote.ended.values()]
    for waiting in unanswered:
        if not waiting.done():
            waiting.set_exception(ZygoteGoneError())
            waiting.exception()  # nobody may be waiting any more


def _receive(zygote: Zygote) -> None:
    try:
        raw = zygote.channel.recv(_MESSAGE_BYTES)
    except BlockingIOError:
        return
    except OSError:
        raw = b""
    if not raw:
        _mark_gone(zygote)
        return
    message = orjson.loads(raw)
    if "ready" in message:
        zygote.ready.set_result(message["ready"])
        return
    waiting = zygote.ended.get(message["ended"])
    if waiting is not None and not waiting.done():
        waiting.set_result(
            Ended(message["code"], message["is_out_of_memory"], message["peak_bytes"], message["cpu_ms"])
        )


async def send(zygote: Zygote, message: dict[str, Any], descriptors: list[int]) -> None:
    """Send a message with descriptors. Raises `ZygoteGoneError`."""
    raw = orjson.dumps(message)
    while not zygote.is_gone:
        try:
            socket.send_fds(zygote.channel, [raw], descriptors)
        except BlockingIOError:
            await asyncio.sleep(0.01)
        except OSError:
            break
        else:
            return
    _mark_gone(zygote)
    raise ZygoteGoneError


async def read_capped(descriptor: int, limit: int) -> bytes:
    """Return what the pipe brings until its end, or a little more than `limit` bytes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_READ_BYTES, loop=loop)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop), os.fdopen(os.dup(descriptor), "rb", buffering=0)
    )
    pieces = []
    size = 0
    try:
        while size <= limit and (piece := await reader.read(_READ_BYTES)):
            pieces.append(piece)
            size += len(piece)
    finally:
        transport.close()
    return b"".join(pieces)
