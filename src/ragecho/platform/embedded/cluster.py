"""Makes and checks PostgreSQL's data directory; everything here happens before a server runs on it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.platform.embedded.account import Account, hand_over
from ragecho.platform.embedded.binaries import Binaries
from ragecho.platform.embedded.launch import tied_command
from ragecho.platform.embedded.layout import OWNER_ROLE, Layout
from ragecho.platform.embedded.tuning import SYNC_METHOD, render

# A first start writes 40 MB of cluster and 16 MB of log; a later one needs room for one more log segment.
_FREE_BYTES_NEEDED = 128 << 20
_INCLUDE_LINE = "include 'ragecho.conf'"
_INITDB_TIMEOUT_SECONDS = 300

_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # our interpreter, which launches them, may need these


def program_environment() -> dict[str, str]:
    """Return the environment of PostgreSQL's programs; PGPORT, PGDATA, PGOPTIONS and their like would bend them."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", **kept}


def check_free_space(data_dir: Path) -> None:
    """Raise Unavailable while the disk is nearly full: PostgreSQL would stop in the middle of its recovery."""
    free_bytes = shutil.disk_usage(data_dir).free
    if free_bytes < _FREE_BYTES_NEEDED:
        raise Unavailable(
            f"the disk of {data_dir} has {free_bytes >> 20} MB left and the database needs "
            f"{_FREE_BYTES_NEEDED >> 20} MB to start; free some space and start again",
            free_bytes=free_bytes,
        )


def ensure_cluster(layout: Layout, binaries: Binaries, account: Account, capability: int) -> None:
    """After this `layout.cluster_dir` is a cluster that these binaries can open, owned by `account`."""
    cluster = layout.cluster_dir
    if not cluster.exists() or not any(cluster.iterdir()):
        _make_cluster(layout, binaries, account, capability)
    _check_version(cluster, binaries)
    owner_uid = cluster.stat().st_uid
    if not account.is_other and owner_uid != account.uid:
        raise ConfigurationError(
            f"{cluster} belongs to another user (uid {owner_uid}); start Echo as that user or as root, "
            f"or run: chown -R {account.uid} {layout.data_dir}"
        )
    hand_over(cluster, account)
    cluster.chmod(0o700)


def _check_version(cluster: Path, binaries: Binaries) -> None:
    version_file = cluster / "PG_VERSION"
    if not version_file.exists():
        raise ConfigurationError(
            f"{cluster} is not a PostgreSQL cluster; move it away, or choose another folder with RAGECHO_DATA_DIR"
        )
    found = version_file.read_text(encoding="ascii", errors="replace").strip()
    if found != str(binaries.major_version):
        raise ConfigurationError(
            f"{cluster} was made by PostgreSQL {found} and this Echo brings PostgreSQL {binaries.major_version}; "
            "run `ragecho backup create` with the Echo version that made it, then `ragecho backup restore` with this "
            "one into a new RAGECHO_DATA_DIR",
            found=found,
        )


def _make_cluster(layout: Layout, binaries: Binaries, account: Account, capability: int) -> None:
    """Run initdb beside the final name and rename: a kill leaves a rest that the next start clears away."""
    unfinished = layout.unfinished_dir
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    hand_over(unfinished, account)
    command = [
        *(str(binaries.program("initdb")), "-D", str(unfinished), "-U", OWNER_ROLE, "-A", "trust"),
        *("--locale-provider=builtin", "--locale=C.UTF-8", "--encoding=UTF8", "--no-instructions"),
        f"--sync-method={SYNC_METHOD}",
    ]
    identity = account.launch_arguments(capability)
    result = subprocess.run(  # noqa: S603 - a program of the installed wheel, by its full path
        tied_command(command, death_signal=signal.SIGTERM, identity=identity),
        env=program_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INITDB_TIMEOUT_SECONDS,
    )
    if result.returncode != 0:
        raise failure("initdb failed", result.stderr.strip().splitlines()[-5:])
    descriptor = os.open(unfinished / "postgresql.conf", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(f"\n{_INCLUDE_LINE}\n")
    if layout.cluster_dir.exists():
        layout.cluster_dir.rmdir()  # an empty directory, perhaps made by hand
    unfinished.rename(layout.cluster_dir)


def write_settings(layout: Layout, settings: Mapping[str, str], account: Account) -> None:
    """Replace `ragecho.conf`.

    The directory belongs to a less trusted account than root: a new file that must not exist is written and renamed,
    so no link planted there can lead the write elsewhere.
    """
    fresh = layout.config_file.with_suffix(".tmp")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(render(settings))
        if account.is_other:
            os.fchown(file.fileno(), account.uid, account.gid)
    fresh.replace(layout.config_file)


def remove_stale_pid_file(layout: Layout) -> None:
    """Take away `postmaster.pid` after a crash.

    For the holder of the lock, once no process of the cluster is alive. PostgreSQL clears a stale one itself unless
    its pid is in use again by the same user, which in a container with its low pids it usually is.
    """
    layout.pid_file.unlink(missing_ok=True)


def failure(what: str, last_lines: list[str]) -> Unavailable:
    """Make the error that says `what`, quotes the server's own words, and names the fix where the words are known."""
    quoted = "\n  ".join(last_lines)
    if "No space left on device" in quoted or "Disk quota exceeded" in quoted:
        return Unavailable(f"the database's disk is full; free some space and start again. {what}:\n  {quoted}")
    if "could not create shared memory segment" in quoted or "Cannot allocate memory" in quoted:
        return Unavailable(f"the database got too little memory; raise this machine's limit. {what}:\n  {quoted}")
    return Unavailable(f"the embedded PostgreSQL: {what}; its last words:\n  {quoted or '(none)'}")
