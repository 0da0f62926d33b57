"""Which processes of a cluster are alive, read so that a zombie counts as dead.

Where process 1 does not reap (many containers), a killed orphan stays a zombie for ever and `kill(pid, 0)` calls it
alive. Processes are told by their command line, which every user may read, unlike their working directory.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ragecho.platform.embedded.layout import Layout

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "cmdline").exists()  # elsewhere psutil knows, at the cost of loading it
_POLL_SECONDS = 0.02


def command_line_of(pid: int) -> list[str]:
    """Read the arguments of a live process; empty for one that is gone, a zombie, or a kernel thread."""
    if _HAS_PROC:
        try:
            # A zombie has an empty command line (proc_pid_cmdline(5)).
            raw = (_PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return []
        return [os.fsdecode(part) for part in raw.rstrip(b"\0").split(b"\0")] if raw else []
    import psutil

    try:
        process = psutil.Process(pid)
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.Error:
        return []


def _all_pids() -> Iterator[int]:
    if _HAS_PROC:
        yield from (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
        return
    import psutil

    yield from psutil.pids()


def _belongs(arguments: list[str], layout: Layout) -> bool:
    if not arguments:
        return False
    if arguments[0].startswith(f"postgres: {layout.title}: "):  # a backend's title, from cluster_name
        return True
    is_server = Path(arguments[0]).name == "postgres" and "-D" in arguments
    return is_server and str(layout.cluster_dir) in arguments


def cluster_processes(layout: Layout) -> list[int]:
    """List the pids of the live postmaster and backends of this cluster, whoever started them."""
    return [pid for pid in _all_pids() if _belongs(command_line_of(pid), layout)]


def is_postmaster(pid: int, layout: Layout) -> bool:
    """Whether `pid` is now the live postmaster of this cluster; a number used again by another program is not."""
    arguments = command_line_of(pid)
    return _belongs(arguments, layout) and not arguments[0].startswith("postgres: ")


def end_leftovers(layout: Layout, report: Callable[[str], None]) -> None:
    """End every process of the cluster; for the holder of the lock, so none of them has a living owner.

    A postmaster whose owner was killed is told to shut down fast (it does so by itself on Linux). Backends whose
    postmaster was killed are told to quit: a new postmaster cannot start while one of them is attached to the old
    shared memory, and one that is computing would notice only when its query ends.
    """
    for signal_number, wait_seconds in (
        (None, 1.0),
        (signal.SIGINT, 60.0),
        (signal.SIGQUIT, 5.0),
        (signal.SIGKILL, 5.0),
    ):
        pids = cluster_processes(layout)
        if not pids:
            return
        if signal_number is not None:
            report(f"ending {len(pids)} database processes left by an Echo that was killed")
            _signal(pids, layout, signal_number)
        _wait_until_gone(layout, wait_seconds)


def _signal(pids: list[int], layout: Layout, signal_number: signal.Signals) -> None:
    postmasters = [pid for pid in pids if is_postmaster(pid, layout)]
    # A fast shutdown is the postmaster's work; orphaned backends know no such thing and take the next step at once.
    orphans_take = signal.SIGQUIT if signal_number is signal.SIGINT else signal_number
    targets = [(pid, signal_number) for pid in postmasters] or [(pid, orphans_take) for pid in pids]
    for pid, number in targets:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _wait_until_gone(layout: Layout, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while cluster_processes(layout) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
