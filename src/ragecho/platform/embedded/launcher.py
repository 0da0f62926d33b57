"""Run as a script between fork and exec: drop root, tie the program's life to its parent's, then become the program.

Kept free of imports from this package: it starts as `python -I -S launcher.py` in some 15 ms. A `preexec_fn` would
run Python in a forked, threaded process, which is unsafe and which Python 3.12 and later warn about.

    launcher.py PARENT_PID DEATH_SIGNAL UID GID CAPABILITY -- PROGRAM ARGUMENT…

UID, GID and CAPABILITY are -1 for "as it is". CAPABILITY is the number of the one Linux capability that survives the
change of user (see `account.py`).
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_UNCHANGED = -1


def _check(libc: ctypes.CDLL, result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _prctl(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    _check(libc, libc.prctl(ctypes.c_int(option), *padded), f"prctl({option})")


def _keep_only(libc: ctypes.CDLL, capability: int) -> None:
    """Hold `capability` and nothing else, also across exec (capabilities(7), "ambient")."""
    low, high = (1 << capability, 0) if capability < 32 else (0, 1 << (capability - 32))  # noqa: PLR2004 - two 32-bit words
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)  # effective, permitted, inheritable; twice
    _check(libc, libc.capset(header, data), "capset")
    _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _become(libc: ctypes.CDLL, uid: int, gid: int, capability: int) -> None:
    if sys.platform == "linux" and capability != _UNCHANGED:
        # Without this access(2), by which PostgreSQL looks for its own programs, would ignore the kept capability.
        _prctl(libc, _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform != "linux":
        return
    if capability != _UNCHANGED:
        _keep_only(libc, capability)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)


def main(arguments: list[str]) -> None:
    """Never returns: exec, or exit 127 with the reason on standard error."""
    parent_pid, death_signal, uid, gid, capability = (int(value) for value in arguments[:5])
    program = arguments[6:]
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if uid != _UNCHANGED:
            _become(libc, uid, gid, capability)
        if sys.platform == "linux":
            _prctl(libc, _PR_SET_PDEATHSIG, death_signal)  # after setuid, which clears it
        if os.getppid() != parent_pid:  # the parent died before the line above
            os._exit(125)
        os.execv(program[0], program)  # noqa: S606 - the caller names the program by its full path
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error}\n")
        sys.stderr.flush()
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
