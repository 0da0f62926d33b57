"""Workers as an operator runs them: what they show, what they share, and what a killed one leaves behind."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from tests.e2e.conftest import Server, clean_environment, eventually, serving, settled, upload
from tests.e2e.pictures import scanned_pdf

from ragecho.engines.ocr import tesseract

needs_ocr = pytest.mark.skipif(not tesseract.installed(("eng",))[1], reason="no English model is installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def database_url(server: Server) -> str:
    """Return the database that the server's own worker uses."""
    return server.child("worker").environ()["RAGECHO_DATABASE_URL"]


@contextmanager
def second_worker(server: Server, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another worker of the same installation, as on a second machine."""
    environment = clean_environment(server.data_dir) | {"RAGECHO_DATABASE_URL": database_url(server)} | settings
    process = subprocess.Popen(
        [sys.executable, "-m", "ragecho", "worker"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def sample(metrics: str, name: str, **labels: str) -> float:
    """Return one number of a metrics page, 0 where there is none."""
    for line in metrics.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found is None:
            continue
        given = dict(re.findall(r'(\w+)="([^"]*)"', found[1] or ""))
        if labels.items() <= given.items():
            return float(found[2])
    return 0.0


def test_each_worker_shows_its_metrics_and_its_health_on_its_port(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    with (
        serving(tmp_path / "data", RAGECHO_METRICS_PORT=str(first)) as server,
        second_worker(server, RAGECHO_METRICS_PORT=str(second)),
        server.client(server.key()) as client,
    ):
        urls = [f"http://127.0.0.1:{port}" for port in (first, second)]
        for url in urls:
            eventually(lambda url=url: answers(f"{url}/health/ready"), what="a worker's readiness")  # type: ignore[misc]  # a default
            ready = httpx.get(f"{url}/health/ready").json()
            assert set(ready["checks"]) == {"database", "queue"}
            assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        documents = upload(client, *((f"{n}.txt", f"Lamp {n} burns.".encode()) for n in range(6)))
        for one in documents:
            assert settled(client, one["id"])["status"] == "ready"
        pages = [httpx.get(f"{url}/metrics").text for url in urls]
        for stage in ("parsing", "chunking", "embedding", "indexing"):
            counted = [sample(page, "ragecho_ingest_stage_seconds_count", stage=stage) for page in pages]
            assert sum(counted) >= 1, stage
        done = [sample(page, "ragecho_jobs_total", task="ingest_document", status="succeeded") for page in pages]
        assert sum(done) == 6
        assert sum(sample(page, "ragecho_job_wait_seconds_count", queue="ingest") for page in pages) == 6
        assert sum(sample(page, "ragecho_job_seconds_count", task="ingest_document") for page in pages) >= 1
        for page in pages:
            assert "# TYPE ragecho_queue_jobs gauge" in page
            assert "# TYPE ragecho_queue_oldest_seconds gauge" in page
        # Nothing else is served there, and no name of a tenant is told.
        assert httpx.get(f"{urls[0]}/api/v1/documents").status_code == 404
        assert "default" not in re.sub(r"# .*", "", pages[0])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_worker_listens_nowhere_unless_it_is_told_to(server: Server) -> None:
    listening = [one for one in server.child("worker").net_connections() if one.status == psutil.CONN_LISTEN]
    assert listening == []


def test_a_crash_in_embedding_does_not_parse_again(tmp_path: Path) -> None:
    """The worker dies after parsing; the original is gone when the next one goes on, so only what was kept can be used."""
    with (
        serving(tmp_path / "data", RAGECHO_EMBED_CONCURRENCY="1") as server,
        server.client(server.key()) as client,
        psycopg.connect(database_url(server), autocommit=True) as database,
    ):
        # The only place in the step is taken: everything comes to a halt before it.
        database.execute("insert into step_leases (step, expires_at) values ('embed', now() + interval '1 hour')")
        documents = upload(client, *((f"{n}.txt", f"The bell rings {n} times.".encode()) for n in range(3)))
        for one in documents:
            eventually(lambda one=one: stage_of(client, one) in ("chunking", "embedding"), what="the halt")  # type: ignore[misc]  # a default
        worker = server.child("worker")
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        for folder in (server.data_dir / "blobs").iterdir():
            shutil.rmtree(folder)
        database.execute("update step_leases set expires_at = now() - interval '1 second' where step = 'embed'")
        for one in documents:
            document = settled(client, one["id"], seconds=120)
            assert (document["status"], document["error"]) == ("ready", None)
            job = client.get(f"/api/v1/jobs/{one['job_id']}").json()
            assert (job["status"], job["attempts"]) == ("succeeded", 2)


def stage_of(client: httpx.Client, document: dict[str, object]) -> object:
    return client.get(f"/api/v1/jobs/{document['job_id']}").json()["stage"]


@needs_ocr
def test_scans_hold_neither_all_places_of_a_worker_nor_more_than_is_allowed_over_all(tmp_path: Path) -> None:
    settings = {"RAGECHO_OCR_CONCURRENCY": "1", "RAGECHO_WORKER_CONCURRENCY": "2", "RAGECHO_OCR_LANGUAGES": "eng"}
    with (
        serving(tmp_path / "data", **settings) as server,
        second_worker(server, **settings),
        server.client(server.key()) as client,
    ):
        texts = [f"The {word} lock was closed\nin the winter storm." for word in ("first", "second", "third")]
        scans = upload(
            client, *((f"{n}.pdf", scanned_pdf(*(f"{text}\nSheet {n}" for text in texts))) for n in range(5))
        )
        busy: list[float] = []

        def recognising() -> bool:
            page = client.get("/metrics").text
            busy.append(sample(page, "ragecho_queue_jobs", queue="ocr", status="doing"))
            return busy[-1] >= 1

        eventually(recognising, what="recognition")
        (note,) = upload(client, ("note.txt", b"The lock keeper's boat is green."))
        assert settled(client, note["id"])["status"] == "ready"
        waiting = [one for one in scans if client.get(f"/api/v1/documents/{one['id']}").json()["status"] != "ready"]
        assert waiting
        eventually(
            lambda: (
                not recognising()
                and all(client.get(f"/api/v1/documents/{one['id']}").json()["status"] == "ready" for one in scans)
            ),
            seconds=240,
            what="all scans",
        )
        assert max(busy) == 1
        found = client.post("/api/v1/search", json={"query": "second lock", "k": 5}).json()["results"]
        assert any("second lock" in str(hit["text"]) for hit in found)
