"""Every source against a real server on this machine: S3 (moto), Git (git http-backend and files), IMAP (pymap), feeds.

Each passes the same contract: what is there is listed and read; what changed has another revision, what did not has the
same; what is gone is told; a wrong password is a refusal that says so.
"""

import asyncio
import atexit
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from imaplib import IMAP4
from pathlib import Path
from typing import Protocol, override

import httpx
import pytest
from tests.site_server import Site, serving_site

from ragecho.engines.sources.build import FetchLimits, build_source
from ragecho.engines.sources.git import GitSource
from ragecho.engines.sources.s3 import signed_headers
from ragecho.engines.sources.utf7 import encode_folder
from ragecho.kernel.errors import Unavailable
from ragecho.platform.outbound import AddressRefused
from ragecho.ports.source import Fetched, Gone, Item, Listing, Source, SourceRefused
from ragecho.ports.source_configs import FeedConfig, GitConfig, ImapConfig, S3Config

pytestmark = pytest.mark.anyio

LIMITS = FetchLimits(max_bytes=5_000_000, seconds=20.0, user_agent="ragecho", allow_private=True)
OUTSIDE_ONLY = FetchLimits(max_bytes=5_000_000, seconds=5.0, user_agent="ragecho")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Place(Protocol):
    """A real server with things in it. `forbidden` is a source whose password is wrong, None where there are none."""

    def put(self, name: str, words: str) -> None: ...
    def drop(self, name: str) -> None: ...
    def source(self, limits: FetchLimits = LIMITS) -> Source: ...
    def forbidden(self) -> Source | None: ...


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answering(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server answers at all."""
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            threading.Event().wait(0.1)
        else:
            return
    raise AssertionError(f"{url} does not answer")


# --- S3: moto's server, which checks nothing of a signature; the signature itself has AWS's own example below.


@dataclass
class Bucket:
    url: str

    def _send(self, method: str, path: str, content: bytes = b"") -> None:
        # moto lets nobody without a name overwrite or delete; it checks no signature.
        signed = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        answer = httpx.request(method, f"{self.url}/docs{path}", content=content, headers={"Authorization": signed})
        answer.raise_for_status()

    def put(self, name: str, words: str) -> None:
        self._send("PUT", f"/notes/{name}", words.encode())

    def drop(self, name: str) -> None:
        self._send("DELETE", f"/notes/{name}")

    def source(self, limits: FetchLimits = LIMITS) -> Source:
        config = S3Config(bucket="docs", endpoint=self.url, prefix="notes/")
        return build_source(config, {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "secret"}, limits)

    def forbidden(self) -> Source | None:
        return build_source(S3Config(bucket="nobodys", endpoint=self.url), {}, LIMITS)


@cache
def s3_server() -> str:
    """Start the server, which takes seconds, once; return its URL."""
    beside = Path(__file__).parents[2] / ".tools" / "s3-test-server" / "bin" / "moto_server"
    command = os.environ.get("RAGECHO_TEST_S3_SERVER") or str(beside)
    if not Path(command).exists():
        pytest.skip("no moto_server (make setup-dev installs it); RAGECHO_TEST_S3_SERVER names another")
    port = free_port()
    process = subprocess.Popen(
        [command, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    atexit.register(process.wait, 20)
    atexit.register(process.terminate)
    answering(f"http://127.0.0.1:{port}", process)
    return f"http://127.0.0.1:{port}"


@contextmanager
def bucket(_: Path) -> Iterator[Place]:
    made = Bucket(s3_server())
    httpx.post(f"{made.url}/moto-api/reset").raise_for_status()
    made._send("PUT", "")
    yield made


# --- Git: the reference implementation serves, over HTTP with a password and from files.


def git(folder: Path, *arguments: str) -> None:
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(folder)}
    names = ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")
    subprocess.run(
        ["git", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        env=os.environ | nobody | dict.fromkeys(names, "tester"),
    )


@dataclass
class Repository:
    work: Path
    url: str
    password: str | None = None

    def put(self, name: str, words: str) -> None:
        path = self.work / "notes" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(words)
        self._commit()

    def drop(self, name: str) -> None:
        (self.work / "notes" / name).unlink()
        self._commit()

    def _commit(self) -> None:
        git(self.work, "add", "-A")
        git(self.work, "commit", "-qm", "change")

    def source(self, limits: FetchLimits = LIMITS) -> Source:
        secrets = {"password": self.password} if self.password else {}
        return build_source(GitConfig(url=self.url, include=["notes/*"]), secrets, limits)

    def forbidden(self) -> Source | None:
        return build_source(GitConfig(url=self.url), {"password": "wrong"}, LIMITS) if self.password else None


def work_folder(folder: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("no git")
    work = folder / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    (work / "README").write_text("not wanted")
    (work / "link").symlink_to("/etc/passwd")
    git(work, "add", "-A")
    git(work, "commit", "-qm", "first")
    return work


@contextmanager
def repository_files(folder: Path) -> Iterator[Place]:
    work = work_folder(folder)
    yield Repository(work, f"file://{work}")


@contextmanager
def repository_http(folder: Path) -> Iterator[Place]:
    work = work_folder(folder)
    backend = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()

    class Handler(BaseHTTPRequestHandler):
        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            if self.headers.get("Authorization") != "Basic Z2l0OnNlc2FtZQ==":  # git:sesame
                self.send_error(401)
                return
            path, _, query = self.path.partition("?")
            length = int(self.headers.get("Content-Length") or 0)
            environment = {
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(length),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "git",
                "PATH": os.environ["PATH"],
                "GIT_CONFIG_GLOBAL": os.devnull,
            }
            done = subprocess.run(
                [f"{backend}/git-http-backend"],
                input=self.rfile.read(length),
                capture_output=True,
                check=True,
                env=environment,
            )
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            lines = [line.split(": ", 1) for line in head.decode().splitlines()]
            headers = dict(lines)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with threaded(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield Repository(work, f"http://127.0.0.1:{port}/work", password="sesame")


@contextmanager
def threaded(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


# --- IMAP: pymap's demo server, in a process of its own.


@dataclass
class Mailbox:
    port: int

    def _connected(self) -> IMAP4:
        connection = IMAP4("127.0.0.1", self.port)
        connection.login("demouser", "demopass")
        return connection

    def put(self, name: str, words: str) -> None:
        self.drop(name)  # a message never changes: another one takes its place
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = name, "ada@example.org", "demouser@example.org"
        message.set_content(words)
        connection = self._connected()
        assert connection.append("Notes", "", "", message.as_bytes())[0] == "OK"
        connection.logout()

    def drop(self, name: str) -> None:
        connection = self._connected()
        connection.select("Notes")
        for uid in (connection.uid("SEARCH", "SUBJECT", f'"{name}"')[1][0] or b"").split():
            connection.uid("STORE", uid.decode(), "+FLAGS", r"(\Deleted)")
        connection.expunge()
        connection.logout()

    def source(self, limits: FetchLimits = LIMITS) -> Source:
        config = ImapConfig(host="127.0.0.1", port=self.port, security="none", username="demouser", folders=["Notes"])
        return build_source(config, {"password": "demopass"}, limits)

    def forbidden(self) -> Source | None:
        config = ImapConfig(host="127.0.0.1", port=self.port, security="none", username="demouser")
        return build_source(config, {"password": "wrong"}, LIMITS)


@contextmanager
def mailbox(_: Path) -> Iterator[Place]:
    pytest.importorskip("pymap")
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pymap.main import main; sys.exit(main())",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-tls",
            "dict",
            "--demo-data",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        made = Mailbox(port)
        for _attempt in range(300):
            assert process.poll() is None, "the server ended"
            try:
                connection = made._connected()
            except OSError:
                threading.Event().wait(0.1)
            else:
                connection.create("Notes")
                connection.logout()
                break
        yield made
    finally:
        process.kill()  # it waits for its clients when it is asked politely
        process.wait(20)


# --- Feeds: RSS from a site on this machine.


@dataclass
class Feed:
    site: Site
    entries: dict[str, str]

    def put(self, name: str, words: str) -> None:
        self.entries[name] = words
        self._publish()

    def drop(self, name: str) -> None:
        del self.entries[name]
        self._publish()

    def _publish(self) -> None:
        items = "".join(
            f"<item><guid>{name}</guid><title>{name}</title><link>{self.site.url}/{name}</link>"
            f"<description>{words}</description></item>"
            for name, words in self.entries.items()
        )
        rss = f'<rss version="2.0"><channel><title>News</title>{items}</channel></rss>'
        self.site.put("/feed", rss, "application/rss+xml")

    def source(self, limits: FetchLimits = LIMITS) -> Source:
        return build_source(FeedConfig(url=f"{self.site.url}/feed", mirror=True), {}, limits)

    def forbidden(self) -> Source | None:
        self.site.pages["/feed"].status = 401
        return self.source()


@contextmanager
def feed(_: Path) -> Iterator[Place]:
    with serving_site() as site:
        made = Feed(site, {})
        made._publish()
        yield made


PLACES: Sequence[Callable[[Path], object]] = (bucket, repository_files, repository_http, mailbox, feed)


@pytest.fixture(params=PLACES, ids=lambda place: place.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with request.param(tmp_path) as made:
        yield made


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator[Source]:
    try:
        yield source
    finally:
        await source.close()


async def listed(place: Place) -> Listing:
    async with opened(place.source()) as source:
        return await source.list_changes(None)


async def read(source: Source, item: Item) -> tuple[Fetched, bytes]:
    fetched = await source.fetch(item)
    assert isinstance(fetched, Fetched), fetched
    async with aclosing(fetched.content) as content:
        return fetched, b"".join([piece async for piece in content])


async def contents(place: Place) -> dict[str, bytes]:
    """Return everything that a place holds, by name."""
    async with opened(place.source()) as source:
        found = [await read(source, item) for item in (await source.list_changes(None)).items]
    return {fetched.name: content for fetched, content in found}


async def test_what_is_there_is_listed_and_read(place: Place) -> None:
    place.put("one.txt", "The crane lifts twelve tonnes.")
    place.put("two words.txt", "The lock opens at noon.")
    found = await contents(place)
    assert len(found) == 2
    assert any("one.txt" in name for name in found)
    assert any(b"twelve tonnes" in content for content in found.values())
    assert any(b"at noon" in content for content in found.values())


async def test_nothing_there_is_an_empty_and_complete_listing(place: Place) -> None:
    assert (await listed(place)).items == ()
    assert (await listed(place)).is_complete


async def test_a_revision_changes_with_its_content_and_only_then(place: Place) -> None:
    place.put("one.txt", "First.")
    place.put("two.txt", "Second.")
    before = {item.key: item.revision for item in (await listed(place)).items}
    assert {item.key: item.revision for item in (await listed(place)).items} == before
    place.put("one.txt", "First, changed.")
    after = {item.key: item.revision for item in (await listed(place)).items}
    assert len(after) == 2
    assert len(set(after.items()) & set(before.items())) == 1
    assert any(b"changed" in content for content in (await contents(place)).values())


async def test_the_revision_of_what_was_read_is_the_one_that_is_listed(place: Place) -> None:
    place.put("one.txt", "First.")
    async with opened(place.source()) as source:
        (item,) = (await source.list_changes(None)).items
        fetched, _ = await read(source, item)
    assert (fetched.key, fetched.revision) == (item.key, item.revision)


async def test_what_is_gone_is_not_listed_and_says_so_when_it_is_asked_for(place: Place) -> None:
    place.put("one.txt", "First.")
    place.put("two.txt", "Second.")
    before = (await listed(place)).items
    place.drop("one.txt")
    after = (await listed(place)).items
    (gone,) = {item.key for item in before} - {item.key for item in after}
    async with opened(place.source()) as source:
        assert isinstance(await source.fetch(Item(gone)), Gone)


async def test_a_refusal_says_what_to_do_and_is_not_tried_again(place: Place) -> None:
    forbidden = place.forbidden()
    if forbidden is None:
        pytest.skip("nobody is kept out of a folder of files here")
    async with opened(forbidden):
        with pytest.raises(SourceRefused) as refused:
            await forbidden.list_changes(None)
    assert refused.value.reason in ("not_permitted", "no_bucket")
    assert refused.value.message.endswith(".")


async def test_nothing_on_this_machine_is_reached_unless_it_is_permitted(place: Place) -> None:
    place.put("one.txt", "First.")
    async with opened(place.source(OUTSIDE_ONLY)) as source:
        with pytest.raises((AddressRefused, SourceRefused)) as refused:
            await source.list_changes(None)
    assert isinstance(refused.value, AddressRefused) or "encryption" in refused.value.message


async def test_a_server_that_is_not_there_may_be_there_later() -> None:
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    sources = [
        build_source(S3Config(bucket="docs", endpoint=here), {}, LIMITS),
        build_source(GitConfig(url=f"{here}/x"), {}, LIMITS),
        build_source(FeedConfig(url=f"{here}/x"), {}, LIMITS),
        build_source(ImapConfig(host="127.0.0.1", port=port, security="none", username="x"), {"password": "x"}, LIMITS),
    ]
    for source in sources:
        async with opened(source):
            with pytest.raises(Unavailable):
                await source.list_changes(None)


def test_a_request_is_signed_as_in_the_documentations_example() -> None:
    # "GET Bucket (List Objects)", Examples: Signature Calculations, Amazon S3 API Reference.
    from datetime import UTC, datetime

    secrets = {
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    }
    url = httpx.URL("https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J")
    headers = signed_headers(
        url, "max-keys=2&prefix=J", secrets, region="us-east-1", now=datetime(2013, 5, 24, tzinfo=UTC)
    )
    assert headers["authorization"].endswith(
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


async def test_a_long_bucket_is_listed_to_its_end(tmp_path: Path) -> None:
    with bucket(tmp_path) as place:
        assert isinstance(place, Bucket)
        names = [f"{number:04} ü+&.txt" for number in range(1105)]
        async with httpx.AsyncClient() as client:
            for start in range(0, len(names), 50):
                part = [
                    client.put(f"{place.url}/docs/notes/{name}", content=name) for name in names[start : start + 50]
                ]
                for answer in await asyncio.gather(*part):
                    answer.raise_for_status()
        async with opened(place.source()) as source:
            items = (await source.list_changes(None)).items
            assert sorted(item.key for item in items) == [f"notes/{name}" for name in names]
            _, content = await read(source, items[7])
        assert content.decode() == items[7].key.removeprefix("notes/")


async def test_a_branch_is_read_by_its_name_and_links_are_not_followed(tmp_path: Path) -> None:
    with repository_http(tmp_path) as place:
        assert isinstance(place, Repository)
        git(place.work, "checkout", "-qb", "other")
        place.put("branch.txt", "Only here.")
        git(place.work, "checkout", "-q", "main")
        config = GitConfig(url=place.url, branch="other")
        async with opened(GitSource(config, {"password": "sesame"}, allow_private=True, max_bytes=1000)) as source:
            assert {item.key for item in (await source.list_changes(None)).items} == {"README", "notes/branch.txt"}
        config = GitConfig(url=place.url, branch="none")
        async with opened(GitSource(config, {"password": "sesame"}, allow_private=True, max_bytes=1000)) as source:
            with pytest.raises(SourceRefused, match="no branch 'none'"):
                await source.list_changes(None)


def test_folder_names_are_encoded_as_the_protocol_wants() -> None:
    assert encode_folder("INBOX") == '"INBOX"'
    assert encode_folder("Entwürfe & Co") == '"Entw&APw-rfe &- Co"'
    assert encode_folder('a"b\\c') == '"a\\"b\\\\c"'
