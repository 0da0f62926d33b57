"""Prepared vectors: as many as wanted, distributed like those of real sentences.

Each is a sentence's vector mixed with four of its neighbours and moved along the difference of two other sentences. What
the bundled model makes of 24 000 real sentences has a local intrinsic dimension of 27 (31 for 6 000: it falls with the
number), the nearest neighbour lies at a cosine of .81 and the tenth at .74; 100 000 prepared ones have 30, .84 and .80.
Without this care a graph's recall says little: mixtures of three far passages with noise had 37 to 71.
"""

import random
import re

import numpy as np
from numpy.typing import NDArray

from benchmarks.texts import Texts
from ragecho.platform.settings import Settings
from ragecho.wiring import build_embedder

POOL = 4000
NEIGHBOURS = 100
MIXED = 4
MOVED = 0.42
BLOCK = 5000
Matrix = NDArray[np.float32]


async def embed_sentences(texts: Texts) -> Matrix:
    """Return the vectors of sentences of the texts: what prepared vectors are made of."""
    sentences = {
        sentence.strip()
        for _, body in texts.passages
        for sentence in re.split(r"(?<=[.!?])\s+", body)
        if len(sentence.split()) > 5
    }
    chosen = sorted(sentences)
    random.Random(1).shuffle(chosen)
    return await build_embedder(Settings()).embed_passages([one[:260] for one in chosen[:POOL]])


def prepared(pool: Matrix, count: int, seed: int = 1) -> Matrix:
    """Return `count` unit vectors, (count, dimensions)."""
    generator = np.random.default_rng(seed)
    reach = min(NEIGHBOURS, len(pool) - 1)
    likeness = pool @ pool.T
    np.fill_diagonal(likeness, -2)
    neighbours = np.argpartition(-likeness, reach - 1, axis=1)[:, :reach]
    made = np.empty((count, pool.shape[1]), dtype=np.float32)
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        chosen = generator.integers(len(pool), size=size)
        weights = generator.dirichlet(np.ones(MIXED + 1), size=size).astype(np.float32)[..., None]
        among = neighbours[chosen[:, None], generator.integers(reach, size=(size, MIXED))]
        there, here = pool[generator.integers(len(pool), size=(2, size))]
        rows = pool[chosen] * weights[:, 0] + (pool[among] * weights[:, 1:]).sum(axis=1) + MOVED * (there - here)
        made[first : first + size] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made
