"""Vectors in memory: what is nearest, among what may be read, as a comparison with all of it says."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ragecho.library.resident_vectors import EXACT_UP_TO, Mask, Matrix, ResidentVectors

LARGE = 2 * EXACT_UP_TO
DIMENSIONS = 128
WANTED = 100  # as the product asks


def units(count: int, dimensions: int, *, seed: int) -> Matrix:
    """Return unit vectors in clusters, as texts about the same things have them."""
    rng = np.random.default_rng(seed)
    topics = rng.standard_normal((40, dimensions))
    rows = topics[rng.integers(len(topics), size=count)] + 0.8 * rng.standard_normal((count, dimensions))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


def held(rows: Matrix) -> ResidentVectors:
    vectors = ResidentVectors(rows.shape[1])
    for first in range(0, len(rows), 2_000):
        vectors.add(rows[first : first + 2_000])
    vectors.finish()
    return vectors


@pytest.fixture(scope="module")
def large() -> tuple[Matrix, ResidentVectors]:
    rows = units(LARGE, DIMENSIONS, seed=1)
    return rows, held(rows)


def nearest(rows: Matrix, asked: Matrix, mask: Mask | None, wanted: int) -> NDArray[np.int64]:
    scores = rows @ asked
    if mask is not None:
        scores[~mask] = -2
    return np.argsort(-scores)[:wanted]


@pytest.mark.parametrize("dimensions", [1, 63, 64, 384])
def test_few_vectors_are_all_compared(dimensions: int) -> None:
    rows = units(500, dimensions, seed=2)
    vectors = held(rows)
    for asked in units(5, dimensions, seed=3):
        numbers, scores = vectors.nearest(asked, None, 500)
        assert sorted(numbers) == list(range(500))
        assert scores == pytest.approx(rows[numbers] @ asked, abs=1e-5)
        assert vectors.products(asked, numbers[:7]) == pytest.approx(scores[:7], abs=1e-5)


@pytest.mark.parametrize("share", [None, 0.9, 0.5, 0.2, 0.05, 0.001])
def test_the_nearest_of_many_are_found_among_what_may_be_read(
    large: tuple[Matrix, ResidentVectors], share: float | None
) -> None:
    rows, vectors = large
    mask = None if share is None else np.random.default_rng(4).random(LARGE) < share
    hits = wanted_in_all = 0
    for asked in units(20, DIMENSIONS, seed=5):
        numbers, scores = vectors.nearest(asked, mask, WANTED)
        assert mask is None or mask[numbers].all()
        assert len(numbers) >= min(WANTED, LARGE if mask is None else mask.sum())
        assert scores == pytest.approx(rows[numbers] @ asked, abs=1e-5)
        wanted = nearest(rows, asked, mask, 10)
        hits += len(np.intersect1d(numbers, wanted))
        wanted_in_all += len(wanted)
    assert hits >= 0.98 * wanted_in_all


def test_what_may_be_read_is_found_though_all_that_is_near_is_somebody_elses(
    large: tuple[Matrix, ResidentVectors],
) -> None:
    rows, vectors = large
    asked = units(1, DIMENSIONS, seed=6)[0]
    mask = np.ones(LARGE, dtype=bool)
    mask[nearest(rows, asked, None, LARGE // 2)] = False
    numbers, _ = vectors.nearest(asked, mask, WANTED)
    assert mask[numbers].all()
    assert set(nearest(rows, asked, mask, WANTED)) == set(numbers)


def test_nothing_is_found_where_nothing_may_be_read_or_is_there(large: tuple[Matrix, ResidentVectors]) -> None:
    asked = units(1, DIMENSIONS, seed=7)[0]
    assert [len(part) for part in large[1].nearest(asked, np.zeros(LARGE, dtype=bool), WANTED)] == [0, 0]
    nothing = held(np.empty((0, DIMENSIONS), dtype=np.float32))
    assert [len(part) for part in nothing.nearest(asked, None, WANTED)] == [0, 0]


def test_no_more_memory_is_taken_than_was_asked_for(large: tuple[Matrix, ResidentVectors]) -> None:
    assert 0 < large[1].nbytes <= LARGE * ResidentVectors.bytes_per_vector(DIMENSIONS)
