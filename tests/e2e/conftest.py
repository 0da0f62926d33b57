"""The real process tree, as `make serve` starts it, with keys made on the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

READY = "Echo is ready at "


@dataclass
class Server:
    """A running `ragecho serve`."""

    url: str
    data_dir: Path
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)

    def key(self, workspace: str = "default", scopes: str = "read,write") -> str:
        """Make an API key the way an operator does."""
        made = self.ragecho("admin", "api-key", "create", "--workspace", workspace, "--scopes", scopes, "--json")
        return str(json.loads(made)["key"])

    def ragecho(self, *arguments: str, check: bool = True, env: dict[str, str] | None = None) -> str:
        """Run a command against this server and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "ragecho", *arguments],
            env=clean_environment(self.data_dir) | {"RAGECHO_SERVER": self.url} | (env or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def child(self, role: str) -> psutil.Process:
        """Return the process of a role (api, worker), or the postmaster for `postgres`."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            line = process.cmdline()
            if role == "postgres" and line and line[0].endswith("postgres") and "-D" in line:
                return process
            if line[-3:] == ["-m", "ragecho", role]:
                return process
        raise AssertionError(f"no {role} process")


def clean_environment(data_dir: Path) -> dict[str, str]:
    """Return our environment without anything that configures Echo, but for the models' place."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAGECHO_")}
    if "RAGECHO_MODEL_DIR" in os.environ:
        kept["RAGECHO_MODEL_DIR"] = os.environ["RAGECHO_MODEL_DIR"]
    # One API process: servers that a few tests start for themselves are ready sooner. The shared one, and those that are
    # killed, have as many as the machine is given.
    return kept | {"RAGECHO_DATA_DIR": str(data_dir), "RAGECHO_LOG_FORMAT": "json", "RAGECHO_API_PROCESSES": "1"}


@contextmanager
def serving(data_dir: Path, **settings: str) -> Iterator[Server]:
    """Start a server on a free port, wait for its ready line, stop it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ragecho", "serve", "--port", "0", "--data-dir", str(data_dir)],
        env=clean_environment(data_dir) | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server("", data_dir, process)
    is_ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        # After the whole tree was killed, a child on its way out may hold the pipe longer than we care to read it.
        with suppress(ValueError):
            for line in process.stdout:
                server.log.append(line)
                if line.startswith(READY):
                    server.url = line.removeprefix(READY).strip()
                    is_ready.set()
        is_ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert is_ready.wait(120), "".join(server.log)
        assert server.url, "".join(server.log)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            reader.join(10)
            if process.stdout is not None:
                process.stdout.close()


def eventually(condition: Callable[[], object], *, seconds: float = 90.0, what: str = "condition") -> object:
    """Return the first true value of `condition`; fail after a deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        pause.wait(0.1)
    raise AssertionError(f"{what} did not come true within {seconds} s")


def upload(client: httpx.Client, *files: tuple[str, bytes], **form: str) -> list[dict[str, object]]:
    """Upload files and return what was accepted."""
    answer = client.post("/api/v1/documents", files=[("files", file) for file in files], data=form)
    assert answer.status_code == 202, answer.text
    return list(answer.json()["documents"])


def settled(client: httpx.Client, document_id: object, *, seconds: float = 90.0) -> dict[str, object]:
    """Wait until a document is ready or failed and return it."""

    def look() -> dict[str, object] | None:
        document = client.get(f"/api/v1/documents/{document_id}").json()
        return document if document["status"] in ("ready", "failed") else None

    found = eventually(look, seconds=seconds, what=f"document {document_id}")
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("serve"), RAGECHO_API_PROCESSES="0") as server:
        yield server


@pytest.fixture(scope="session")
def key(server: Server) -> str:
    return server.key()


@pytest.fixture
def client(server: Server, key: str) -> Iterator[httpx.Client]:
    with server.client(key) as client:
        yield client
