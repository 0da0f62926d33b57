"""How a search may be asked for, and what is told about it besides its passages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from ragecho.kernel.ids import ChunkId, DocumentId


class Expand(StrEnum):
    """What is shown of a document besides the passage that was found."""

    NONE = "none"
    NEIGHBOURS = "neighbours"
    SECTION = "section"


class Scope(StrEnum):
    """What a question was taken for, where it is not one for passages: about one document, or which documents there are."""

    DOCUMENT = "document"
    DOCUMENTS = "documents"


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What a caller may choose about one search.

    `max_per_document`: passages of one document at most (None: any number); `diversity`: 0 orders by relevance alone, 1 by
    difference from what stands before; `fold_duplicates`: a text that stands in several places is one result that names them, where something else stands in for it; `exact`: identifiers and quoted phrases come first; `correct`: words that nothing readable holds are searched as the nearest word of what was found; `broad`:
    questions about a whole document, or for documents, are answered as such.
    """

    max_per_document: int | None = None
    diversity: float = 0.0
    fold_duplicates: bool = True
    exact: bool = True
    correct: bool = True
    broad: bool = True


@dataclass(frozen=True, slots=True)
class ExactForm:
    """An identifier or quoted phrase of the question; `is_found`: one of the passages (not folded: any that was looked at) holds it."""

    text: str
    is_found: bool


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Where the text of a result (`of`) stands as well; something that the caller may read, too."""

    of: ChunkId
    chunk_id: ChunkId
    document_id: DocumentId
    filename: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What happened to a search. `corrected`: as written to as searched; `scope`: None for an ordinary question."""

    corrected: dict[str, str] = field(default_factory=dict)
    exact: tuple[ExactForm, ...] = ()
    scope: Scope | None = None
    duplicates: tuple[Duplicate, ...] = ()


def facts_of(stored: Mapping[str, Any]) -> Facts:
    """Return facts from their JSON. Raises `KeyError`, `ValueError` or `TypeError` for another release's."""
    return Facts(
        dict(stored["corrected"]),
        tuple(ExactForm(**one) for one in stored["exact"]),
        Scope(stored["scope"]) if stored["scope"] else None,
        tuple(
            Duplicate(
                ChunkId(UUID(one["of"])),
                ChunkId(UUID(one["chunk_id"])),
                DocumentId(UUID(one["document_id"])),
                one["filename"],
            )
            for one in stored["duplicates"]
        ),
    )
