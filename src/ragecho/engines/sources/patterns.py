"""Which things of a source are wanted, by patterns as for file names."""

from collections.abc import Sequence
from fnmatch import fnmatchcase


def is_wanted(name: str, *, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Return whether a name matches one of `include` (or there is none) and none of `exclude`."""
    if include and not any(fnmatchcase(name, pattern) for pattern in include):
        return False
    return not any(fnmatchcase(name, pattern) for pattern in exclude)
