"""Numbers as PostgreSQL reads them: the shortest digits that give the same single-precision numbers."""

import numpy as np
import orjson
from numpy.typing import NDArray


def vector_literal(vector: NDArray[np.floating]) -> str:
    """Return pgvector's text form of a vector."""
    return orjson.dumps(np.ascontiguousarray(vector, dtype=np.float32), option=orjson.OPT_SERIALIZE_NUMPY).decode()


def reals_literal(values: NDArray[np.floating]) -> str:
    """Return a real[] literal; what is not a number becomes null."""
    return "{" + vector_literal(values)[1:-1] + "}"
