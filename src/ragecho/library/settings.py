"""Settings of search."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SearchSettings(BaseSettings):
    """How long a search may take for what it does besides finding."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    rerank_budget_ms: int = Field(
        400,
        ge=1,
        description="Longest time for a search that a local model reranks; what it did not come to keeps its place.",
    )
    rerank_remote_budget_ms: int = Field(
        10_000, ge=1, description="Longest time for a search that a provider or a language model reranks."
    )
