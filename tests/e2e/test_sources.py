"""Documents from elsewhere, through the real process tree, from real servers on this machine."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import Server, clean_environment, eventually, serving, settled
from tests.site_server import Site, serving_site


@pytest.fixture(scope="module")
def permissive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may fetch from this machine."""
    with serving(tmp_path_factory.mktemp("sources"), RAGECHO_ALLOW_PRIVATE_ADDRESSES="true") as server:
        yield server


@pytest.fixture(scope="module")
def admin_key(permissive: Server) -> str:
    return permissive.key(scopes="read,write,admin")


@pytest.fixture
def elsewhere(permissive: Server, admin_key: str) -> Iterator[httpx.Client]:
    with permissive.client(admin_key) as client:
        yield client


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_site() as site:
        yield site


def add_url(client: httpx.Client, url: str, **labels: object) -> dict[str, object]:
    answer = client.post("/api/v1/documents/url", json={"url": url, **labels})
    assert answer.status_code == 202, answer.text
    (accepted,) = answer.json()["documents"]
    assert isinstance(accepted, dict)
    return accepted


def test_a_page_is_fetched_kept_as_it_is_and_cited_by_its_address(elsewhere: httpx.Client, site: Site) -> None:
    site.html("/sluice/fees", "Sluice fees", "Passing the Norrvik sluice costs eleven crowns.", "/other")
    accepted = add_url(
        elsewhere, f"{site.url}/sluice/fees?utm_source=mail#top", tags=["water"], metadata={"owner": "port"}
    )
    assert accepted["status"] == "queued"
    assert accepted["duplicate_of"] is None
    document = settled(elsewhere, accepted["id"])
    assert document["status"] == "ready", document
    host = site.url.removeprefix("http://")
    assert (document["filename"], document["title"]) == (f"{host}/sluice/fees", "Sluice fees")
    assert document["tags"] == ["water"]
    page = site.pages["/sluice/fees"]
    assert document["metadata"] == {"owner": "port", "url": f"{site.url}/sluice/fees", "etag": page.etag}
    assert elsewhere.get(f"/api/v1/documents/{accepted['id']}/content").content == page.body
    assert document["version"] == 1
    answer = elsewhere.post("/api/v1/ask", json={"question": "What does passing the Norrvik sluice cost?"}).json()
    assert answer["citations"][0]["filename"] == f"{host}/sluice/fees"
    assert "eleven crowns" in answer["citations"][0]["quote"]


def test_a_redirect_is_followed_to_the_pages_own_address(elsewhere: httpx.Client, site: Site) -> None:
    site.html("/new", "Moved", "The lamp keeper has moved to the east mole.")
    site.redirect("/old", "/new")
    document = settled(elsewhere, add_url(elsewhere, f"{site.url}/old")["id"])
    assert document["status"] == "ready", document
    assert document["metadata"]["url"] == f"{site.url}/new"  # type: ignore[index]  # JSON


def test_other_types_than_pages_are_read_too(elsewhere: httpx.Client, site: Site) -> None:
    site.put("/notes.md", b"# Buoys\n\nThe buoy at Skarholm is painted yellow.", "text/markdown")
    document = settled(elsewhere, add_url(elsewhere, f"{site.url}/notes.md")["id"])
    assert document["status"] == "ready", document


def test_a_page_that_is_not_there_says_so(elsewhere: httpx.Client, site: Site) -> None:
    document = settled(elsewhere, add_url(elsewhere, f"{site.url}/nowhere")["id"])
    assert document["status"] == "failed"
    assert document["error"] == {"code": "source_refused", "message": "There is no such page."}


def test_what_cannot_be_read_is_not_taken_in(elsewhere: httpx.Client, site: Site) -> None:
    site.put("/film", b"\0" * 100, "video/mp4")
    document = settled(elsewhere, add_url(elsewhere, f"{site.url}/film")["id"])
    assert document["error"] == {"code": "source_refused", "message": "Nothing to read: video/mp4."}


def test_no_blob_is_left_over_from_an_address(elsewhere: httpx.Client, site: Site, permissive: Server) -> None:
    site.html("/blob", "Blob", "Nothing of an address stays behind when its page is there.")
    settled(elsewhere, add_url(elsewhere, f"{site.url}/blob")["id"])

    def addresses() -> list[object]:
        blobs = (permissive.data_dir / "blobs").rglob("*")
        return [path for path in blobs if path.is_file() and f"{site.url}/blob".encode() in path.read_bytes()]

    eventually(lambda: not addresses(), what="the stored address is gone")


@pytest.mark.parametrize("url", ["http://localhost:9/", "http://127.0.0.1:9/", "http://[::1]/", "http://0x7f000001/"])
def test_a_private_address_is_refused(client: httpx.Client, url: str) -> None:
    answer = client.post("/api/v1/documents/url", json={"url": url})
    if answer.status_code == 202:  # a name: known only to the worker
        document = settled(client, answer.json()["documents"][0]["id"])
        assert document["status"] == "failed"
        assert "not on the public internet" in str(document["error"])
        return
    assert (answer.status_code, answer.json()["code"]) == (422, "address_refused")


