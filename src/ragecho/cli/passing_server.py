"""A server that is there for the length of one command: its own process, port and data folder, removed at the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dotenv import dotenv_values

from ragecho.cli.errors import CliError
from ragecho.cli.output import note, waiting

READY_LINE = "Echo is ready at "
START_SECONDS = 180.0
STOP_SECONDS = 20.0
# What would lead the server, or its key, to somebody's real installation.
_NOT_PASSED_ON = frozenset(
    {"RAGECHO_DATABASE_URL", "RAGECHO_DATABASE_OWNER_URL", "RAGECHO_BLOB_URL", "RAGECHO_PUBLIC_URL", "RAGECHO_PORT",
     "RAGECHO_HOST", "RAGECHO_SERVER", "RAGECHO_API_KEY", "RAGECHO_WORKSPACE", "RAGECHO_ENVIRONMENT"}
)  # fmt: skip


@contextmanager
def passing_server(*, is_shown: bool) -> Iterator[tuple[str, str]]:
    """Yield the address of a fresh server and a key for it; afterwards, however it ends, nothing of it is left."""
    with _orderly_signals() as ignore_signals:
        folder = Path(tempfile.mkdtemp(prefix="ragecho-"))
        process: subprocess.Popen[str] | None = None
        try:
            process = _start(folder)
            with waiting("Starting", is_shown=is_shown):
                server, key = _address(process, folder), _make_key(folder)
            yield server, key
        finally:
            ignore_signals()  # an impatient second Ctrl-C must not leave half of it behind
            if process is not None:
                _stop(process)
            _remove(folder)


@contextmanager
def _orderly_signals() -> Iterator[Callable[[], None]]:
    """Let a termination unwind like Ctrl-C; the function yielded makes both be ignored from then on."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in numbers}

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment(folder: Path) -> dict[str, str]:
    # The children run in the temporary folder, where no `.env` overrides what is set here.
    given = {**{name: value or "" for name, value in dotenv_values(".env").items()}, **os.environ}
    kept = {name: value for name, value in given.items() if name.upper() not in _NOT_PASSED_ON}
    # A relative model folder means the one beside the caller.
    if model_dir := kept.get("RAGECHO_MODEL_DIR"):
        kept["RAGECHO_MODEL_DIR"] = str(Path(model_dir).absolute())
    return {**kept, "RAGECHO_DATA_DIR": str(folder / "data"), "PYTHONUNBUFFERED": "1"}


def _start(folder: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "ragecho", "serve", "--port", "0", "--data-dir", str(folder / "data")]
    with (folder / "server.log").open("w") as log:
        return subprocess.Popen(  # noqa: S603 - our own program
            arguments,
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone; we stop the server in order
        )


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    # One that was stopped before it had taken charge leaves children; one that hangs leaves itself.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _remove(folder: Path) -> None:
    """Remove the folder; the last processes that write to it may take a moment to end."""
    deadline = time.monotonic() + STOP_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.1)
    if folder.exists():
        note(f"{folder} could not be removed.", style="yellow")


def _address(process: subprocess.Popen[str], folder: Path) -> str:
    """Return the address from the one ready line; raise `CliError` when the server ends or takes too long."""
    assert process.stdout is not None
    late = threading.Timer(START_SECONDS, process.terminate)
    late.daemon = True
    late.start()
    try:
        for line in process.stdout:
            if line.startswith(READY_LINE):
                # Whatever it says later must not fill the pipe.
                threading.Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
                return line.removeprefix(READY_LINE).strip()
    finally:
        late.cancel()
    process.wait(STOP_SECONDS)
    reason = reason_in((folder / "server.log").read_text(errors="replace"))
    raise CliError(f"the server did not start: {reason or f'it ended with code {process.returncode}.'}")


def reason_in(log: str) -> str:
    """Return the line of a server's log that a person needs: the last of ours, else the last of all."""
    lines = log.strip().splitlines() or [""]
    ours = [line.removeprefix("ragecho: ") for line in lines if line.startswith("ragecho: ")]
    return ours[-1] if ours else lines[-1]


def _make_key(folder: Path) -> str:
    arguments = ["admin", "api-key", "create", "--workspace", "default", "--scopes", "read,write", "--json"]
    made = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "ragecho", *arguments],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if made.returncode != 0:
        raise CliError(f"no key could be made: {made.stderr.strip().removeprefix('ragecho: ')}")
    return str(json.loads(made.stdout)["key"])
