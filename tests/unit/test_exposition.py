"""`/metrics` of processes that share a port."""

import os
import re
import subprocess
import sys
from pathlib import Path

COUNT = """
import sys, os
from ragecho.platform.telemetry import metrics
metrics.observe_request("GET", "/x", 200, 0.02)
metrics.HTTP_IN_PROGRESS.inc()
metrics.set_jobs_now({("ingest", "todo"): 4})
print(os.getpid(), flush=True)
sys.stdin.readline()
"""
READ = """
from ragecho.platform.telemetry import metrics
metrics.observe_request("GET", "/x", 200, 3.0)
metrics.set_jobs_now({("ingest", "doing"): 1})
print(metrics.render_metrics().decode())
"""


def _python(code: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _read(folder: Path) -> str:
    return _python(READ, folder).communicate(timeout=60)[0]


def test_numbers_of_all_processes_are_added_up_and_outlive_them(tmp_path: Path) -> None:
    with _python(COUNT, tmp_path) as one, _python(COUNT, tmp_path) as two:
        pids = [process.stdout.readline().strip() for process in (one, two) if process.stdout is not None]
        text = _read(tmp_path)
        one.communicate("\n", timeout=60)
        two.kill()
    assert 'http_requests_total{method="GET",route="/x",status="200"} 3.0' in text
    assert 'http_request_duration_seconds_bucket{le="0.025",method="GET",route="/x"} 2.0' in text
    assert 'http_request_duration_seconds_bucket{le="+Inf",method="GET",route="/x"} 3.0' in text
    assert "http_requests_in_progress 2.0" in text
    shown = re.findall(r'^process_resident_memory_bytes\{pid="(\d+)"\} [1-9]', text, re.MULTILINE)
    assert set(pids) < set(shown)
    assert len(shown) == 3
    # The queue is the database's: who is asked has read it just now, and what others read before does not count.
    assert 'ragecho_queue_jobs{queue="ingest",status="doing"} 1.0' in text
    assert 'status="todo"' not in text

    later = _read(tmp_path)
    assert 'http_requests_total{method="GET",route="/x",status="200"} 4.0' in later, "counters never go down"
    assert not re.search(r"^http_requests_in_progress [1-9]", later, re.MULTILINE), "nobody answers for the dead"
    assert not set(pids) & set(re.findall(r'process_start_time_seconds\{pid="(\d+)"', later))
