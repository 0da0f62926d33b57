"""Embedding spaces as they become known: nothing of a tenant's, and a graph for every number of dimensions."""

from dataclasses import asdict

from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.database import Session
from ragecho.tenancy import store


async def register_space(session: Session, space: EmbeddingSpace) -> None:
    """Make the space exist. The first one with its number of dimensions brings the graph for them."""
    await store.insert_space(session, asdict(space))
