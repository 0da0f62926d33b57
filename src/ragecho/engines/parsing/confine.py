"""What a parsing process gives up before it opens a stranger's file. Linux; every step that the kernel refuses is left out.

The limits (memory, CPU, files) always hold. The network is shut twice, by an empty network namespace and by a seccomp
filter; containers often refuse the first and never the second. The filter also denies starting other programs.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ragecho.engines.ocr import tesseract
from ragecho.ports.parser import ParseLimits

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_FILE_BYTES = 64 * 1024**2
_OPEN_FILES = 64

# AUDIT_ARCH and the numbers of what is denied: socket, connect, bind, listen, execve, execveat, ptrace,
# process_vm_readv, process_vm_writev, io_uring_setup (sockets without the socket call), mount, bpf, keyctl, add_key.
_DENIED = {
    "x86_64": (0xC000003E, (41, 42, 49, 50, 59, 322, 101, 310, 311, 425, 165, 321, 250, 248)),
    "aarch64": (0xC00000B7, (198, 203, 200, 201, 221, 281, 117, 270, 271, 425, 40, 280, 219, 217)),
}
_X32_BIT = 0x40000000
_ALLOW = 0x7FFF0000
_EPERM = 0x00050001
_KILL = 0x80000000

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on every architecture
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_ACCESS_BY_VERSION = (0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)  # what each version can deny

_libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends; end at once if it already has."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@dataclass(frozen=True, slots=True)
class Walls:
    """What can be prepared once for all parsing processes: they inherit it. None or False where the kernel refused it."""

    has_own_network: bool
    ruleset: int | None
    program: bytes | None


def prepare_walls() -> Walls:
    """Move this process into an empty network namespace and prepare the rest for its children, who call `confine`.

    Done once and not in each child, where it took 5 ms of a small document's 12. Call with a single thread.
    """
    has_own_network = _libc.unshare(_CLONE_NEWNET) == 0 or _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    return Walls(has_own_network, _file_rules(), _system_call_program())


def confine(limits: ParseLimits, walls: Walls) -> tuple[str, ...]:
    """Give up everything that parsing does not need, and return the names of the walls that stand.

    Call in a process with a single thread, in its own session, that will never be needed for anything else.
    """
    for what, soft, hard in (
        (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1),
        (resource.RLIMIT_FSIZE, _FILE_BYTES, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        ceiling = resource.getrlimit(what)[1]
        most = ceiling if ceiling != resource.RLIM_INFINITY else max(soft, hard)
        resource.setrlimit(what, (min(soft, most), min(hard, most)))
    standing = ["limits"]
    with suppress(OSError):  # when the machine runs out of memory, this process is to go first
        Path("/proc/self/oom_score_adj").write_text("1000")
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if walls.has_own_network:
        standing.append("network namespace")
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        standing.append("no new privileges")
    if walls.ruleset is not None and _libc.syscall(_LANDLOCK_RESTRICT, walls.ruleset, ctypes.c_uint(0)) == 0:
        standing.append("files")
    if walls.program is not None and _filter_system_calls(walls.program):
        standing.append("system call filter")
    return tuple(standing)


def _file_rules() -> int | None:
    """Return a ruleset that leaves nothing of the file system but reading Python and the system's libraries (Landlock, Linux 5.13 and later).

    Without it, a reader taken over by one tenant's file could put another tenant's files into its result.
    """
    version = _libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if version < 1:
        return None
    known = _ACCESS_BY_VERSION[min(version, len(_ACCESS_BY_VERSION)) - 1]
    attributes = ctypes.c_uint64(known)
    ruleset = _libc.syscall(_LANDLOCK_CREATE, ctypes.byref(attributes), ctypes.c_size_t(8), ctypes.c_uint(0))
    if ruleset < 0:
        return None
    for folder in _readable_folders():
        with suppress(OSError):
            descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", _READ_FILE | (_READ_FOLDER if os.path.isdir(folder) else 0), descriptor)  # noqa: PTH112 (a plain string)
            _libc.syscall(_LANDLOCK_ADD, ruleset, ctypes.c_int(1), ctypes.c_char_p(rule), ctypes.c_uint(0))
            os.close(descriptor)
    return int(ruleset)


def _readable_folders() -> set[str]:
    """Return where code may still be loaded from: what has not been imported yet, and what libraries look up."""
    system = {"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share", "/etc/ld.so.cache"}
    interpreter = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    ours = str(Path(__file__).parents[2])
    models = {str(folder) for folder in tesseract.folders()}
    return {
        folder for folder in system | interpreter | models | {ours, "/dev/null", "/dev/urandom", "/proc/self"} if folder
    }


def _system_call_program() -> bytes | None:
    known = _DENIED.get(platform.machine())
    return b"".join(struct.pack("=HBBI", *one) for one in _program(*known)) if known is not None else None


def _filter_system_calls(program: bytes) -> bool:
    loaded = _Filter(len(program) // 8, program)
    return bool(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0) == 0)


def _program(arch: int, denied: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Return the BPF program as (code, jump if true, jump if false, operand): deny the listed calls, allow the others."""
    load, jump_equal, jump_greater_equal, give = 0x20, 0x15, 0x35, 0x06
    total = len(denied)
    return [
        (load, 0, 0, 4),  # the architecture the call is made for
        (jump_equal, 1, 0, arch),
        (give, 0, 0, _KILL),
        (load, 0, 0, 0),  # the number of the call
        (jump_greater_equal, total + 1, 0, _X32_BIT),
        *[(jump_equal, total - index, 0, number) for index, number in enumerate(denied)],
        (give, 0, 0, _ALLOW),
        (give, 0, 0, _EPERM),
    ]
