"""Load and random kills: `python -m benchmarks.soak [--documents 10000] [--minutes 60]`.

Three workspaces take in documents of several kinds while workers, parsers, the API and PostgreSQL are killed with -9 at random,
and some of the documents are replaced or deleted meanwhile. At the end every document that was accepted and not deleted must be
ready exactly once, in its newest version, with all its chunks, in its own workspace only, and found by a word that only it
holds; the index check must find nothing. The small workspace sends three documents while the large one has its backlog: the
time until the first of them is found is reported. Exit code 1 if anything is wrong.
"""

import argparse
import json
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import psutil

from benchmarks.harness import Server, memory_of_tree, scratch, serving, show, write_report

VICTIMS = ("worker", "parser", "postgres", "api")
# Of the documents: a backlog to wait behind, and ordinary company. The small workspace has three.
SHARES = {"large": 0.8, "medium": 0.2}
SMALL_DOCUMENTS = 3
SETTLE_SECONDS = 1200.0
SEND_SECONDS = 180.0
FOUND_SECONDS = 300.0
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
    "berth",
    "dredge",
    "wharf",
    "sluice",
]


@dataclass
class Truth:
    """What must be there of one document: its newest content's own word."""

    filename: str
    word: str
    is_readable: bool = True


@dataclass
class Tenant:
    """One workspace and what it was given, by document id."""

    workspace: str
    client: httpx.Client
    documents: dict[str, Truth] = field(default_factory=dict)


class Writer:
    """Makes documents that no other one equals, each with a word of its own."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._number = 0

    def make(self) -> tuple[Truth, bytes]:
        """Return what is to be found, and the bytes."""
        self._number += 1
        word = f"zq{self._number}x{self._rng.randrange(16**6):06x}"
        sentences = [self._sentence() for _ in range(self._rng.randint(2, 60))]
        sentences.insert(self._rng.randrange(len(sentences) + 1), f"The mark {word} stands here.")
        kind = self._rng.choices(("md", "txt", "html", "csv", "json", "xml", "bad.pdf"), (30, 25, 15, 10, 10, 5, 5))[0]
        return Truth(f"note{self._number}.{kind}", word, kind != "bad.pdf"), self._written(kind, sentences)

    def _sentence(self) -> str:
        return " ".join(self._rng.choices(WORDS, k=12)).capitalize() + "."

    def _written(self, kind: str, sentences: list[str]) -> bytes:
        text = " ".join(sentences)
        forms: dict[str, Callable[[], str]] = {
            "md": lambda: f"# Note {self._number}\n\n{text}\n",
            "html": lambda: f"<html><body><h1>Note</h1><p>{'</p><p>'.join(sentences)}</p></body></html>",
            "csv": lambda: "number,words\n" + "\n".join(f'{n},"{one}"' for n, one in enumerate(sentences)),
            "json": lambda: json.dumps({"note": self._number, "sentences": sentences}),
            "xml": lambda: f"<note><p>{'</p><p>'.join(sentences)}</p></note>",
            "bad.pdf": lambda: f"%PDF-1.7\n% broken {text}",
        }
        return forms.get(kind, lambda: text)().encode()


def sent(act: Callable[[], httpx.Response], *, fine: tuple[int, ...]) -> httpx.Response:
    """Send until it is answered: a killed API breaks the connection, and a killed database makes it unavailable."""
    deadline = time.monotonic() + SEND_SECONDS
    while True:
        try:
            answer = act()
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code in fine:
            return answer
        if time.monotonic() > deadline:
            raise RuntimeError(f"not answered for {SEND_SECONDS:g} s: {answer and (answer.status_code, answer.text)}")
        time.sleep(0.3)


def upload(tenant: Tenant, files: list[tuple[Truth, bytes]]) -> None:
    """Send files in one request, repeated with the same key until it is answered."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    parts = [("files", (truth.filename, content)) for truth, content in files]
    answer = sent(lambda: tenant.client.post("/api/v1/documents", files=parts, headers=key), fine=(202,))
    for (truth, _), accepted in zip(files, answer.json()["documents"], strict=True):
        assert accepted["duplicate_of"] is None, accepted
        tenant.documents[accepted["id"]] = truth


def replace(tenant: Tenant, document_id: str, truth: Truth, content: bytes) -> None:
    """Send a new version."""
    path = f"/api/v1/documents/{document_id}/content"
    sent(lambda: tenant.client.put(path, files={"file": (truth.filename, content)}), fine=(202,))
    tenant.documents[document_id] = truth


