"""How much memory there is for this process."""

import os
from pathlib import Path

_UNLIMITED_BYTES = 1 << 60  # cgroup v1 says "no limit" with a number near 2^63


def memory_limit_bytes(cgroup_root: Path = Path("/sys/fs/cgroup"), own_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """Return the memory this process may use: the machine's, or its control group's limit (v2 or v1) when that is lower."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _limit_files(cgroup_root, own_cgroup):
        try:
            text = file.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit() and 0 < int(text) < _UNLIMITED_BYTES:
            limits.append(int(text))
    return min(limits)


def _limit_files(root: Path, own_cgroup: Path) -> list[Path]:
    """Limit files of our group and of all above it: any of them binds."""
    files = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    try:
        lines = own_cgroup.read_text(encoding="utf-8").splitlines()
    except OSError:
        return files
    for line in lines:  # hierarchy-id:controllers:path, cgroups(7)
        _, controllers, path = line.split(":", 2)
        is_v2, is_v1 = controllers == "", "memory" in controllers.split(",")
        if not (is_v1 or is_v2):
            continue
        base, name = (root, "memory.max") if is_v2 else (root / "memory", "memory.limit_in_bytes")
        group = base / path.lstrip("/")
        files += [folder / name for folder in (group, *group.parents) if folder.is_relative_to(base)]
    return files
