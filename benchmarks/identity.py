"""How many tokens a second the identity service signs: `python -m benchmarks.identity [--connections 6] [--seconds 5]`.

Client credentials over HTTP with kept connections, against a real `ragecho serve`: every answer is a freshly signed access
token, and a sample of them is verified. Bare streams, because a full HTTP client would take the cores that the server has.
"""

import argparse
import asyncio
import base64
import json
import os
import time
from urllib.parse import urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import KeySet

from benchmarks.harness import Load, Server, cpu_of_tree, scratch, serving, show, write_report

BODY = b"grant_type=client_credentials&scope=read"


def service_client(server: Server) -> tuple[str, str]:
    """Return id and secret of a service client, made as an operator makes one."""
    made = json.loads(
        server.ragecho("identity", "client", "create", "--name", "bench", "--service", "--scopes", "read", "--json")
    )
    return made["client_id"], made["secret"]


def token_request(url: str, client: tuple[str, str]) -> bytes:
    """Return the bytes of one token request."""
    credentials = base64.b64encode(":".join(client).encode()).decode()
    head = (
        f"POST /identity/token HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Basic {credentials}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    return head.encode() + BODY


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"{head.splitlines()[0].decode()}: {body[:300].decode(errors='replace')}")
    return body


async def hammer(url: str, request: bytes, *, connections: int, seconds: float) -> Load:
    """Ask for tokens over `connections` at once for some seconds."""
    parts = urlsplit(url)
    latencies: list[float] = []
    bodies: list[bytes] = []

    async def ask_on() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        await _one(reader, writer, request)
        while time.perf_counter() < deadline:
            started = time.perf_counter()
            bodies.append(await _one(reader, writer, request))
            latencies.append((time.perf_counter() - started) * 1000)
        writer.close()

    cpu, started = time.process_time(), time.perf_counter()
    deadline = started + seconds
    await asyncio.gather(*(ask_on() for _ in range(connections)))
    elapsed = time.perf_counter() - started
    return Load(latencies, elapsed, (time.process_time() - cpu) * 1000 / max(1, len(latencies)), bodies)


def verify_sample(url: str, bodies: list[bytes]) -> int:
    """Check some of the tokens, and that no two are the same; return how many were checked."""
    keys = KeySet.import_key_set(httpx.get(f"{url}/identity/jwks.json").json())
    tokens = [json.loads(body)["access_token"] for body in bodies]
    if len(set(tokens)) != len(tokens):
        raise RuntimeError("a token was given twice")
    sample = tokens[:: max(1, len(tokens) // 50)]
    for token in sample:
        jwt.decode(token, keys, algorithms=["ES256"])
    return len(sample)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with scratch() as folder, serving(folder) as server:
        request = token_request(server.url, service_client(server))
        asyncio.run(hammer(server.url, request, connections=2, seconds=1.0))  # warm up
        rounds = []
        for _ in range(arguments.rounds):
            before, load_before = cpu_of_tree(server.process.pid), os.getloadavg()[0]
            load = asyncio.run(
                hammer(server.url, request, connections=arguments.connections, seconds=arguments.seconds)
            )
            after = cpu_of_tree(server.process.pid)
            count = len(load.latencies_ms)
            rounds.append(
                {
                    **load.summary(),
                    "verified": verify_sample(server.url, load.bodies),
                    "server_cpu_ms": round((sum(after.values()) - sum(before.values())) * 1000 / count, 3),
                    "load_before": round(load_before, 2),
                }
            )
    show("Access tokens by client credentials", rounds)
    write_report("identity", {"connections": arguments.connections, "rounds": rounds})


if __name__ == "__main__":
    main()
