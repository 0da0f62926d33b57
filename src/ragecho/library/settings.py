"""Settings of search."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ragecho.library.query.queries import Way


class SearchSettings(BaseSettings):
    """How long a search may take for what it does besides finding, and what is held in memory for it."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    resident_index_mb: int | None = Field(
        None,
        ge=0,
        description="Most memory in each API process for the indexes of workspaces that are searched often (about 150 MB for "
        "100 000 passages with vectors of 384 dimensions); what does not fit is searched in the database, more slowly. 0 switches "
        "it off. Default: an eighth of the memory, all processes together a quarter, but at least 256 each.",
    )
    rerank_budget_ms: int = Field(
        400,
        ge=1,
        description="Longest time for a search that a local model reranks; what it did not come to keeps its place.",
    )
    rerank_remote_budget_ms: int = Field(
        10_000, ge=1, description="Longest time for a search that a provider or a language model reranks."
    )
    query_rewriter: Annotated[tuple[Way, ...], NoDecode] = Field(
        (),
        description="How a language model may word a question anew before it is searched, comma separated: `history`, "
        "`decompose`, `hyde`, `translate`; empty means not at all.",
    )
    query_rewriter_model: str = Field(
        "", description="The model that does it, as in GENERATOR; empty means the first one there."
    )
    query_rewriter_seconds: float = Field(
        5.0, gt=0, description="Longest it may take, all ways together; then the question is searched as it is."
    )
    query_rewriter_languages: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="The documents' languages for `translate`, comma separated (ISO 639-1): `en,de`."
    )

    @field_validator("query_rewriter", "query_rewriter_languages", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        """Read `a,b` as a list; that is how the environment gives it."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
