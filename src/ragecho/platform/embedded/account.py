"""Under which user the server runs. PostgreSQL refuses root, so root hands it to an account that can do nothing else.

A data directory or virtual environment below a closed home (such as /root, mode 0700) cannot be reached by that
account. Opening the home, or moving the data away from where the operator put it (and perhaps mounted a volume), would
both be worse than what is done then: the server keeps one Linux capability of root's across the change of user, to
search and read directories (CAP_DAC_READ_SEARCH; in containers, which by default lack it, CAP_DAC_OVERRIDE). The rest
of the product runs as root in that case, so nothing gains a right that its parent does not have.
"""

import os
import pwd
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ragecho.kernel.errors import ConfigurationError

_PREFERRED_ACCOUNTS = ("postgres", "nobody", "daemon")
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAP_SETPCAP = 8  # needed to keep another
UNCHANGED = -1


@dataclass(frozen=True, slots=True)
class Account:
    """The user of the server's processes; `is_other` when that is not the user of this process."""

    uid: int
    gid: int
    is_other: bool

    def launch_arguments(self, capability: int) -> list[str]:
        """Say the last three of the launcher's numbers."""
        if not self.is_other:
            return [str(UNCHANGED)] * 3
        return [str(self.uid), str(self.gid), str(capability)]


def choose_account(cluster_dir: Path) -> Account:
    """Ourselves, or for root the owner of the cluster, else a system account; initdb needs one from /etc/passwd."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), is_other=False)
    if cluster_dir.exists():
        owner_uid = cluster_dir.stat().st_uid
        known = [entry for entry in pwd.getpwall() if entry.pw_uid == owner_uid != 0]
        if known:
            return Account(known[0].pw_uid, known[0].pw_gid, is_other=True)
    for name in _PREFERRED_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid, is_other=True)
    raise ConfigurationError(
        "PostgreSQL refuses to run as root and this system has no account to run it (postgres, nobody, daemon); "
        "create one, start Echo as an ordinary user, or set RAGECHO_DATABASE_URL"
    )


def needed_capability(account: Account, directories: Iterable[Path], programs: Iterable[Path]) -> int:
    """Find the Linux capability without which `account` cannot reach these paths; UNCHANGED when it needs none."""
    if not account.is_other:
        return UNCHANGED
    programs = list(programs)
    may_run = all(program.stat().st_mode & 0o005 == 0o005 for program in programs)  # noqa: PLR2004 - r-x for others
    if may_run and all(_can_traverse(account, path) for path in (*directories, *programs)):
        return UNCHANGED
    held = _effective_capabilities()
    wanted = (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if may_run else (_CAP_DAC_OVERRIDE,)
    for capability in wanted:
        if held >> capability & held >> _CAP_SETPCAP & 1:
            return capability
    raise ConfigurationError(
        "the account that runs PostgreSQL for root cannot reach the data directory or the installed programs; start "
        "Echo as an ordinary user, or move both out of closed directories (RAGECHO_DATA_DIR names the first)"
    )


def _can_traverse(account: Account, path: Path) -> bool:
    """Whether every directory above `path` lets `account` through, by owner and mode (access lists only widen)."""
    for parent in path.resolve().parents:
        found = parent.stat()
        bit = 0o100 if found.st_uid == account.uid else 0o010 if found.st_gid == account.gid else 0o001
        if not found.st_mode & bit:
            return False
    return True


def _effective_capabilities() -> int:
    if sys.platform != "linux":
        return 0
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def hand_over(path: Path, account: Account) -> None:
    """Give the tree at `path` to `account`; nothing to do for ourselves, or where it already is the owner."""
    if not account.is_other or path.stat().st_uid == account.uid:
        return
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            os.chown(Path(folder) / name, account.uid, account.gid, follow_symlinks=False)
        # The folder last and the root of the tree last of all: an interrupted walk is seen as undone and repeated.
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
