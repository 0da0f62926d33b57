"""kill -9 of anything loses no document and leaves none half visible."""

import signal
from pathlib import Path

import httpx
from tests.e2e.conftest import Server, eventually, serving, settled, upload

DOCUMENTS = 24


def _texts() -> list[tuple[str, bytes]]:
    paragraph = "Buoy number {n} is painted in the colour of its channel and is inspected every {m} weeks by the crew. "
    return [
        (f"buoy{n}.txt", "\n\n".join(paragraph.format(n=n, m=m) * 6 for m in range(2, 12)).encode())
        for n in range(DOCUMENTS)
    ]


def _kill(server: Server, role: str) -> None:
    process = server.child(role)
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def _all_ready(client: httpx.Client) -> bool:
    listed = client.get("/api/v1/documents", params={"limit": 200})
    if listed.status_code != 200:
        return False
    return all(one["status"] == "ready" for one in listed.json()["items"])


def _visible_chunks(client: httpx.Client, document: dict[str, object]) -> int:
    return int(client.get(f"/api/v1/documents/{document['id']}/chunks", params={"limit": 200}).json()["total"])


def test_killed_workers_and_databases_lose_and_double_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "data", RAGECHO_API_PROCESSES="0") as server:
        key = server.key()
        with server.client(key) as client:
            accepted = upload(client, *_texts())
            _kill(server, "worker")
            eventually(
                lambda: any(
                    one["status"] == "ready"
                    for one in client.get("/api/v1/documents", params={"limit": 200}).json()["items"]
                ),
                what="a document after the worker's death",
            )
            _kill(server, "postgres")
            eventually(lambda: client.get("/health/ready").status_code == 200, what="the database's return")
            _kill(server, "worker")
            eventually(lambda: _all_ready(client), seconds=150, what="all documents")

            listed = client.get("/api/v1/documents", params={"limit": 200}).json()
            assert listed["total"] == DOCUMENTS
            assert {one["id"] for one in listed["items"]} == {one["id"] for one in accepted}
            for document in listed["items"]:
                assert document["chunks"] == _visible_chunks(client, document) > 0
            found = client.post("/api/v1/search", json={"query": "buoy number 7", "k": 200}).json()["results"]
            assert len({hit["chunk_id"] for hit in found}) == len(found)

            _kill(server, "api")
            eventually(lambda: _is_back(client), what="the API's return")
            (late,) = upload(client, ("late.txt", b"The last buoy was laid in spring."))
            assert settled(client, late["id"])["status"] == "ready"


def _is_back(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_everything_is_there_again_after_the_whole_tree_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "data", RAGECHO_API_PROCESSES="0") as server:
        key = server.key()
        with server.client(key) as client:
            (one,) = upload(client, ("note.txt", b"The ferry to the island leaves at a quarter to nine."))
            settled(client, one["id"])
        tree = [server.process.pid]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
        assert tree
    with serving(tmp_path / "data", RAGECHO_API_PROCESSES="0") as server, server.client(key) as client:
        answer = client.post("/api/v1/ask", json={"question": "When does the ferry to the island leave?"}).json()
        assert "quarter to nine" in answer["answer"]
