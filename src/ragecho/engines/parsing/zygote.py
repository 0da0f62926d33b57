"""The process that has the parsing libraries loaded and forks once per document (run as a module by `SandboxedParser`).

It reads requests from a socket and never looks into a document itself. A request carries two descriptors: the document,
open for reading, and the writing end of a pipe for the result. Answers say how each child ended.
"""

import gc
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

import orjson

from ragecho.engines.parsing.confine import Walls, confine, die_with_parent, prepare_walls
from ragecho.engines.parsing.wire import MOST_FILES
from ragecho.ports.parser import ParseLimits

MESSAGE_BYTES = 64 * 1024
_STDERR_BYTES = 4096
_PRELOADED = {"office": ("xberg",), "ocr": ("tesserocr", "PIL.Image", "PIL.ImageOps", "PIL.TiffImagePlugin")}


@dataclass(slots=True)
class _Child:
    request: int
    stderr: int


def main() -> None:
    """Serve until the other end of the socket is closed."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    _preload("ragecho.engines.parsing.formats")
    from ragecho.engines.parsing import formats

    formats.preload()
    walls = prepare_walls()
    gc.collect()
    gc.freeze()  # keeps collections in the children from copying the pages they share
    _Zygote(channel, walls).serve()


def _preload(module: str) -> None:
    with suppress(ImportError):
        __import__(module)


class _Zygote:
    def __init__(self, channel: socket.socket, walls: Walls) -> None:
        self._channel = channel
        self._walls = walls
        self._children: dict[int, _Child] = {}
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self._wake_reader, False)
        signal.set_wakeup_fd(self._wake_writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Answer requests and report ended children."""
        self._send({"ready": os.getpid()})
        while True:
            watched: list[socket.socket | int] = [self._channel, self._wake_reader]
            readable, _, _ = select.select(watched, [], [])
            if self._wake_reader in readable:
                with suppress(BlockingIOError):
                    os.read(self._wake_reader, 4096)
                self._reap()
            if self._channel in readable:
                message, descriptors, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES, MOST_FILES + 1)
                if not message:
                    return
                self._handle(orjson.loads(message), descriptors)

    def _handle(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "request" in message:
            self._fork(message, descriptors)
        elif "kill" in message:
            self._kill(message["kill"])
        elif "preload" in message:
            for module in _PRELOADED[message["preload"]]:
                _preload(module)

    def _fork(self, message: dict[str, Any], descriptors: list[int]) -> None:
        stderr = os.memfd_create("stderr", os.MFD_CLOEXEC)
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(message, descriptors, stderr, zygote, self._walls)
        for descriptor in descriptors:
            os.close(descriptor)
        self._children[pid] = _Child(message["request"], stderr)

    def _kill(self, request: int) -> None:
        for pid, child in self._children.items():
            if child.request == request:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # it may not have made its own group yet
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            stderr = os.pread(child.stderr, _STDERR_BYTES, max(0, os.fstat(child.stderr).st_size - _STDERR_BYTES))
            os.close(child.stderr)
            memory = b"memory" in stderr.lower() or b"bad_alloc" in stderr.lower()
            self._send(
                {
                    "ended": child.request,
                    "code": code,
                    "is_out_of_memory": memory,
                    "peak_bytes": usage.ru_maxrss * 1024,
                    "cpu_ms": round((usage.ru_utime + usage.ru_stime) * 1000),
                }
            )

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._channel.sendall(orjson.dumps(message))
        except OSError:
            os._exit(0)  # nobody is there any more; the children die with this process


def _child(message: dict[str, Any], descriptors: list[int], stderr: int, zygote: int, walls: Walls) -> NoReturn:
    """Parse one document and end the process, whatever happens."""
    code = 70
    try:
        os.setsid()
        die_with_parent(zygote)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        *documents, result, walls = _only_descriptors(descriptors, stderr, walls)
        limits = ParseLimits(**{f.name: message["limits"][f.name] for f in fields(ParseLimits)})
        confine(limits, walls)
        from ragecho.engines.parsing.formats import answer, answers

        gc.disable()  # whatever it would find goes with the process
        if "files" in message:
            for payload in answers(documents, message, limits):
                _write(result, len(payload).to_bytes(8))
                _write(result, payload)
        else:
            _write(result, answer(documents[0], message, limits))
        code = 0
    finally:
        # Not sys.exit: the libraries' threads and destructors may hang or crash when the interpreter ends.
        os._exit(code)


def _write(descriptor: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]


def _only_descriptors(descriptors: list[int], stderr: int, walls: Walls) -> tuple[Any, ...]:
    """Keep documents, result, file rules and an empty standard input and output; close the rest.

    Return the documents' numbers, the result's, and the walls.
    """
    null = os.open(os.devnull, os.O_RDWR)
    rules = [] if walls.ruleset is None else [walls.ruleset]
    high = [os.dup2(one, 100 + index) for index, one in enumerate((null, null, stderr, *descriptors, *rules))]
    for index, one in enumerate(high):
        os.dup2(one, index)
    os.closerange(len(high), 4096)
    kept = range(3, 3 + len(descriptors))
    return *kept, replace(walls, ruleset=kept.stop if rules else None)


if __name__ == "__main__":
    main()
