"""Load and random kills for a while: `python -m benchmarks.soak [--minutes 10]`.

Two workspaces take in documents while the worker, the API and PostgreSQL are killed with -9 at random. At the end every
document that was accepted must be ready exactly once, with all its chunks, in its own workspace only. Exit code 1 if not.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import psutil

from benchmarks.harness import Server, memory_of_tree, scratch, serving, show, write_report

VICTIMS = ("worker", "postgres", "api")
SETTLE_SECONDS = 600.0
WORDS = [
    "buoy",
    "channel",
    "harbour",
    "crane",
    "ferry",
    "lamp",
    "quay",
    "mooring",
    "tide",
    "pilot",
    "anchor",
    "cargo",
    "deck",
    "hull",
    "mast",
    "rudder",
]


@dataclass
class Tenant:
    """One workspace and what it was given."""

    workspace: str
    client: httpx.Client
    accepted: set[str] = field(default_factory=set)


def document(rng: random.Random, number: int) -> tuple[str, bytes]:
    """Return a document that no other one equals."""
    sentences = [" ".join(rng.choices(WORDS, k=12)).capitalize() + "." for _ in range(rng.randint(5, 120))]
    return f"note{number}.md", f"# Note {number}\n\n{' '.join(sentences)}\n".encode()


def upload(tenant: Tenant, files: list[tuple[str, bytes]]) -> None:
    """Send the files until they are accepted: a killed API answers with a broken connection, and sending again is safe."""
    deadline = time.monotonic() + 120
    while True:
        try:
            answer = tenant.client.post("/api/v1/documents", files=[("files", file) for file in files])
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == httpx.codes.ACCEPTED:
            tenant.accepted.update(one["id"] for one in answer.json()["documents"])
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"no upload for two minutes: {answer and answer.text}")
        time.sleep(0.5)


def kill(server: Server, role: str) -> bool:
    """Kill a role's process with -9; False when it is down already."""
    for process in psutil.Process(server.process.pid).children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        is_postmaster = role == "postgres" and bool(line) and line[0].endswith("postgres") and "-D" in line
        if is_postmaster or line[-3:] == ["-m", "ragecho", role]:
            process.kill()
            return True
    return False


def listed(tenant: Tenant) -> list[dict[str, object]]:
    """Return all documents of a workspace."""
    items: list[dict[str, object]] = []
    while True:
        page = tenant.client.get("/api/v1/documents", params={"limit": 200, "offset": len(items)}).json()
        items += page["items"]
        if len(items) >= page["total"] or not page["items"]:
            return items


def settled(tenant: Tenant) -> bool:
    """Whether nothing is under way any more."""
    try:
        return all(one["status"] in ("ready", "failed") for one in listed(tenant))
    except (httpx.TransportError, KeyError):
        return False


def faults(tenant: Tenant) -> list[str]:
    """Return what is wrong, in words."""
    found = []
    documents = listed(tenant)
    ids = [str(one["id"]) for one in documents]
    if set(ids) != tenant.accepted or len(ids) != len(set(ids)):
        found.append(f"{tenant.workspace}: {len(tenant.accepted)} accepted, {len(ids)} there")
    for one in documents:
        total = tenant.client.get(f"/api/v1/documents/{one['id']}/chunks", params={"limit": 1}).json()["total"]
        if one["status"] != "ready" or total != one["chunks"] or not total:
            found.append(
                f"{tenant.workspace}: {one['filename']} is {one['status']} with {total} of {one['chunks']} chunks"
            )
    return found


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def soak(server: Server, *, minutes: float, seed: int) -> dict[str, object]:
    """Run and return what happened."""
    rng = random.Random(seed)
    server.ragecho("admin", "workspace", "create", "soak-b")
    tenants = [
        Tenant(name, httpx.Client(base_url=server.url, headers={"X-API-Key": server.key(name)}, timeout=60))
        for name in ("default", "soak-b")
    ]
    idle, kills, number = memory_of_tree(server.process.pid), dict.fromkeys(VICTIMS, 0), 0
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end:
        for tenant in tenants:
            files = [document(rng, number + n) for n in range(rng.randint(1, 8))]
            number += len(files)
            upload(tenant, files)
        if rng.random() < 0.3:
            victim = rng.choice(VICTIMS)
            kills[victim] += kill(server, victim)
        time.sleep(rng.uniform(0.5, 3))
    is_settled = all(wait(lambda t=tenant: settled(t), SETTLE_SECONDS) for tenant in tenants)
    wrong = [line for tenant in tenants for line in faults(tenant)]
    return {
        "documents": number,
        "kills": kills,
        "settled": is_settled,
        "faults": wrong,
        "idle_mb": idle,
        "end_mb": memory_of_tree(server.process.pid),
    }


def main() -> int:
    """Soak, print, and say by the exit code whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with scratch() as folder, serving(folder) as server:
        result = soak(server, minutes=options.minutes, seed=options.seed)
    show("Soak", [{"what": name, "value": str(value)} for name, value in result.items()])
    write_report("soak", result)
    return 0 if result["settled"] and not result["faults"] else 1


if __name__ == "__main__":
    sys.exit(main())
