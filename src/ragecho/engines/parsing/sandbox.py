"""The `Parser` port as a sandbox: strangers' files meet strangers' code in a process that can do nothing else."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ragecho.engines.parsing.channel import (
    Ended,
    Zygote,
    ZygoteGoneError,
    end_zygote,
    read_capped,
    send,
    start_zygote,
)
from ragecho.engines.parsing.detect import OFFICE
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.recognition import Ocr, recognised
from ragecho.engines.parsing.wire import MOST_FILES, Unread, decode, decode_unread
from ragecho.engines.rendering.pages import PNG_SIGNATURE
from ragecho.kernel.errors import NeedsRecognition, ParseFailed, Unavailable
from ragecho.kernel.parsed import Box, ParsedDocument
from ragecho.ports.parser import ParseLimits, ParseRequest

_KILL_SECONDS = 10.0
_DECODE_IN_THREAD_BYTES = 1 << 18
_LONGEST_FILENAME = 255
_SIZE_BYTES = 8


class SandboxedParser:
    """Parses every document in its own confined process, forked from one that has the libraries loaded.

    At most `max_concurrency` documents are parsed at once; the others wait. The zygote starts with the first document
    and starts again when it has been killed. Use as an async context manager, in one event loop. `on_ended` is told of
    every process that ended by itself: what it cost, and how.
    """

    def __init__(
        self, *, max_concurrency: int = 2, ocr: Ocr | None = None, on_ended: Callable[[Ended], None] | None = None
    ) -> None:
        self._ocr = ocr or Ocr()
        self._on_ended = on_ended
        self._slots = asyncio.Semaphore(max_concurrency)
        self._zygote: Zygote | None = None
        self._starting = asyncio.Lock()
        self._requests = 0
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def zygote_pid(self) -> int | None:
        """The process id of the zygote, None when none runs."""
        zygote = self._zygote
        return zygote.process.pid if zygote is not None and not zygote.is_gone else None

    async def close(self) -> None:
        """End the zygote and everything it forked; parses under way fail as `Unavailable`."""
        self._is_closed = True
        async with self._starting:
            zygote, self._zygote = self._zygote, None
        if zygote is not None:
            await end_zygote(zygote)

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
        """Return the parsed document; see the port. A cancelled call kills its process.

        `content_type` is what the uploader claims; only the bytes count. Limits hold for each process: one reads the
        document, and one more each page that is a picture.
        """
        del content_type
        asked = {"filename": filename[-_LONGEST_FILENAME:], "passwords": list(passwords)}
        payload = await self._ask([path], asked, limits)
        is_large = len(payload) > _DECODE_IN_THREAD_BYTES
        document, unread = await asyncio.to_thread(decode_unread, payload) if is_large else decode_unread(payload)
        if document.content_type in OFFICE:
            await self._preload("office")
        if not unread:
            return document
        if not recognise and self._ocr.missing() is None:
            raise NeedsRecognition(
                "needs_recognition", "The document holds pictures of text that are to be recognised."
            )

        def ask(page: Unread, languages: Sequence[str], first: str) -> Awaitable[bytes]:
            what = {"recognise": page.inner, "members": page.members, "languages": languages, "first": first}
            return self._ask([path], asked | what, limits)

        whole = await recognised(document, unread, ask, self._ocr, limits)
        await self._preload("ocr")
        return whole

    async def _preload(self, what: str) -> None:
        """Have the zygote import libraries that a child had to import alone (0.3 s). Who never needs them saves 30 MB."""
        zygote = self._zygote
        if zygote is not None and what not in zygote.preloaded:
            zygote.preloaded.add(what)
            with suppress(ZygoteGoneError):
                await send(zygote, {"preload": what}, [])

    async def parse_many(
        self, files: Sequence[ParseRequest], *, limits: ParseLimits
    ) -> list[ParsedDocument | ParseFailed]:
        """Return for each file what `parse` would return or raise; see the port.

        Plain text and Markdown share processes, which costs a fifth. Everything else, and every failure, is read alone.
        """
        pieces = [files[first : first + MOST_FILES] for first in range(0, len(files), MOST_FILES)]
        found = await asyncio.gather(*(self._parse_together(piece, limits) for piece in pieces))
        return [one for piece in found for one in piece]

    async def _parse_together(
        self, files: Sequence[ParseRequest], limits: ParseLimits
    ) -> list[ParsedDocument | ParseFailed]:
        known: list[ParsedDocument | None] = [None] * len(files)
        if len(files) > 1:
            names = [one.filename[-_LONGEST_FILENAME:] for one in files]
            with suppress(ParseFailed):
                payload = await self._ask([one.path for one in files], {"files": names}, limits)
                known = await asyncio.to_thread(_decode_many, payload, len(files))

        async def alone(one: ParseRequest) -> ParsedDocument | ParseFailed:
            try:
                return await self.parse(
                    one.path,
                    filename=one.filename,
                    content_type=one.content_type,
                    limits=limits,
                    passwords=one.passwords,
                    recognise=one.recognise,
                )
            except ParseFailed as error:
                return error

        return await asyncio.gather(
            *(
                _itself(document) if document is not None else alone(one)
                for document, one in zip(known, files, strict=True)
            )
        )

    async def render_page(
        self,
        path: Path,
        *,
        page: int,
        width: int = 1200,
        boxes: Sequence[Box] = (),
        quotes: Sequence[str] = (),
        passwords: Sequence[str] = (),
        limits: ParseLimits,
    ) -> bytes:
        """Return page `page` (from 1) of a PDF as a PNG, `width` pixels wide, with `quotes` or else `boxes` marked.

        Raises `ParseFailed`, with reason "no_page" for a page that the document does not have.
        """
        request = {"page": page, "width": width, "boxes": [list(box) for box in boxes], "quotes": list(quotes)}
        request["passwords"] = list(passwords)
        payload = await self._ask([path], request, limits)
        if not payload.startswith(PNG_SIGNATURE):
            decode(payload)  # raises what was sent instead
            raise failure("crashed")
        return payload

    async def _ask(self, paths: Sequence[Path], request: dict[str, Any], limits: ParseLimits) -> bytes:
        async with self._slots:
            for is_last_try in (False, True):
                try:
                    return await self._ask_once(paths, request, limits)
                except ZygoteGoneError as error:
                    if self._is_closed:
                        raise Unavailable("The parser has been closed.") from error
                    if is_last_try:
                        raise failure("crashed") from error
        raise AssertionError("unreachable")

    async def _ask_once(self, paths: Sequence[Path], asked: dict[str, Any], limits: ParseLimits) -> bytes:
        zygote = await self._running()
        self._requests += 1
        request = self._requests
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        result_reader, result_writer = os.pipe()
        try:
            documents: list[int] = []
            try:
                documents.extend(os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths)
                message = {**asked, "request": request, "limits": asdict(limits)}
                zygote.ended[request] = ended
                await send(zygote, message, [*documents, result_writer])
            finally:
                for descriptor in (*documents, result_writer):
                    os.close(descriptor)
            return await self._result(zygote, request, result_reader, limits)
        finally:
            zygote.ended.pop(request, None)
            with suppress(OSError):
                os.close(result_reader)

    async def _result(self, zygote: Zygote, request: int, reader: int, limits: ParseLimits) -> bytes:
        ended = zygote.ended[request]
        reason = None
        payload = b""
        try:
            async with asyncio.timeout(limits.wall_seconds):
                payload = await read_capped(reader, limits.output_bytes)
                if len(payload) <= limits.output_bytes:
                    end = await asyncio.shield(ended)
        except TimeoutError:
            reason = "timeout"
        finally:
            if not ended.done():
                await self._kill(zygote, request, ended)
        if reason is not None:
            raise failure(reason, limit=round(limits.wall_seconds, 1))
        if len(payload) > limits.output_bytes:
            raise failure("output_limit")
        if self._on_ended is not None:
            self._on_ended(end)
        if end.code != 0:
            raise failure(_reason_of(end, limits))
        return payload

    async def _kill(self, zygote: Zygote, request: int, ended: asyncio.Future[Ended]) -> None:
        with suppress(ZygoteGoneError, TimeoutError):
            await send(zygote, {"kill": request}, [])
            async with asyncio.timeout(_KILL_SECONDS):
                await asyncio.shield(ended)

    async def _running(self) -> Zygote:
        async with self._starting:
            if self._is_closed:
                raise Unavailable("The parser has been closed.")
            if self._zygote is None or self._zygote.is_gone:
                if self._zygote is not None:
                    await end_zygote(self._zygote)
                self._zygote = await start_zygote()
            return self._zygote


def _reason_of(end: Ended, limits: ParseLimits) -> str:
    """Return why a child ended without a result."""
    if -end.code == signal.SIGXCPU or end.cpu_ms >= limits.cpu_seconds * 1000:
        return "cpu_limit"
    if -end.code == signal.SIGXFSZ:
        return "output_limit"
    # Native code that is refused memory aborts or stumbles; only the kernel sends SIGKILL, when memory is gone.
    if end.is_out_of_memory or -end.code == signal.SIGKILL or end.peak_bytes > limits.memory_bytes * 0.6:
        return "memory_limit"
    return "crashed"


def _decode_many(payload: bytes, count: int) -> list[ParsedDocument | None]:
    """Return what a child said of `count` files, None where it said nothing that counts."""
    found: list[ParsedDocument | None] = []
    position = 0
    while len(found) < count:
        size = int.from_bytes(payload[position : position + _SIZE_BYTES])
        position += _SIZE_BYTES
        try:
            found.append(decode(payload[position : position + size]) if size else None)
        except ParseFailed:
            found.append(None)
        position += size
    return found


async def _itself(document: ParsedDocument) -> ParsedDocument:
    return document
