"""Texts to vectors: what this organisation has embedded before is looked up, the rest is embedded."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ragecho.kernel.caller import Caller
from ragecho.library import writing as library
from ragecho.library.literals import vector_literal
from ragecho.platform.database import Database
from ragecho.platform.telemetry.metrics import count_cache_lookup, count_embedded
from ragecho.ports.embedder import Embedder

# Embedded, and kept, in pieces: progress moves, and a crash costs one piece. Two seconds of a small model on two cores; who
# is quicker, as providers are that take many texts in a request, gets larger ones.
FIRST_PIECE = 32
LARGEST_PIECE = 512
QUICK_SECONDS = 1.0
CACHE = "embeddings"

Advance = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors in pgvector's text form, in the order of the texts. `fresh` are those to keep, `reused` those found, by digest."""

    vectors: list[str]
    fresh: dict[bytes, str] = field(default_factory=dict)
    reused: list[bytes] = field(default_factory=list)


def cache_model(embedder: Embedder) -> str:
    """Return the name that embeddings are kept under: vectors of another revision or length are other vectors."""
    return f"{embedder.model}@{embedder.revision}/{embedder.dimensions}"


async def embed(
    database: Database, caller: Caller, embedder: Embedder, texts: Sequence[str], *, advance: Advance
) -> Embedded:
    """Return a vector for every text. `advance` is told the share that is done, 0 to 1."""
    digests = [sha256(text.encode()).digest() for text in texts]
    async with database.transaction(caller) as session:
        known = await library.load_embeddings(session, caller, cache_model(embedder), list(set(digests)))
    missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
    count_cache_lookup(CACHE, is_hit=True, times=len(known))
    count_cache_lookup(CACHE, is_hit=False, times=len(missing))
    fresh: dict[bytes, str] = {}
    kept: dict[bytes, str] = {}
    wanted = list(missing.items())
    first, size = 0, FIRST_PIECE
    while first < len(wanted):
        await advance(first / len(wanted))
        piece, started = wanted[first : first + size], time.perf_counter()
        vectors = await embedder.embed_passages([text for _, text in piece])
        count_embedded(embedder.model, len(piece))
        made = {digest: vector_literal(vector) for (digest, _), vector in zip(piece, vectors, strict=True)}
        first += len(piece)
        if time.perf_counter() - started < QUICK_SECONDS:
            size = min(2 * size, LARGEST_PIECE)
        if first < len(wanted):
            # The last piece is kept with the documents, in one transaction.
            async with database.transaction(caller) as session:
                await library.store_embeddings(session, caller, cache_model(embedder), made)
            kept |= made
        else:
            fresh = made
    found = known | kept | fresh
    return Embedded([found[digest] for digest in digests], fresh, list(known))
