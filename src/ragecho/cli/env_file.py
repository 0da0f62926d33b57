"""Settings in a `.env` file: those that are there are replaced where they stand, others keep their place and comments."""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,~-]*")


def update_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Write `values` into the file, which its owner alone can read afterwards. Replaced whole, so never half written."""
    target = path.resolve()
    lines = target.read_text(encoding="utf-8").splitlines() if target.exists() else []
    left = dict(values)
    kept = []
    for line in lines:
        found = _LINE.match(line)
        name = found.group(1) if found else None
        if name not in values:
            kept.append(line)
        elif name in left:
            kept.append(f"{name}={_quoted(left.pop(name))}")
    kept += [f"{name}={_quoted(value)}" for name, value in left.items()]
    target.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 0600.
    descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join(kept) + "\n")
        Path(draft).replace(target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", "'\\''") + "'"
