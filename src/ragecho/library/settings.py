"""Settings of search."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SearchSettings(BaseSettings):
    """How long a search may take for what it does besides finding."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    rerank_budget_ms: int = Field(
        400,
        ge=1,
        description="Longest time for reranking a search by a local model; what was not read keeps its place.",
    )
    rerank_remote_budget_ms: int = Field(
        10_000, ge=1, description="Longest time for reranking a search by a provider or a language model."
    )
