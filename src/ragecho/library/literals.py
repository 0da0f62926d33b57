"""Numbers as PostgreSQL reads them: the shortest digits that give the same single-precision numbers."""

import numpy as np
import orjson

from ragecho.ports.embedder import Vectors


def vector_literal(vector: Vectors) -> str:
    """Return pgvector's text form of a vector."""
    return orjson.dumps(np.ascontiguousarray(vector, dtype=np.float32), option=orjson.OPT_SERIALIZE_NUMPY).decode()


def reals_literal(values: Vectors) -> str:
    """Return a real[] literal."""
    return "{" + vector_literal(values)[1:-1] + "}"
