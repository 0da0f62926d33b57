"""One real `ragecho serve`, people who can sign in, and Node with other people's clients."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from tests.conformance.node import Node, require_node
from tests.e2e.conftest import Server, clean_environment, serving
from tests.e2e.identity_driver import Person, make_people

HERE = Path(__file__).parent
PEOPLE = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one module ended."""

    status: str
    error: str


@pytest.fixture(scope="session")
def node() -> Node:
    return require_node()


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("conformance")) as server:
        yield server


@pytest.fixture(scope="session")
def people(provider: Server) -> list[Person]:
    return make_people(provider, PEOPLE)


@pytest.fixture(scope="session")
def outcomes(node: Node, provider: Server, people: list[Person]) -> dict[str, Outcome]:
    """What every module said, by its name. They run once, together, each in a browser of its own."""
    return run_node(node, provider, people, *sorted(path.name for path in HERE.glob("*.test.mjs")))


def run_node(node: Node, provider: Server, people: list[Person], *files: str) -> dict[str, Outcome]:
    """Run tests with Node's own runner and return how each ended."""
    done = subprocess.run(
        [node.node, "--test", "--test-reporter=./lib/reporter.mjs", *files],
        cwd=HERE,
        env=clean_environment(provider.data_dir)
        | {
            "ECHO_ISSUER": f"{provider.url}/identity",
            "ECHO_PEOPLE": json.dumps([asdict(one) | {"id": str(one.id)} for one in people]),
            "ECHO_ROTATE": json.dumps([sys.executable, "-m", "ragecho", "identity", "keys", "rotate"]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    found: dict[str, Outcome] = {}
    for line in done.stdout.splitlines():
        said = json.loads(line)
        assert said["name"] not in found, f"{said['name']} ran twice"
        found[said["name"]] = Outcome(said["status"], said["error"])
    assert found, f"node ran nothing:\n{done.stdout}\n{done.stderr}"
    return found
