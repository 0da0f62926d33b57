"""Several API processes behind one port, as `ragecho serve` starts them."""

import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
from tests.e2e.conftest import Server, clean_environment, eventually, serving, settled, upload
from tests.e2e.test_workers import database_url, free_port, sample


def _apis(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [one for one in children if one.cmdline()[-3:] == ["-m", "ragecho", "api"]]


def _connections(process: psutil.Process, port: int) -> int:
    found = process.net_connections(kind="tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in found)


def _serving(server: Server) -> set[str]:
    """Return the processes that have started to answer, as `/metrics` names them."""
    text = httpx.get(f"{server.url}/metrics").text
    return set(re.findall(r'process_start_time_seconds\{pid="(\d+)"\}', text))


def test_they_share_connections_count_together_and_stand_in_for_one_that_dies(tmp_path: Path) -> None:
    with serving(tmp_path / "data", RAGECHO_API_PROCESSES="2") as server, ExitStack() as stack:
        eventually(lambda: len(_serving(server)) == 2, what="both processes")
        port, key = int(server.url.rpartition(":")[2]), server.key()
        clients = [stack.enter_context(server.client(key)) for _ in range(8)]
        document = upload(clients[0], ("ferry.md", b"# Ferry\n\nThe ferry to the island leaves at 7:40."))[0]
        assert settled(clients[1], document["id"])["status"] == "ready"
        before = sample(httpx.get(f"{server.url}/metrics").text, "http_requests_total", route="/api/v1/search")
        for client in clients:
            found = client.post("/api/v1/search", json={"query": "When does the ferry leave?"}).json()["results"]
            assert found[0]["filename"] == "ferry.md"
        after = sample(httpx.get(f"{server.url}/metrics").text, "http_requests_total", route="/api/v1/search")
        assert after - before == 8

        # A process that reads its index for the first time is late for a connection now and then, and not for long.
        def is_shared() -> bool:
            clients.append(stack.enter_context(server.client(key)))
            assert clients[-1].get("/api/v1/documents").json()["total"] == 1
            each = [_connections(one, port) for one in _apis(server.process)]
            return max(each) - min(each) <= 1

        assert any(is_shared() for _ in range(16))

        victim = _apis(server.process)[0]
        victim.send_signal(signal.SIGKILL)
        for _ in range(20):  # its clients connect again and find the other
            with server.client(key) as client:
                assert client.get("/api/v1/documents").json()["total"] == 1
        eventually(lambda: len(_serving(server)) == 2, what="the dead one's successor")
        assert str(victim.pid) not in _serving(server)
        assert sample(httpx.get(f"{server.url}/metrics").text, "http_requests_total", route="/api/v1/search") == after


def test_the_api_alone_can_be_several_too(server: Server) -> None:
    port = free_port()
    environment = clean_environment(server.data_dir) | {
        "RAGECHO_DATABASE_URL": database_url(server),
        "RAGECHO_API_PROCESSES": "3",
    }
    command = [sys.executable, "-m", "ragecho", "api", "--port", str(port)]
    with subprocess.Popen(command, env=environment, text=True, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"

        def is_answered() -> bool:
            try:
                return len(set(re.findall(r'seconds\{pid="(\d+)"\}', httpx.get(f"{url}/metrics").text))) == 3
            except httpx.TransportError:
                return False

        eventually(is_answered, what="three processes")
        apis = _apis(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert len(apis) == 3
    assert not any(one.is_running() for one in apis)
