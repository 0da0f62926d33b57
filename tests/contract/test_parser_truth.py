"""Every document of the shared collection through the sandbox: read as its ground truth says, or refused for the right reason."""

import asyncio
import json

import psutil
import pytest
from benchmarks.parsing import BASELINE, Reading, data_folder, read_all, report, scores
from benchmarks.parsing_truth import REASONS, by_type, table

from ragecho.engines.ocr import tesseract

MOST_LOST = 0.02
MOST_WORKER_BYTES = 1_000_000_000
MOST_CHILD_BYTES = 2 * 1024**3


@pytest.fixture(scope="module")
def everything() -> tuple[list[Reading], int, int]:
    """Return what became of each document, and the most memory of the zygote and of this process."""
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip("the shared test documents are not here")
    if not tesseract.installed(("eng",))[1]:
        pytest.skip("no model for text recognition is installed")
    before = psutil.Process().memory_info().rss
    readings, zygote_bytes = asyncio.run(read_all(folder))
    return readings, zygote_bytes, psutil.Process().memory_info().rss - before


def test_every_document_is_read_or_refused_for_the_right_reason(everything: tuple[list[Reading], int, int]) -> None:
    outcomes = {one.document.file: one.outcome for one in everything[0]}
    assert outcomes == {file: REASONS.get(file, "ready") for file in outcomes}
    assert set(REASONS) <= set(outcomes)


def test_no_type_is_read_worse_than_before(everything: tuple[list[Reading], int, int]) -> None:
    readings = everything[0]
    print(report(readings))
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    found = scores(readings)
    lost = [
        (name, before, now.get(name, 0.0))
        for now, key in ((by_type(found), "types"),)
        for name, before in baseline[key].items()
        if now.get(name, 0.0) < before - MOST_LOST
    ]
    worse = [
        (file, f"{before:.3f}", f"{found.get(file, 0.0):.3f}")
        for file, before in baseline["files"].items()
        if found.get(file, 0.0) < before - MOST_LOST
    ]
    assert not lost, f"{lost}\n" + table([("file", "before", "now"), *worse])
    assert set(found) == set(baseline["files"])


def test_reading_stays_within_its_memory(everything: tuple[list[Reading], int, int]) -> None:
    readings, zygote_bytes, own_bytes = everything
    assert zygote_bytes + max(0, own_bytes) < MOST_WORKER_BYTES
    assert max(one.peak_bytes for one in readings) < MOST_CHILD_BYTES
