"""What the benchmarks share: the real server as a child process, its memory, a light HTTP load, statistics, reports."""

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

READY = "Echo is ready at "
REPORTS = Path(__file__).resolve().parents[1] / "reports"
START_SECONDS = 180.0


@dataclass
class Server:
    """A running `ragecho serve` on a data directory of its own."""

    process: subprocess.Popen[str]
    data_dir: Path
    url: str = ""
    ready_seconds: float = 0.0
    log: list[str] = field(default_factory=list)

    def key(self, workspace: str = "default", scopes: str = "read,write") -> str:
        """Make an API key as an operator does."""
        made = self.ragecho("admin", "api-key", "create", "--workspace", workspace, "--scopes", scopes, "--json")
        return str(json.loads(made)["key"])

    def ragecho(self, *arguments: str) -> str:
        """Run a command against this server and return what it printed."""
        command = [sys.executable, "-m", "ragecho", *arguments]
        done = subprocess.run(
            command, env=_environment(self.data_dir), capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


def _environment(data_dir: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAGECHO_")}
    if "RAGECHO_MODEL_DIR" in os.environ:
        kept["RAGECHO_MODEL_DIR"] = os.environ["RAGECHO_MODEL_DIR"]
    return kept | {"RAGECHO_DATA_DIR": str(data_dir), "RAGECHO_LOG_FORMAT": "json", "RAGECHO_LOG_LEVEL": "warning"}


@contextmanager
def serving(data_dir: Path, **settings: str) -> Iterator[Server]:
    """Start `ragecho serve` on a free port, wait for its ready line, and stop it at the end."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "ragecho", "serve", "--port", "0", "--data-dir", str(data_dir)],
        env=_environment(data_dir) | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process, data_dir)
    is_over = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            server.log.append(line)
            if line.startswith(READY):
                server.ready_seconds = time.perf_counter() - started
                server.url = line.removeprefix(READY).strip()
                is_over.set()
        is_over.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not is_over.wait(START_SECONDS) or not server.url:
            raise RuntimeError("the server did not start:\n" + "".join(server.log))
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(10)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a data directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ragecho-bench-") as folder:
        yield Path(folder)


# Memory


def memory_of_tree(pid: int) -> dict[str, float]:
    """Return MB per role of the process tree and `total`: proportional set size, so that shared pages count once.

    Where the system does not tell it, the resident set is counted instead, which is never less.
    """
    found: dict[str, float] = {}
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            role, size = _role_of(process, root), _pss_bytes(process)
        except psutil.NoSuchProcess:
            continue
        found[role] = found.get(role, 0.0) + size / 1e6
    found["total"] = sum(found.values())
    return {role: round(size, 1) for role, size in found.items()}


def _role_of(process: psutil.Process, root: psutil.Process) -> str:
    if process.pid == root.pid:
        return "serve"
    line = process.cmdline()
    if not line:
        return "other"
    if "postgres" in line[0]:
        return "postgres"
    if line[1:3] == ["-m", "ragecho"] and len(line) > 3:
        return str(line[3])
    parent = process.parent()
    return f"{_role_of(parent, root)}'s child" if parent is not None else "other"


def _pss_bytes(process: psutil.Process) -> int:
    try:
        with Path(f"/proc/{process.pid}/smaps_rollup").open() as lines:
            for line in lines:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass
    except ProcessLookupError:
        raise psutil.NoSuchProcess(process.pid) from None
    return int(process.memory_info().rss)


def cpu_of_tree(pid: int) -> dict[str, float]:
    """Return the CPU seconds that each role of the process tree has used so far."""
    found: dict[str, float] = {}
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            role, times = _role_of(process, root), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # What ended children used is counted with their parent.
        found[role] = found.get(role, 0.0) + times.user + times.system + times.children_user + times.children_system
    return found


class MemoryWatch:
    """Samples a process tree in the background; `peak` is the sample with the largest total."""

    def __init__(self, pid: int, *, every_seconds: float = 0.5) -> None:
        self.peak: dict[str, float] = {"total": 0.0}
        self._pid = pid
        self._every = every_seconds
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._is_over.wait(self._every):
            sample = memory_of_tree(self._pid)
            if sample["total"] > self.peak["total"]:
                self.peak = sample


# HTTP load


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of requests gave. `client_ms` is this process's own CPU time per request: what the load itself costs."""

    latencies_ms: list[float]
    seconds: float
    client_ms: float
    bodies: list[bytes]

    def summary(self) -> dict[str, float]:
        """Return the numbers of a table's row."""
        return {
            "requests": len(self.latencies_ms),
            "p50_ms": round(percentile(self.latencies_ms, 50), 1),
            "p95_ms": round(percentile(self.latencies_ms, 95), 1),
            "per_second": round(len(self.latencies_ms) / self.seconds, 1),
            "client_cpu_ms": round(self.client_ms, 3),
        }


def post_all(
    url: str, key: str | Sequence[str], path: str, payloads: Sequence[dict[str, Any]], *, clients: int
) -> Load:
    """Send every payload, `clients` at a time over kept connections, and return the answers in order.

    `key` is everybody's, or each payload's own.
    Bare streams, because a full HTTP client costs a millisecond of the same cores that the server runs on.
    Raises `RuntimeError` for any status but 200.
    """
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    keys = [key] * len(payloads) if isinstance(key, str) else key
    requests = [
        _request(host, path, own, json.dumps(payload).encode()) for own, payload in zip(keys, payloads, strict=True)
    ]
    latencies, bodies = [0.0] * len(requests), [b""] * len(requests)

    async def client(waiting: Iterator[tuple[int, bytes]]) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for number, request in waiting:
            started = time.perf_counter()
            writer.write(request)
            bodies[number] = await _answer(reader)
            latencies[number] = (time.perf_counter() - started) * 1e3
        writer.close()

    async def run() -> None:
        waiting = iter(enumerate(requests))
        await asyncio.gather(*(client(waiting) for _ in range(clients)))

    started, started_cpu = time.perf_counter(), time.process_time()
    asyncio.run(run())
    seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    return Load(latencies, seconds, cpu / max(1, len(requests)) * 1e3, bodies)


def _request(host: str, path: str, key: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    body = await reader.readexactly(length)
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"{head.splitlines()[0].decode()}: {body[:300].decode(errors='replace')}")
    return body


# Statistics and reports


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the percentile by linear interpolation."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Return half of the range, as a share of the median: how much the runs disagree."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0.0


def eventually(condition: Callable[[], bool], *, seconds: float, what: str, every_seconds: float = 0.1) -> None:
    """Wait until `condition` is true. Raises `RuntimeError` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come true within {seconds:.0f} s")
        time.sleep(every_seconds)


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table; the first row names the columns."""
    print(f"\n{title}")
    columns = list(rows[0])
    cells = [columns, *[[_cell(row.get(column)) for column in columns] for row in rows]]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def write_report(name: str, results: object) -> Path:
    """Write `reports/NAME.json` with what the numbers depend on; returns its path."""
    REPORTS.mkdir(exist_ok=True)
    report = {
        "benchmark": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        # Above the number of cores other work ran beside this: trust ratios, not times.
        "load_average": round(os.getloadavg()[0], 2),
        "results": results,
    }
    path = REPORTS / f"{name}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(
        f"  load average {report['load_average']} on {report['cores']} cores; written to {path.relative_to(REPORTS.parent)}"
    )
    return path
