"""Unit vectors in memory: exact ones of half precision, as the database has them, and from some size on small codes.

Up to EXACT_UP_TO of those that may be read are all compared. Of more, codes of two bits per dimension (product quantisation
in registers: André, Kermarrec, Le Scouarnec 2017, as Faiss has it) say which few are worth it. Both are scans: nothing
leads past what may be read, and there is no graph to keep up. docs/how-to/benchmark.md has times and recall.
"""

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

EXACT_UP_TO: Final = 10_000
# So many times what is wanted is compared exactly: recall@10 .999, recall@100 .95 on 100 000 of the benchmark's vectors.
_COMPARED: Final = 4
_MORE: Final = 1.25
# Where less than an eighth may be read, comparing all of that is quicker than what the codes would have to bring.
_CODES_FROM: Final = 8
_DIMENSIONS_PER_CODE: Final = 2
_BYTES_PER_COMPONENT: Final = 2
_LEARNT_FROM: Final = 8_192
_BLOCK: Final = 4_096


class ResidentVectors:
    """Vectors by number, made of what comes piece by piece: `add` all, then `finish`."""

    def __init__(self, dimensions: int) -> None:
        self._padding = dimensions % _DIMENSIONS_PER_CODE
        self._dimensions = dimensions + self._padding
        self._exact = _faiss().IndexScalarQuantizer(
            self._dimensions, _faiss().ScalarQuantizer.QT_fp16, _faiss().METRIC_INNER_PRODUCT
        )
        self._refined: Any = None

    @staticmethod
    def bytes_per_vector(dimensions: int) -> int:
        """Return the memory that one takes at most."""
        even = dimensions + dimensions % _DIMENSIONS_PER_CODE
        return even * _BYTES_PER_COMPONENT + even // _DIMENSIONS_PER_CODE // 2 + 1

    def __len__(self) -> int:
        return int(self._exact.ntotal)

    def add(self, rows: Matrix) -> None:
        """Add vectors, (some, dimensions), in the order of their numbers. CPU work."""
        self._exact.add(self._padded(rows))

    def finish(self) -> None:
        """Make the codes once all vectors are there. CPU work, 1.5 s for 100 000."""
        total = len(self)
        if total <= EXACT_UP_TO:
            return
        codes = _faiss().IndexPQFastScan(
            self._dimensions, self._dimensions // _DIMENSIONS_PER_CODE, 4, _faiss().METRIC_INNER_PRODUCT
        )
        sample = np.linspace(0, total - 1, min(total, _LEARNT_FROM)).astype(np.int64)
        codes.train(self._exact.reconstruct_batch(sample))
        for first in range(0, total, _BLOCK):
            codes.add(self._exact.reconstruct_n(first, min(_BLOCK, total - first)))
        self._refined = _faiss().IndexRefine(codes, self._exact)
        self._refined.k_factor = _COMPARED

    @property
    def nbytes(self) -> int:
        """Memory that is held."""
        codes = 0 if self._refined is None else self._refined.base_index.sa_code_size()
        bytes_each: int = self._exact.code_size + codes
        return len(self) * bytes_each

    def nearest(self, vector: Matrix, mask: Mask | None, wanted: int) -> tuple[Numbers, Matrix]:
        """Return the numbers and inner products of the `wanted` nearest at least, in no order.

        Only those that `mask` holds true; None for all.
        """
        total = len(self)
        found = total if mask is None else int(np.count_nonzero(mask))
        if not found:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        asked, wanted = self._asked(vector)[None], min(wanted, found)
        if self._refined is not None and found > max(EXACT_UP_TO, total // _CODES_FROM):
            # The codes know no mask: as many more are asked for as will probably not be readable.
            more = wanted if mask is None else int(_MORE * wanted * total / found)
            scores, numbers = self._refined.search(asked, min(more, total // _COMPARED))
            is_readable = slice(None) if mask is None else mask[numbers[0]]
            if len(numbers[0][is_readable]) >= wanted:
                return numbers[0][is_readable], scores[0][is_readable]
        # Few may be read, or what may be read lies far from the question.
        scores, numbers = self._exact.search(asked, wanted, params=_among(mask))
        return numbers[0], scores[0]

    def products(self, vector: Matrix, numbers: Numbers) -> Matrix:
        """Return the inner products of `vector` with those of `numbers`."""
        products: Matrix = np.dot(self._exact.reconstruct_batch(numbers), self._asked(vector))
        return products

    def _asked(self, vector: Matrix) -> Matrix:
        # Stored vectors are of half precision, and so is the question's where the database compares them.
        asked: Matrix = self._padded(vector[None].astype(np.float16))[0]
        return asked

    def _padded(self, rows: NDArray[np.floating]) -> Matrix:
        padded = np.pad(rows, ((0, 0), (0, self._padding))) if self._padding else rows
        return np.ascontiguousarray(padded, dtype=np.float32)


def _among(mask: Mask | None) -> Any:
    """Return Faiss's parameters for a search among what `mask` holds true."""
    if mask is None:
        return None
    selector = _faiss().IDSelectorBitmap(np.packbits(mask, bitorder="little"))
    return _faiss().SearchParameters(sel=selector)


@cache
def _faiss() -> Any:
    """Import Faiss once something is held: it takes 40 MB."""
    import faiss

    return faiss