def test_a_site_is_set_up_synced_asked_and_removed(
    elsewhere: httpx.Client, site: Site, permissive: Server, admin_key: str
) -> None:
    site.html("/", "Start", "Welcome to Ostvik.", "/ferry")
    site.html("/ferry", "Ferry", "The Ostvik ferry leaves at twenty past six.")
    env = {"RAGECHO_API_KEY": admin_key}
    made = json.loads(
        permissive.ragecho(
            "sources",
            "add",
            "crawl",
            f"{site.url}/",
            "--name",
            "Ostvik",
            "--set",
            "delay_seconds=0",
            "--every",
            "3600",
            "--tag",
            "ferry",
            "--json",
            env=env,
        )
    )
    address = f"/api/v1/sources/{made['id']}"

    def over() -> dict[str, object] | None:
        source = elsewhere.get(address).json()
        return source if source["run"]["finished_at"] else None

    source = eventually(over, what="the first run")
    assert isinstance(source, dict)
    assert (source["documents"], source["run"]["status"], source["run"]["added"]) == (2, "succeeded", 2)
    assert source["next_run_at"] is not None
    items = elsewhere.get(f"{address}/items").json()["items"]
    for item in items:
        assert settled(elsewhere, item["document_id"])["status"] == "ready"
    answer = elsewhere.post("/api/v1/ask", json={"question": "When does the Ostvik ferry leave?"}).json()
    assert "twenty past six" in answer["citations"][0]["quote"]
    assert "Ostvik" in permissive.ragecho("sources", "ls", env=env)
    assert "succeeded" in permissive.ragecho("sources", "show", made["id"], env=env)

    del site.pages["/ferry"]
    permissive.ragecho("sources", "sync", made["id"], env=env)
    eventually(lambda: elsewhere.get(address).json()["documents"] == 1, what="the deleted page is gone")
    permissive.ragecho("sources", "rm", made["id"], env=env)
    assert elsewhere.get(address).status_code == 404
    eventually(
        lambda: elsewhere.get("/api/v1/documents", params={"tag": "ferry"}).json()["total"] == 0,
        what="the documents are gone",
    )
    actions = {
        event["action"]
        for event in elsewhere.get("/api/v1/workspaces/audit-logs", params={"limit": 100}).json()["items"]
    }
    assert {"source.added", "source.synced", "source.removed"} <= actions


def test_a_reader_neither_sees_nor_makes_sources(client: httpx.Client) -> None:
    wanted = {"kind": "url", "name": "x", "config": {"url": "https://example.org/"}}
    assert client.post("/api/v1/sources", json=wanted).status_code == 403


def test_a_watched_folder_follows_its_files(
    elsewhere: httpx.Client, permissive: Server, admin_key: str, tmp_path: Path
) -> None:
    env = {"RAGECHO_API_KEY": admin_key}
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "one.md").write_text("The watched heron sleeps at noon.")
    (folder / "two.md").write_text("The watched otter swims at dusk.")

    def watched() -> dict[str, dict[str, object]]:
        found = elsewhere.get("/api/v1/documents", params={"tag": "watched"}).json()["items"]
        return {document["filename"]: document for document in found}

    def once() -> None:
        permissive.ragecho("watch", str(folder), "--once", "--delete", "--tag", "watched", env=env)

    once()
    before = watched()
    assert set(before) == {"one.md", "two.md"}
    settled(elsewhere, before["one.md"]["id"])
    (folder / "one.md").write_text("The watched heron never sleeps.")
    (folder / "two.md").unlink()
    once()
    eventually(lambda: watched()["one.md"]["version"] == 2, what="the changed file is read again")
    assert set(watched()) == {"one.md"}
    assert watched()["one.md"]["id"] == before["one.md"]["id"]
    once()
    assert watched()["one.md"]["version"] == 2


def test_a_watcher_sees_changes_as_they_come_and_ends_cleanly(
    elsewhere: httpx.Client, permissive: Server, admin_key: str, tmp_path: Path
) -> None:
    folder = tmp_path / "live"
    folder.mkdir()
    environment = clean_environment(permissive.data_dir) | {
        "RAGECHO_SERVER": permissive.url,
        "RAGECHO_API_KEY": admin_key,
    }
    # Run in the background of a script, everything inherits an ignored SIGINT; who sits at a terminal has none.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "ragecho", "watch", str(folder), "--tag", "live"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "Watching" in process.stderr.readline()
        (folder / "new.md").write_text("A new buoy lies off the mole.")
        eventually(
            lambda: elsewhere.get("/api/v1/documents", params={"tag": "live"}).json()["total"] == 1,
            what="the new file is uploaded",
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait(30)
        if process.stderr is not None:
            process.stderr.close()
