"""Keeps a tree of processes alive: the roles as children, and the embedded database under them.

The parent stays small: nothing here imports more than the standard library and the embedded server's own code.
"""

import contextlib
import math
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from ragecho.kernel.errors import ConfigurationError, EchoError
from ragecho.platform.embedded.launch import tied_command

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_READINESS_EVERY_SECONDS = 0.1
_IDLE_SECONDS = 5.0  # signals end the wait early; this only bounds how long a lost one is missed


class Log(Protocol):
    """Writes one structured line."""

    def __call__(self, event: str, /, **facts: object) -> None:
        """Log `event` with its facts."""


class ManagedDatabase(Protocol):
    """What the supervisor needs of the embedded server."""

    def start(self, *, is_cancelled: Callable[[], bool] = ...) -> object:
        """Start, or start again after a death; raises EchoError."""

    def stop(self) -> None:
        """Stop cleanly."""

    def is_alive(self) -> bool:
        """Tell whether the server process runs."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One process to keep alive. `env` is its whole environment; None passes ours on.

    `is_ready` is asked ten times a second until it is true once; it must return quickly and may raise OSError for no.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    is_ready: Callable[[], bool] | None = None
    pass_fds: tuple[int, ...] = ()  # descriptors that every incarnation inherits, say a listening socket
    is_later: bool = False  # started when all others have been ready, whose readiness does not wait for it


@dataclass(frozen=True, slots=True)
class Policy:
    """How long to wait for what."""

    backoff_first_seconds: float = 0.5
    backoff_max_seconds: float = 30.0
    # A run this long starts the backoff anew. Longer than any start takes: what dies at its start is to be let rest. Not much longer:
    # a worker that dies now and then at its work would soon be down for most of the time, and everybody waits meanwhile.
    healthy_after_seconds: float = 10.0
    grace_seconds: float = 20.0  # from SIGTERM to SIGKILL
    early_failures_max: int = 5  # deaths of one child before the tree was ready: more restarts would not help


@dataclass(slots=True)
class _Backoff:
    policy: Policy
    failures: int = 0

    def next_delay(self, ran_seconds: float) -> float:
        if ran_seconds >= self.policy.healthy_after_seconds:
            self.failures = 0
        self.failures += 1
        doubled = self.policy.backoff_first_seconds * 2.0 ** min(self.failures - 1, 30)
        return min(doubled, self.policy.backoff_max_seconds)


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    backoff: _Backoff
    process: subprocess.Popen[bytes] | None = None
    is_ready: bool = False
    started_at: float = 0.0
    start_at: float = 0.0  # when it is down: the moment to start it again


@dataclass(slots=True)
class _DatabaseWatch:
    database: ManagedDatabase
    backoff: _Backoff
    started_at: float | None = None  # None until it has been seen alive
    start_at: float = 0.0
    is_down: bool = False

    def note_death(self, now: float) -> None:
        """Plan the next start: at once the first time and after a long run, with a pause after a short one."""
        self.is_down = True
        if self.started_at is not None and now - self.started_at < self.backoff.policy.healthy_after_seconds:
            self.start_at = now + self.backoff.next_delay(0.0)


class Supervisor:
    """Runs `children` (over `database`, if given) until a stop signal; `run` is called once, in the main thread.

    A child that dies is started again after a pause that doubles from death to death. The database is started again
    when it dies while the children stay: they reconnect by themselves. `on_ready` is called once, when every child has
    been ready. At the stop children get SIGTERM, those left after the grace SIGKILL, and the database goes last; a
    second stop signal ends the grace.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        log: Log,
        database: ManagedDatabase | None = None,
        on_ready: Callable[[], None] = lambda: None,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy or Policy()
        self._children = [
            _Child(spec, _Backoff(self._policy), start_at=math.inf if spec.is_later else 0.0) for spec in children
        ]
        self._database = _DatabaseWatch(database, _Backoff(self._policy)) if database is not None else None
        self._log = log
        self._on_ready = on_ready
        self._clock = clock
        self._was_ready = False
        self._stop_requests = 0

    def run(self) -> int:
        """Block until stopped; returns 0 after a stop signal and 1 when a child cannot be started at all."""
        with self._signals() as wake_descriptor:
            try:
                return self._loop(wake_descriptor)
            finally:
                self._stop_children(wake_descriptor)
                self._stop_database()
                self._log("supervisor.stopped")

    def _loop(self, wake_descriptor: int) -> int:
        while True:
            if self._is_stopping():
                return 0
            self._tend_database()
            for child in self._children:
                if not self._tend(child):
                    return 1
            if self._is_stopping():
                return 0
            self._announce_readiness()
            _wait(wake_descriptor, self._seconds_to_next_event())

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Route stop signals and child deaths into a pipe, so that a wait ends at once and none is lost before it."""
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        os.set_blocking(write_end, False)
        heeded = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
        previous = {number: signal.signal(number, self._on_stop_signal) for number in heeded}
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler of its own wakes the pipe
        previous_descriptor = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        try:
            yield read_end
        finally:
            signal.set_wakeup_fd(previous_descriptor)
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(read_end)
            os.close(write_end)

    def _is_stopping(self) -> bool:
        return self._stop_requests > 0

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stop_requests += 1

    # --- children ---------------------------------------------------------------------------------------------------

    def _tend(self, child: _Child) -> bool:
        """Start, reap or ask one child; False when the tree must be given up."""
        now = self._clock()
        if child.process is None:
            return self._start(child) if now >= child.start_at else True
        exit_code = child.process.poll()
        if exit_code is not None:
            return self._on_death(child, exit_code, now)
        if not child.is_ready and _says_ready(child.spec):
            child.is_ready = True
            self._log("child.ready", child=child.spec.name, after_ms=round((now - child.started_at) * 1000))
        return True

    def _start(self, child: _Child) -> bool:
        program = shutil.which(child.spec.argv[0])
        if program is None:
            self._log("child.not_found", child=child.spec.name, program=child.spec.argv[0])
            return False
        command = tied_command([program, *child.spec.argv[1:]], death_signal=signal.SIGTERM)
        child.started_at = self._clock()
        # A session of its own: Ctrl-C on the terminal reaches only us, and we stop the tree in order.
        child.process = subprocess.Popen(  # noqa: S603 - the caller's own command line, no shell
            command,
            env=None if child.spec.env is None else dict(child.spec.env),
            start_new_session=True,
            pass_fds=child.spec.pass_fds,
        )
        child.is_ready = child.spec.is_ready is None
        self._log("child.started", child=child.spec.name, pid=child.process.pid)
        return True

    def _on_death(self, child: _Child, exit_code: int, now: float) -> bool:
        child.process = None
        child.is_ready = False
        ran_seconds = now - child.started_at
        delay = child.backoff.next_delay(ran_seconds)
        child.start_at = now + delay
        self._log(
            "child.died",
            child=child.spec.name,
            exit_code=exit_code,
            ran_ms=round(ran_seconds * 1000),
            restart_in_ms=round(delay * 1000),
        )
        if not self._was_ready and child.backoff.failures >= self._policy.early_failures_max:
            self._log("supervisor.gave_up", child=child.spec.name, failures=child.backoff.failures)
            return False
        return True

    def _announce_readiness(self) -> None:
        if not self._was_ready and all(child.is_ready or child.spec.is_later for child in self._children):
            self._was_ready = True
            for child in self._children:
                child.start_at = min(child.start_at, self._clock())
            self._log("supervisor.ready")
            self._on_ready()

    def _seconds_to_next_event(self) -> float:
        now = self._clock()
        moments = [child.start_at for child in self._children if child.process is None]
        if self._database is not None and self._database.is_down:
            moments.append(self._database.start_at)
        if any(child.process is not None and not child.is_ready for child in self._children):
            moments.append(now + _READINESS_EVERY_SECONDS)
        return max(0.0, min([*moments, now + _IDLE_SECONDS]) - now)

    def _stop_children(self, wake_descriptor: int) -> None:
        requests_before = self._stop_requests
        self._signal_children(signal.SIGTERM)
        deadline = self._clock() + self._policy.grace_seconds
        while self._reap_stopped() and self._clock() < deadline and self._stop_requests == requests_before:
            _wait(wake_descriptor, min(_IDLE_SECONDS, max(0.0, deadline - self._clock())))
        if self._reap_stopped():
            self._signal_children(signal.SIGKILL)
        for child in self._children:
            if child.process is not None:
                child.process.wait()
                self._log("child.killed", child=child.spec.name)
                child.process = None

    def _signal_children(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.send_signal(number)

    def _reap_stopped(self) -> bool:
        """Take note of children that have ended; True while any is left."""
        for child in self._children:
            if child.process is not None and (exit_code := child.process.poll()) is not None:
                self._log("child.stopped", child=child.spec.name, exit_code=exit_code)
                child.process = None
        return any(child.process is not None for child in self._children)

    # --- database ---------------------------------------------------------------------------------------------------

    def _tend_database(self) -> None:
        """Start the database (again) when it is down; a failure is logged and tried again later.

        Blocks while the server recovers: the children's deaths wait, a stop signal does not.
        """
        watch = self._database
        if watch is None:
            return
        now = self._clock()
        if watch.database.is_alive():
            watch.started_at = now if watch.started_at is None else watch.started_at
            return
        if not watch.is_down:
            watch.note_death(now)
            self._log("database.down")
        if now < watch.start_at:
            return
        try:
            watch.database.start(is_cancelled=self._is_stopping)
        except EchoError as error:
            delay = watch.backoff.next_delay(0.0)
            watch.start_at = self._clock() + delay
            self._log("database.not_started", reason=error.message, code=error.code, retry_in_ms=round(delay * 1000))
            if isinstance(error, ConfigurationError) and not self._was_ready:
                raise
            return
        watch.is_down = False
        watch.started_at = self._clock()
        self._log("database.started", after_ms=round((watch.started_at - now) * 1000))

    def _stop_database(self) -> None:
        if self._database is not None:
            self._database.database.stop()
            self._log("database.stopped")


def _says_ready(spec: ChildSpec) -> bool:
    try:
        return spec.is_ready is None or spec.is_ready()
    except OSError:
        return False  # not listening yet


def _wait(wake_descriptor: int, seconds: float) -> None:
    """Sleep until a signal or the time is over."""
    readable, _, _ = select.select([wake_descriptor], [], [], seconds)
    if readable:
        os.read(wake_descriptor, 4096)
