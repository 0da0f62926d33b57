"""Starts, watches and stops the embedded server."""

import atexit
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.platform.embedded import account as accounts
from ragecho.platform.embedded import cluster, tuning
from ragecho.platform.embedded.binaries import Binaries, find_binaries
from ragecho.platform.embedded.data_dir_lock import DataDirLock
from ragecho.platform.embedded.launch import tied_command
from ragecho.platform.embedded.layout import DATABASE, OWNER_ROLE, PORT, EmbeddedServer, Layout, prepare_socket_dir
from ragecho.platform.embedded.processes import end_leftovers, is_postmaster
from ragecho.platform.memory import memory_limit_bytes

_START_DEADLINE_SECONDS = 600.0  # recovery of a lot of WAL on a slow disk takes minutes
_PROGRESS_EVERY_SECONDS = 10.0
_POLL_SECONDS = 0.01
_FAST_STOP_SECONDS = 60.0
_IMMEDIATE_STOP_SECONDS = 10.0
_QUERY_TIMEOUT_SECONDS = 60
_LOG_MAX_BYTES = 16 << 20
_LOG_CHECK_SECONDS = 60.0
_LOG_TAIL_BYTES = 16 << 10
_PID_FILE_STATUS_LINE = 7
_PID_FILE_SOCKET_LINES = (3, 4)


