"""How well and how fast documents are read: `python -m benchmarks.parsing [--update] [FOLDER]`.

Prints for each type the token F1 against ground truth, milliseconds and processor time per page, and the most memory
of a parsing process; then the most memory of this process and of the zygote. `--update` writes the baseline that the
test of the ground truth compares with.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.parsing_truth import Truth, by_type, collection, recall, score, table
from ragecho.engines.parsing import Ocr, SandboxedParser
from ragecho.engines.parsing.channel import Ended
from ragecho.kernel.errors import ParseFailed
from ragecho.ports.parser import ParseLimits

BASELINE = Path(__file__).with_name("parsing_baseline.json")
LANGUAGES = ("eng",)  # whose model comes in a wheel, so that every machine reads the same


@dataclass(slots=True)
class Reading:
    """What became of a document. `outcome` is "ready" or the reason of the failure."""

    document: Truth
    outcome: str
    text: str = ""
    pages: int = 1
    wall_ms: float = 0.0
    cpu_ms: int = 0
    peak_bytes: int = 0

    @property
    def score(self) -> float | None:
        """How well it was read, None without truth."""
        return score(self.document, self.text)


def data_folder() -> Path:
    """Return the folder of the shared documents."""
    root = os.environ.get("RAGECHO_TEST_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
    return Path(root) / "documents"


async def read_all(folder: Path) -> tuple[list[Reading], int]:
    """Return what became of every document, read one after the other, and the most memory that the zygote had."""
    costs: list[Ended] = []
    found = []
    zygote_bytes = 0
    async with SandboxedParser(max_concurrency=2, ocr=Ocr(languages=LANGUAGES), on_ended=costs.append) as parser:
        for document in collection(folder):
            costs.clear()
            start = time.perf_counter()
            reading = await _read(parser, folder, document)
            reading.wall_ms = (time.perf_counter() - start) * 1000
            reading.cpu_ms = sum(one.cpu_ms for one in costs)
            reading.peak_bytes = max((one.peak_bytes for one in costs), default=0)
            found.append(reading)
            zygote_bytes = max(zygote_bytes, psutil.Process(parser.zygote_pid).memory_info().rss)
    return found, zygote_bytes


async def _read(parser: SandboxedParser, folder: Path, document: Truth) -> Reading:
    path = folder / document.file
    passwords = (document.password,) if document.password else ()
    try:
        read = await parser.parse(
            path, filename=path.name, content_type=None, limits=ParseLimits(), passwords=passwords
        )
    except ParseFailed as error:
        return Reading(document, error.reason)
    return Reading(document, "ready", read.text, max(1, len(read.pages)))


def scores(readings: list[Reading]) -> dict[str, float]:
    """Return the score of each file that has truth."""
    return {one.document.file: one.score for one in readings if one.score is not None}


def report(readings: list[Reading]) -> str:
    """Return the table of types."""
    groups: dict[str, list[Reading]] = defaultdict(list)
    for one in readings:
        groups[one.document.type].append(one)
    means = by_type(scores(readings))
    rows = [("type", "files", "ready", "F1", "recall", "pages", "ms/page", "cpu ms/page", "peak MB")]
    for kind, ones in sorted(groups.items()):
        pages = sum(one.pages for one in ones)
        recalls = [recall(one.text, one.document.text) for one in ones if one.document.text is not None]
        rows.append(
            (
                kind,
                str(len(ones)),
                str(sum(one.outcome == "ready" for one in ones)),
                f"{means[kind]:.3f}" if kind in means else "–",
                f"{sum(recalls) / len(recalls):.3f}" if recalls else "–",
                str(pages),
                f"{sum(one.wall_ms for one in ones) / pages:.0f}",
                f"{sum(one.cpu_ms for one in ones) / pages:.0f}",
                f"{max(one.peak_bytes for one in ones) / 1e6:.0f}",
            )
        )
    return table(rows)


def main() -> None:
    """Read the documents and print the tables."""
    arguments = [one for one in sys.argv[1:] if one != "--update"]
    folder = Path(arguments[0]) if arguments else data_folder()
    readings, zygote_bytes = asyncio.run(read_all(folder))
    rows = [("file", "outcome", "score", "pages", "ms", "peak MB")]
    for one in readings:
        shown = f"{one.score:.3f}" if one.score is not None else "–"
        peak = f"{one.peak_bytes / 1e6:.0f}"
        rows.append((one.document.file, one.outcome, shown, str(one.pages), f"{one.wall_ms:.0f}", peak))
    print(table(rows), report(readings), sep="\n\n")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"\nThis process: {own / 1e6:.0f} MB at most; the zygote: {zygote_bytes / 1e6:.0f} MB.")
    if "--update" in sys.argv:
        found = scores(readings)
        content = {"types": by_type(found), "files": {file: round(one, 4) for file, one in sorted(found.items())}}
        BASELINE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