def delete(tenant: Tenant, document_id: str) -> None:
    """Delete a document; after a broken connection it may be gone already."""
    sent(lambda: tenant.client.delete(f"/api/v1/documents/{document_id}"), fine=(204, 404))
    del tenant.documents[document_id]


class Killer:
    """Kills processes at random, with -9, until it is stopped."""

    def __init__(self, server: Server, rng: random.Random, *, every_seconds: float) -> None:
        self._server = server
        self._rng = rng
        self._every = every_seconds
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.kills: Counter[str] = Counter(dict.fromkeys(VICTIMS, 0))

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(self._rng.uniform(0.4, 1.6) * self._every):
            victim = self._rng.choices(VICTIMS, (4, 4, 1, 1))[0]
            self.kills[victim] += self._kill(victim)

    def _kill(self, role: str) -> bool:
        found = [process for process in self._processes() if _is_role(process, role)]
        if not found:
            return False
        try:
            self._rng.choice(found).kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def _processes(self) -> list[psutil.Process]:
        try:
            return list(psutil.Process(self._server.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []


def _is_role(process: psutil.Process, role: str) -> bool:
    try:
        line = process.cmdline()
        if role == "postgres":
            return bool(line) and line[0].endswith("postgres") and "-D" in line
        if role == "parser":
            return any(one.cmdline()[-3:] == ["-m", "ragecho", "worker"] for one in process.parents())
        return list(line[-3:]) == ["-m", "ragecho", role]
    except (psutil.Error, IndexError):
        return False


def listed(tenant: Tenant) -> list[dict[str, object]]:
    """Return all documents of a workspace."""
    items: list[dict[str, object]] = []
    while True:
        parameters = {"limit": 200, "offset": len(items)}
        page = sent(lambda: tenant.client.get("/api/v1/documents", params=parameters), fine=(200,)).json()  # noqa: B023 - sent at once
        items += page["items"]
        if len(items) >= page["total"] or not page["items"]:
            return items


def is_settled(tenant: Tenant) -> bool:
    """Whether nothing is under way any more."""
    return not any(
        sent(
            lambda: tenant.client.get("/api/v1/jobs", params={"status": status, "limit": 1}),  # noqa: B023 - sent at once
            fine=(200,),
        ).json()["total"]
        for status in ("queued", "running")
    )


def faults(tenant: Tenant) -> list[str]:
    """Return what is wrong, in words."""
    there = {str(one["id"]): one for one in listed(tenant)}
    name = tenant.workspace
    found = [f"{name}: {one} was accepted and is lost" for one in tenant.documents.keys() - there.keys()]
    found += [
        f"{name}: {one} is there and was deleted or never accepted" for one in there.keys() - tenant.documents.keys()
    ]
    for document_id, truth in tenant.documents.items():
        if document_id in there:
            found += [f"{name}: {truth.filename}: {fault}" for fault in faults_of(tenant, there[document_id], truth)]
    return found


def faults_of(tenant: Tenant, document: dict[str, object], truth: Truth) -> list[str]:
    """Return what is wrong with one document."""
    if not truth.is_readable:
        # A version that cannot be read leaves the one before in place; a first one leaves a reason.
        return [] if document["error"] else ["it cannot be read, and nothing says so"]
    if document["status"] != "ready" or document["error"]:
        return [f"it is {document['status']}: {document['error']}"]
    chunks = tenant.client.get(f"/api/v1/documents/{document['id']}/chunks", params={"limit": 200}).json()
    found = []
    if chunks["total"] != document["chunks"] or not chunks["total"]:
        found.append(f"{chunks['total']} of {document['chunks']} chunks")
    if not any(truth.word in chunk["text"] for chunk in chunks["items"]):
        found.append("its newest version is not the one that answers")
    hits = search(tenant, truth.word)
    holding = [hit for hit in hits if truth.word in str(hit["text"])]
    if {hit["document_id"] for hit in holding} != {document["id"]}:
        found.append(f"a search for its word finds {len(holding)} passages of {len(hits)}")
    if len({hit["chunk_id"] for hit in hits}) != len(hits):
        found.append("a search finds passages twice")
    return found


def search(tenant: Tenant, words: str) -> list[dict[str, object]]:
    """Return the hits of a search by words."""
    body = {"query": words, "mode": "lexical", "k": 5}
    hits: list[dict[str, object]] = sent(lambda: tenant.client.post("/api/v1/search", json=body), fine=(200,)).json()[
        "results"
    ]
    return hits


def first_found(tenant: Tenant) -> float:
    """Return how many seconds it takes until one of the tenant's documents is found."""
    started = time.monotonic()
    while time.monotonic() - started < FOUND_SECONDS:
        if any(search(tenant, truth.word) for truth in tenant.documents.values() if truth.is_readable):
            break
        time.sleep(0.2)
    return time.monotonic() - started


def feed(tenants: dict[str, Tenant], rng: random.Random, *, documents: int, minutes: float) -> float:
    """Send everything in the time there is; return how long the small workspace waited for its first result."""
    writer, waited = Writer(rng), 0.0
    started, sent_documents, is_small_sent = time.monotonic(), 0, False
    while sent_documents < documents:
        tenant = tenants[rng.choices(list(SHARES), list(SHARES.values()))[0]]
        files = [writer.make() for _ in range(min(rng.randint(1, 20), documents - sent_documents))]
        sent_documents += len(files)
        upload(tenant, files)
        if rng.random() < 0.2:
            replace(tenant, rng.choice(list(tenant.documents)), *readable(writer))
        if rng.random() < 0.2:
            delete(tenant, rng.choice(list(tenant.documents)))
        if not is_small_sent and sent_documents > documents / 2:
            is_small_sent = True
            upload(tenants["small"], [readable(writer) for _ in range(SMALL_DOCUMENTS)])
            waited = first_found(tenants["small"])
        due = started + minutes * 60 * sent_documents / documents
        time.sleep(max(0.0, due - time.monotonic()) * rng.random())
    return waited


def readable(writer: Writer) -> tuple[Truth, bytes]:
    """Return a document that can be read."""
    while True:
        truth, content = writer.make()
        if truth.is_readable:
            return truth, content


def settled(tenants: dict[str, Tenant]) -> bool:
    """Wait until nothing is under way; False when that takes too long."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not all(is_settled(tenant) for tenant in tenants.values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def soak(server: Server, *, documents: int, minutes: float, every_seconds: float, seed: int) -> dict[str, object]:
    """Run and return what happened."""
    rng = random.Random(seed)
    tenants = {}
    for name in (*SHARES, "small"):
        server.ragecho("admin", "workspace", "create", name)
        client = httpx.Client(base_url=server.url, headers={"X-API-Key": server.key(name)}, timeout=60)
        tenants[name] = Tenant(name, client)
    idle, started = memory_of_tree(server.process.pid), time.monotonic()
    with Killer(server, random.Random(seed + 1), every_seconds=every_seconds) as killer:
        waited = feed(tenants, rng, documents=documents, minutes=minutes)
        fed = time.monotonic() - started
    is_over = settled(tenants)
    took = time.monotonic() - started
    wrong = [line for tenant in tenants.values() for line in faults(tenant)]
    for finding in unhealthy(server):
        wrong.append(f"index check: {finding}")
    return {
        "documents": documents + SMALL_DOCUMENTS,
        "left": sum(len(tenant.documents) for tenant in tenants.values()),
        "kills": dict(killer.kills),
        "fed_seconds": round(fed, 1),
        "all_seconds": round(took, 1),
        "small_first_found_seconds": round(waited, 2),
        "settled": is_over,
        "faults": wrong,
        "idle_mb": idle,
        "end_mb": memory_of_tree(server.process.pid),
    }


def unhealthy(server: Server) -> list[str]:
    """Return what the index check finds in all workspaces."""
    try:
        server.ragecho("index", "check", "--json")
    except RuntimeError as error:
        return [str(error)]
    return []


def main() -> int:
    """Soak, print, and say by the exit code whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the documents are spread over")
    parser.add_argument("--kill-every", type=float, default=6.0, help="seconds between kills, about")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with scratch() as folder, serving(folder) as server:
        result = soak(
            server,
            documents=options.documents,
            minutes=options.minutes,
            every_seconds=options.kill_every,
            seed=options.seed,
        )
    show("Soak", [{"what": name, "value": str(value)} for name, value in result.items()])
    write_report("soak", result)
    return 0 if result["settled"] and not result["faults"] else 1


if __name__ == "__main__":
    sys.exit(main())