def _report_on_stderr(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


class EmbeddedPostgres:
    """One PostgreSQL on `data_dir`, alive from `start` to `stop`, and never longer than this process.

    `start` may be called again after the server died; the address stays the same. `memory_bytes` is what the settings
    are sized for (default: the machine's or the container's memory). Not for use by two threads at once.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        memory_bytes: int | None = None,
        report: Callable[[str], None] = _report_on_stderr,
    ) -> None:
        self._layout = Layout(data_dir.expanduser().resolve())
        self._memory_bytes = memory_bytes
        self._report = report
        self._lock = DataDirLock(self._layout.lock_file)
        self._postmaster: _Postmaster | None = None

    def start(self, *, is_cancelled: Callable[[], bool] = lambda: False) -> EmbeddedServer:
        """Start the server, wait until it takes queries, and make its database; returns its address.

        Raises ConfigurationError for what a person must change and Unavailable for what may pass; both name the fix.
        `is_cancelled` is asked while waiting; when it turns true the server is stopped and Unavailable raised.
        """
        if self.is_alive():
            return self.address
        if os.name != "posix":
            raise ConfigurationError(
                "the embedded PostgreSQL needs a Unix system; set RAGECHO_DATABASE_URL, or run Echo in WSL"
            )
        binaries = find_binaries()
        self._take_data_dir()
        try:
            self._start_locked(binaries, is_cancelled)
        except BaseException:
            self.stop()
            raise
        return self.address

    def stop(self) -> None:
        """Shut down fast but cleanly (then harder, after a minute) and let the data directory go. Safe to repeat."""
        postmaster, self._postmaster = self._postmaster, None
        if postmaster is not None:
            postmaster.stop()
            if not self._layout.socket_dir.is_relative_to(self._layout.data_dir):
                with contextlib.suppress(OSError):
                    self._layout.socket_dir.rmdir()
        self._lock.release()
        atexit.unregister(self.stop)

    def is_alive(self) -> bool:
        """Whether the server process that `start` made still runs."""
        return self._postmaster is not None and self._postmaster.is_alive()

    @property
    def address(self) -> EmbeddedServer:
        """Where the server is, or will be once started."""
        return EmbeddedServer(socket_dir=self._layout.socket_dir, port=PORT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_data_dir(self) -> None:
        """Make the data directory and lock it against every other process."""
        data_dir = self._layout.data_dir
        try:
            # Root's must be open for the server's account to pass; what lies in it closes itself.
            data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            holder = self._lock.acquire()
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {data_dir} ({error.strerror}); make it writable for this user, or choose another "
                "folder with --data-dir or RAGECHO_DATA_DIR"
            ) from error
        if holder is not None:
            raise ConfigurationError(
                f"another Echo (process {holder}) is using {data_dir}; stop it first, or give this one a folder of "
                "its own with --data-dir or RAGECHO_DATA_DIR"
            )

    def _start_locked(self, binaries: Binaries, is_cancelled: Callable[[], bool]) -> None:
        layout = self._layout
        cluster.check_free_space(layout.data_dir)
        end_leftovers(layout, self._report)
        account = accounts.choose_account(layout.cluster_dir)
        programs = [binaries.program(name) for name in ("initdb", "postgres")]
        capability = accounts.needed_capability(account, [layout.cluster_dir, layout.socket_dir], programs)
        cluster.ensure_cluster(layout, binaries, account, capability)
        cluster.remove_stale_pid_file(layout)
        prepare_socket_dir(layout.socket_dir, account.uid, account.gid)
        settings = tuning.server_settings(
            memory_bytes=self._memory_bytes or memory_limit_bytes(),
            cores=tuning.core_count(),
            socket_dir=layout.socket_dir,
            port=PORT,
            title=layout.title,
        )
        cluster.write_settings(layout, settings, account)
        command = [str(binaries.program("postgres")), "-D", str(layout.cluster_dir)]
        self._postmaster = _Postmaster(
            tied_command(command, death_signal=signal.SIGINT, identity=account.launch_arguments(capability)),
            layout,
        )
        atexit.register(self.stop)
        self._wait_until_ready(self._postmaster, is_cancelled)
        _ensure_database(self.address, binaries)

    def _wait_until_ready(self, postmaster: "_Postmaster", is_cancelled: Callable[[], bool]) -> None:
        begun = time.monotonic()
        next_report = begun + _PROGRESS_EVERY_SECONDS
        while not _is_ready(self._layout, postmaster.pid):
            now = time.monotonic()
            if not postmaster.is_alive():
                raise cluster.failure("the server stopped while starting", postmaster.last_log_lines())
            if is_cancelled():
                raise Unavailable("the start of the embedded PostgreSQL was cancelled")
            if now - begun > _START_DEADLINE_SECONDS:
                raise cluster.failure("the server did not become ready in ten minutes", postmaster.last_log_lines())
            if now >= next_report:
                last = (postmaster.last_log_lines() or ["no word yet"])[-1]
                self._report(f"database: starting for {now - begun:.0f} s (recovering after a crash?): {last}")
                next_report += _PROGRESS_EVERY_SECONDS
            time.sleep(_POLL_SECONDS)


class _Postmaster:
    """The server process, held by a thread of its own.

    The kernel sends the parent-death signal when the *thread* that made the child ends, so the thread that makes it
    waits for it. As its parent we also reap it: its end is known for certain.
    """

    def __init__(self, command: list[str], layout: Layout) -> None:
        self._layout = layout
        self._log_start = _rotate_log(layout.log_file)
        self._started = threading.Event()
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._hold, args=(command,), name="embedded-postgres", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise Unavailable(f"cannot start the embedded PostgreSQL: {self._error}") from self._error

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def is_alive(self) -> bool:
        """Ask the kernel: the waiting thread may not have run yet when the news of a death wakes another."""
        if self._ended.is_set():
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False  # reaped a moment ago

    def stop(self) -> None:
        """Fast shutdown; immediate when that takes too long (recovery repairs it); at last SIGKILL."""
        for signal_number, wait_seconds in (
            (signal.SIGINT, _FAST_STOP_SECONDS),
            (signal.SIGQUIT, _IMMEDIATE_STOP_SECONDS),
            (signal.SIGKILL, None),
        ):
            if self._ended.is_set():
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)
            self._ended.wait(wait_seconds)
        self._thread.join()

    def last_log_lines(self, count: int = 8) -> list[str]:
        """Read the newest lines that this server wrote."""
        try:
            with self._layout.log_file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start if self._log_start < size else 0, size - _LOG_TAIL_BYTES))
                return file.read().decode("utf-8", errors="replace").splitlines()[-count:]
        except OSError:
            return []

    def _hold(self, command: list[str]) -> None:
        try:
            with self._open_log() as log:
                self._process = subprocess.Popen(  # noqa: S603 - a program of the installed wheel, by its full path
                    command,
                    env=cluster.program_environment(),
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C on the terminal is for the supervisor, which stops us last
                )
        except OSError as error:
            self._error = error
            self._ended.set()
        finally:
            self._started.set()
        if self._process is not None:
            self._wait_for(self._process)

    def _open_log(self) -> IO[bytes]:
        # Appending: the file may be cut while the server holds it open.
        descriptor = os.open(self._layout.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        return os.fdopen(descriptor, "ab")

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        # Popen.wait with a timeout polls; a pid descriptor (Linux 5.3) sleeps. Without one the log is cut at starts only.
        with contextlib.suppress(OSError, AttributeError):
            descriptor = os.pidfd_open(process.pid)
            with os.fdopen(descriptor, "rb"):
                while not select.select([descriptor], [], [], _LOG_CHECK_SECONDS)[0]:
                    _rotate_log(self._layout.log_file)
        process.wait()
        self._ended.set()


def _rotate_log(log_file: Path) -> int:
    """Keep one older part once the log is large; returns the log's size. Cut in place: the server holds it open."""
    try:
        size_bytes = log_file.stat().st_size
        if size_bytes <= _LOG_MAX_BYTES:
            return size_bytes
        shutil.copyfile(log_file, log_file.with_suffix(".log.1"))
        os.truncate(log_file, 0)
    except OSError:
        return 0  # a log that cannot be cut must not stop the server
    return 0


def _is_ready(layout: Layout, pid: int) -> bool:
    """Whether the postmaster `pid` has written that it takes connections (as pg_ctl asks)."""
    try:
        lines = layout.pid_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    is_ours = bool(lines) and lines[0].strip() == str(pid)
    return is_ours and len(lines) > _PID_FILE_STATUS_LINE and lines[_PID_FILE_STATUS_LINE].strip() == "ready"


def running_server(data_dir: Path) -> EmbeddedServer | None:
    """Find the live server on `data_dir`, whichever process owns it; None when there is none.

    For commands that work beside a running `ragecho serve`; only for the user who may read the data directory.
    """
    layout = Layout(data_dir.expanduser().resolve())
    try:
        lines = layout.pid_file.read_text(encoding="utf-8").splitlines()
        pid = int(lines[0])
        port, socket_dir = (lines[number].strip() for number in _PID_FILE_SOCKET_LINES)
    except (OSError, ValueError, IndexError):
        return None
    if not is_postmaster(pid, layout) or not _is_ready(layout, pid):
        return None
    return EmbeddedServer(socket_dir=Path(socket_dir), port=int(port))


def _ensure_database(server: EmbeddedServer, binaries: Binaries) -> None:
    """Create the product's database unless it is there, by the wheel's own psql: no driver in this small process."""
    exists = _psql(server, binaries, f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")  # noqa: S608 - a constant
    if not exists:
        _psql(server, binaries, f"CREATE DATABASE {DATABASE}")


def _psql(server: EmbeddedServer, binaries: Binaries, statement: str) -> str:
    try:
        result = subprocess.run(  # noqa: S603 - a program of the installed wheel, by its full path
            [
                *(binaries.program("psql"), "-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1"),
                *("-h", server.socket_dir, "-p", str(server.port), "-U", OWNER_ROLE, "-d", "postgres"),
                *("-c", statement),
            ],
            env=cluster.program_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_QUERY_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable("the embedded PostgreSQL started but does not answer") from error
    if result.returncode != 0:
        raise cluster.failure("the server refused a query", result.stderr.strip().splitlines()[-5:])
    return result.stdout.strip()
