"""HTTP shapes of what a search may be told besides its question, and of what it tells besides its passages."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ragecho.kernel.ids import ChunkId
from ragecho.library.query.options import Expand, Facts, Scope, SearchOptions


class SearchChoices(BaseModel):
    """Choices of one search; what is left out is as it is best for most."""

    model_config = ConfigDict(extra="forbid")

    expand: Expand = Field(
        Expand.NONE,
        description="Show the passage alone, with its `neighbours`, or the whole `section`; passages that meet become one result.",
    )
    max_per_document: int | None = Field(None, ge=1, le=200, description="Passages of one document at most.")
    diversity: float = Field(0.0, ge=0, le=1, description="0: by relevance alone; 1: as different as possible.")
    fold_duplicates: bool = Field(
        True,
        description="A text that stands in several places makes room for other texts; its result names the places.",
    )
    exact: bool = Field(
        True, description="What holds the query's identifiers and quoted phrases letter by letter comes first."
    )
    correct: bool = Field(
        True, description="A word that nothing readable holds is searched as the nearest word of what is found."
    )
    broad: bool = Field(
        True, description="Answer queries about one document as a whole, or for documents, as such (`scope`)."
    )

    def to_options(self) -> SearchOptions:
        """Return what the library understands."""
        return SearchOptions(
            max_per_document=self.max_per_document,
            diversity=self.diversity,
            fold_duplicates=self.fold_duplicates,
            exact=self.exact,
            correct=self.correct,
            broad=self.broad,
        )


class SpanOut(BaseModel):
    """A part of a document's text, in code points."""

    start: int
    end: int


class DuplicateOut(BaseModel):
    """Another place where the text of a result stands."""

    document_id: UUID
    filename: str
    chunk_id: UUID


class ExactOut(BaseModel):
    """An identifier or quoted phrase of the query."""

    text: str
    found: bool = Field(description="Something that you may read holds it letter by letter.")


class SearchFacts(BaseModel):
    """What happened to a query."""

    corrected: dict[str, str] = Field(
        default_factory=dict, description="Words that nothing readable holds, and what was searched instead."
    )
    exact: list[ExactOut] = Field(default_factory=list, description="Identifiers and quoted phrases of the query.")
    scope: Scope | None = Field(
        None,
        description="`document`: parts of one document that show what it is about, in reading order; `documents`: one passage of each.",
    )

    @classmethod
    def of_facts(cls, facts: Facts) -> Self:
        """Return the shape of the facts."""
        return cls(
            corrected=facts.corrected,
            exact=[ExactOut(text=one.text, found=one.is_found) for one in facts.exact],
            scope=facts.scope,
        )


def duplicates_of(chunk_id: ChunkId, facts: Facts) -> list[DuplicateOut]:
    """Return where the text of a result stands as well."""
    return [
        DuplicateOut(document_id=one.document_id, filename=one.filename, chunk_id=one.chunk_id)
        for one in facts.duplicates
        if one.of == chunk_id
    ]
