"""Every command of the README and the guides works as written, from a fresh copy of the tree.

The README is followed first, as a newcomer does; its server stays up while the other pages are followed one by one. No
address outside this machine can be reached meanwhile. Blocks that are not run are listed as skipped, with the reason.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.docs.documented import Block, Reader, blocks_of, exchanges, missing_line

from ragecho.engines.models.catalogue import default_models
from ragecho.engines.models.store import default_model_dir, missing_files
from ragecho.platform.embedded import EmbeddedPostgres
from ragecho.platform.embedded.binaries import find_binaries

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GUIDES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md")), ROOT / "CONTRIBUTING.md"]
SKIPPED = [block for page in (README, *GUIDES) for block in blocks_of(page) if "skip" in block.attributes]

pytestmark = pytest.mark.timeout(1200)


class CannedModel(BaseHTTPRequestHandler):
    """A double that speaks OpenAI's streaming chat protocol and always says the same. It is no model."""

    said = "The late fee is 20 cents per item and day, starting on the third day after the due date [1]."

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for delta, finish in (({"role": "assistant", "content": self.said}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy_of_the_tree(folder: Path) -> None:
    """Copy what a clone of this state would hold, and lend it the installed environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name in (".venv", ".tools"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)


def is_set_up() -> bool:
    """Return whether `make serve` would find everything installed, by the stamps of scripts/setup.sh."""

    def has_stamp(part: str, *names: str) -> bool:
        digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()[:32]
        return (ROOT / ".venv" / ".stamps" / f"{part}-{digest}").exists()

    return has_stamp("base", "requirements/base.txt", "requirements/build.txt") and has_stamp(
        "project", "pyproject.toml", "sdk/pyproject.toml"
    )


@pytest.fixture(scope="module")
def model_server() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), CannedModel)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def external_postgres(page: Path, folder: Path) -> Iterator[list[tuple[re.Pattern[str], str]]]:
    """Run a server that plays db.example.com, for a page that names it; yields what to write instead of the address."""
    if "@db.example.com/" not in page.read_text(encoding="utf-8"):
        yield []
        return
    with EmbeddedPostgres(folder / "external") as postgres:
        server = postgres.address
        yield [
            (
                re.compile(r"postgresql://(\w+)(?::[^@]*)?@db\.example\.com/(\w+)"),
                rf"postgresql://\1@/\2?host={server.socket_dir}&port={server.port}",
            )
        ]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory, model_server: int) -> Iterator[Reader]:
    """Someone with a fresh clone and nothing else set."""
    if any(missing_files(default_model_dir(), spec) for spec in default_models()):
        pytest.skip("the model weights are not here; `ragecho models fetch` brings them")
    folder = tmp_path_factory.mktemp("clone")
    copy_of_the_tree(folder)
    ports = {"8000": free_port(), "8001": free_port(), "8080": model_server}
    closed = "http://127.0.0.1:9"  # the discard port: whoever asks this proxy gets nothing
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAGECHO_")}
    if "RAGECHO_MODEL_DIR" in os.environ:
        kept["RAGECHO_MODEL_DIR"] = os.environ["RAGECHO_MODEL_DIR"]
    reader = Reader(
        folder=folder,
        state=folder.parent / f"{folder.name}.state",
        environment=kept
        | {
            "PATH": f"{os.environ['PATH']}:{find_binaries().bin_dir}",  # psql, which an operator has
            "RAGECHO_PORT": str(ports["8000"]),
            "RAGECHO_SERVER": f"http://127.0.0.1:{ports['8000']}",
            "RAGECHO_MODELS_OFFLINE": "1",
            "HTTP_PROXY": closed,
            "HTTPS_PROXY": closed,
            "NO_PROXY": "127.0.0.1,localhost",
            "PIP_NO_INDEX": "1",
            "UV_OFFLINE": "1",
        },
        replacements=[
            # Without `make test`, which sets everything up, `make serve` would install; then only its last line is run.
            *([] if is_set_up() else [(re.compile(r"^make serve$", re.MULTILINE), "exec .venv/bin/ragecho serve")]),
            *(
                (re.compile(rf"(?<=127\.0\.0\.1:){port}\b|(?<=--port ){port}\b"), str(real))
                for port, real in ports.items()
            ),
        ],
    )
    yield reader
    reader.stop()


@pytest.fixture(scope="module")
def settled(newcomer: Reader) -> Reader:
    """Someone who has followed the README, and whose server runs."""
    newcomer.follow(README)
    return newcomer


def test_the_readme_works_as_written(settled: Reader) -> None:
    assert settled.running, "the README starts a server"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_a_guide_works_as_written(page: Path, settled: Reader, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copy(settled.state, state)
    with external_postgres(page, tmp_path) as replacements:
        reader = Reader(settled.folder, state, settled.environment, [*settled.replacements, *replacements])
        try:
            reader.follow(page)
        finally:
            reader.stop()


@pytest.mark.parametrize("block", SKIPPED, ids=str)
def test_a_block_that_is_not_run_says_why(block: Block) -> None:
    assert block.attributes["skip"], f"{block} names no reason"
    pytest.skip(f"{block} is not run: {block.attributes['skip']}")


def test_shown_output_is_compared_in_order_and_by_its_key_words() -> None:
    [(command, shown)] = exchanges(
        "$ ragecho ask \\\n    'x'\nIt is 4 euros. [1]\n…\nextractive · 12 ms · confidence 0.90"
    )
    assert command == "ragecho ask \\\n    'x'"
    real = "It is 4 euros. [1]\nmore\nextractive · 312 ms · confidence 0.71\n"
    assert missing_line(shown, real) is None
    assert missing_line(["It is 5 euros. [1]"], real) == "It is 5 euros. [1]"
    assert missing_line(list(reversed(shown)), real) == "It is 4 euros. [1]"
