"""The record of runs: one JSON line each, and what changed from one to the next."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ragecho.evals.run import Result
from ragecho.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Step:
    """One run beside the run before it of the same suite and mode; `changes` has no entry where there was none."""

    at: str
    suite: str
    mode: str
    version: str
    questions: int
    values: dict[str, float]
    changes: dict[str, float]


def record_of(result: Result, *, mode: str, settings: Mapping[str, Any], at: datetime | None = None) -> dict[str, Any]:
    """Return what is kept of a run."""
    return {
        "at": (at or datetime.now(UTC)).isoformat(timespec="seconds"),
        "suite": result.suite,
        "mode": mode,
        "version": package_version(),
        "commit": source_commit(),
        "settings": dict(settings),
        "documents": result.loaded.documents,
        "chunks": result.loaded.chunks,
        "failed": [list(entry) for entry in result.loaded.failed],
        "ingest_seconds": round(result.loaded.seconds, 1),
        "question_ms": result.question_ms,
        "metrics": {name: asdict(estimate) for name, estimate in result.estimates.items()},
        "refusals": asdict(result.refusals) if result.refusals else None,
        "scores": {
            name: {question: round(value, 4) for question, value in values.items()}
            for name, values in result.scores.items()
        },
    }


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one run to the file, which is made where it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the runs, oldest first; none where there is no file. Raises `InvalidInput` for a damaged line."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InvalidInput(f"{path}:{number} is not valid JSON.") from error


def steps(records: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> list[Step]:
    """Return every run with its differences to the one before of the same suite, mode and number of questions."""
    before: dict[tuple[str, str, int], dict[str, float]] = {}
    found = []
    for record in records:
        values = {name: float(metric["value"]) for name, metric in record["metrics"].items()}
        questions = max((int(metric["questions"]) for metric in record["metrics"].values()), default=0)
        key = (record["suite"], record["mode"], questions)
        last = before.get(key, {})
        found.append(
            Step(
                at=record["at"],
                suite=record["suite"],
                mode=record["mode"],
                version=record["version"] + (f"+{record['commit']}" if record.get("commit") else ""),
                questions=questions,
                values=values,
                changes={name: value - last[name] for name, value in values.items() if name in last},
            )
        )
        before[key] = values
    return found


def package_version() -> str:
    """Return the installed version."""
    try:
        return version("ragecho")
    except PackageNotFoundError:
        return "unknown"


def source_commit() -> str | None:
    """Return the short commit of the source tree this runs from; None for an installed package."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            ["git", "-C", str(folder), "describe", "--always", "--dirty"],  # noqa: S607 - git is found on the path
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
