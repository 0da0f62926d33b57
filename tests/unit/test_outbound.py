"""Where outbound requests may go, and how much may come back. A real server, on two loopback addresses."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ragecho.kernel.errors import TooLarge, Unavailable
from ragecho.platform.outbound import AddressRefused, IPAddress, check_url, is_public, outbound_client

pytestmark = pytest.mark.anyio

REACHABLE = ipaddress.ip_address("127.0.0.2")
PAYLOADS = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1%25eth0]/",
    "http://[::]/",
    "http://0.0.0.0/",
    "http://0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://127\u30020\u30020\u30021/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://example.com@127.0.0.1/",
    "http:///etc/passwd",
    "http:127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:25/_MAIL",
    "ftp://example.com/",
    "data:text/plain,hello",
    "javascript:alert(1)",
    "//example.com/",
    "",
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def unresolvable(host: str, _port: int) -> list[str]:
    """Answer as a resolver without a network would, but for this machine's own names."""
    if host in ("localhost", "localhost.", "ip6-localhost"):
        return ["127.0.0.1"]
    if host.endswith((".nip.io", "metadata.google.internal", "rancher-metadata", "metadata")):
        return ["169.254.169.254"]
    raise OSError("no such host")


@pytest.mark.parametrize("url", PAYLOADS)
async def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    async with outbound_client(resolve=unresolvable) as client:
        with pytest.raises((AddressRefused, httpx.UnsupportedProtocol, httpx.InvalidURL)):
            await client.get(url)


async def test_no_payload_of_the_collection_leads_inside() -> None:
    text = Path(__file__).with_name("ssrf_urls.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) > 100
    inside = 0
    async with outbound_client(resolve=unresolvable) as client:
        for line in lines:
            # Whatever is not refused is a name that a resolver without a network does not know: nothing was connected.
            with pytest.raises(
                (AddressRefused, httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.ConnectError)
            ) as caught:
                await client.get(line)
            inside += not isinstance(caught.value, httpx.ConnectError)
    assert inside > 80


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2001:4860:4860::8888"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url", ["https://accounts.google.com", "http://example.com:8080/a?b=c", "https://[2606:4700::1]/"]
)
def test_ordinary_urls_have_an_acceptable_form(url: str) -> None:
    assert str(check_url(url)).startswith(url)


Handler = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handler, *, host: str = "127.0.0.2") -> AsyncIterator[int]:
    """Run a bare HTTP server and yield its port."""
    running: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await handle(head.decode(), writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            running.discard(task)

    server = await asyncio.start_server(answer, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def page(body: bytes, *, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *lines])
    return head.encode() + b"\r\n\r\n" + body


def only_reachable(address: IPAddress) -> bool:
    return address == REACHABLE


async def test_a_redirect_to_a_private_address_is_refused() -> None:
    inside_was_asked = False

    async def inside(_head: str, writer: asyncio.StreamWriter) -> None:
        nonlocal inside_was_asked
        inside_was_asked = True
        writer.write(page(b"secret"))

    async with serving(inside, host="127.0.0.1") as inner_port:

        async def redirect(_head: str, writer: asyncio.StreamWriter) -> None:
            writer.write(page(b"", status="302 Found", location=f"http://127.0.0.1:{inner_port}/"))

        async with (
            serving(redirect) as port,
            outbound_client(follow_redirects=True, may_reach=only_reachable) as client,
        ):
            with pytest.raises(AddressRefused):
                await client.get(f"http://127.0.0.2:{port}/")
            assert (await client.get(f"http://127.0.0.2:{port}/", follow_redirects=False)).status_code == 302
    assert not inside_was_asked


async def test_a_name_that_changes_its_address_is_connected_to_the_one_that_was_judged() -> None:
    answers = iter([["127.0.0.2"], ["127.0.0.1"]])
    asked = []

    async def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    async def hello(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(page(head.encode()))

    async with (
        serving(hello) as port,
        outbound_client(resolve=rebinding, may_reach=only_reachable) as client,
    ):
        first = await client.get(f"http://rebind.test:{port}/")
        assert f"host: rebind.test:{port}" in first.text.lower()
        assert asked == ["rebind.test"]
        with pytest.raises(AddressRefused):
            await client.get(f"http://rebind.test:{port}/")


async def test_one_private_address_among_several_refuses_the_name() -> None:
    async def mixed(_host: str, _port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with outbound_client(resolve=mixed, may_reach=only_reachable) as client:
        with pytest.raises(AddressRefused):
            await client.get("http://mixed.test/")


async def test_development_may_reach_this_machine_but_no_other_scheme() -> None:
    async def hello(_head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(page(b"hello"))

    async with serving(hello, host="127.0.0.1") as port, outbound_client(allow_private=True) as client:
        assert (await client.get(f"http://localhost:{port}/")).text == "hello"
        with pytest.raises((AddressRefused, httpx.UnsupportedProtocol)):
            await client.get("file:///etc/passwd")


async def test_a_body_over_the_limit_is_cut_whether_or_not_its_length_is_told() -> None:
    async def endless(head: str, writer: asyncio.StreamWriter) -> None:
        if "GET /told" in head:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(endless) as port, outbound_client(may_reach=only_reachable, max_bytes=100_000) as client:
        for path in ("told", "untold"):
            with pytest.raises(TooLarge):
                await client.get(f"http://127.0.0.2:{port}/{path}")


async def test_compressed_content_is_refused() -> None:
    async def bomb(head: str, writer: asyncio.StreamWriter) -> None:
        assert "accept-encoding: identity" in head.lower()
        writer.write(page(b"\x1f\x8b", content_encoding="gzip"))

    async with serving(bomb) as port, outbound_client(may_reach=only_reachable) as client:
        with pytest.raises(TooLarge):
            await client.get(f"http://127.0.0.2:{port}/")


async def test_a_server_that_does_not_finish_is_left() -> None:
    async def slow(head: str, writer: asyncio.StreamWriter) -> None:
        if "GET /body" in head:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx")
            await writer.drain()
        await asyncio.Event().wait()

    async with serving(slow) as port, outbound_client(may_reach=only_reachable, total_seconds=0.2) as client:
        for path in ("head", "body"):
            with pytest.raises((Unavailable, httpx.TimeoutException)):
                await client.get(f"http://127.0.0.2:{port}/{path}")
