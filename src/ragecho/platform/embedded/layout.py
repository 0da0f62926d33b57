"""Where the embedded server's files lie under a data directory, and the address that follows from it."""

import contextlib
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ragecho.kernel.errors import ConfigurationError

DATABASE = "ragecho"
OWNER_ROLE = "postgres"
APP_ROLE = "ragecho_app"
PORT = 5432  # only names the socket file: the server has no TCP address
# sockaddr_un.sun_path holds 108 bytes on Linux and 104 on the BSDs and macOS, with the closing zero.
_SOCKET_PATH_MAX_BYTES = 107 if os.uname().sysname == "Linux" else 103


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """The address of a running embedded server. Whoever can enter `socket_dir` is trusted: it has mode 0700."""

    socket_dir: Path
    port: int

    @property
    def owner_url(self) -> str:
        """For migrations and administration: the superuser."""
        return self._url(OWNER_ROLE)

    @property
    def app_url(self) -> str:
        """For the application: the role that row-level security binds; migrations create it."""
        return self._url(APP_ROLE)

    def _url(self, role: str) -> str:
        return f"postgresql://{role}@/{DATABASE}?host={quote(str(self.socket_dir), safe='/')}&port={self.port}"


@dataclass(frozen=True, slots=True)
class Layout:
    """Every path of one embedded server, derived from its (resolved) data directory."""

    data_dir: Path

    @property
    def cluster_dir(self) -> Path:
        """PostgreSQL's own directory."""
        return self.data_dir / "postgres"

    @property
    def unfinished_dir(self) -> Path:
        """Where a cluster is made before it gets its name, so that a kill never leaves half of one."""
        return self.data_dir / "postgres.new"

    @property
    def log_file(self) -> Path:
        """The server's log: warnings and errors, without statements or row contents."""
        return self.data_dir / "postgres.log"

    @property
    def lock_file(self) -> Path:
        """Locked by the owning process for the life of the server; holds its pid, for messages only."""
        return self.data_dir / "postgres.lock"

    @property
    def config_file(self) -> Path:
        """Written at each start; `postgresql.auto.conf` (ALTER SYSTEM) still wins over it."""
        return self.cluster_dir / "ragecho.conf"

    @property
    def pid_file(self) -> Path:
        """Written by the postmaster: pid, data directory, start time, port, socket directory, address, key, status."""
        return self.cluster_dir / "postmaster.pid"

    @property
    def title(self) -> str:
        """`cluster_name`: every server process shows it, so the processes of this cluster can be told from others."""
        return f"ragecho-{hashlib.sha256(os.fsencode(self.cluster_dir)).hexdigest()[:12]}"

    @property
    def socket_dir(self) -> Path:
        """In the data directory, or a short path made from it when that one is too long for a socket."""
        inside = self.data_dir / "postgres-run"
        if len(os.fsencode(inside / f".s.PGSQL.{PORT}")) <= _SOCKET_PATH_MAX_BYTES:
            return inside
        parent = Path("/run") if os.geteuid() == 0 and Path("/run").is_dir() else Path(tempfile.gettempdir())
        return parent / f"{self.title}-{os.geteuid()}"


def prepare_socket_dir(path: Path, uid: int, gid: int) -> None:
    """Make `path` an empty directory that only `uid` can enter; raises ConfigurationError when somebody else's is there.

    Called under the data directory's lock, with no server of this cluster alive: what is inside is left over from a
    crash. A lock file there would keep the server from starting if its pid belongs to another process by now.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    # Root may take over what another account's server used, where nobody else could have put it there.
    is_ours = found.st_uid in {uid, os.geteuid()}
    is_safe_to_take = os.geteuid() == 0 and not path.parent.stat().st_mode & stat.S_IWOTH
    if not stat.S_ISDIR(found.st_mode) or not (is_ours or is_safe_to_take):
        raise ConfigurationError(f"{path} is needed for the database's socket but belongs to somebody else; remove it")
    if found.st_uid != uid:
        os.chown(path, uid, gid, follow_symlinks=False)
    path.chmod(0o700)
    for leftover in path.glob(".s.PGSQL.*"):
        leftover.unlink(missing_ok=True)
