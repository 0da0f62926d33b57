"""Settings of answering."""

from enum import StrEnum

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AnswersKept(StrEnum):
    """Which answers are given again. What a language model says may differ each time that it is asked."""

    NONE = "none"
    QUOTED = "quoted"
    ALL = "all"


class AskSettings(BaseSettings):
    """How a question is answered."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    ask_passages: int = Field(8, ge=1, le=50, description="Passages an answer is made from, unless the request says.")
    ask_context_tokens: int = Field(4000, ge=256, description="Most tokens of passages in one prompt.")
    ask_max_tokens: int = Field(800, ge=16, description="Longest generated answer, in the model's tokens.")
    ask_temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature of generators.")
    ask_generator_seconds: float = Field(
        120.0,
        gt=0,
        description="Longest a generator may take, from question to last word, before the next one is tried.",
    )
    answer_cache: AnswersKept = Field(
        AnswersKept.QUOTED,
        description="Which answers are kept and given again while nothing that they depend on has changed: 'quoted' (made without "
        "a language model, so always the same), 'all', 'none'; size, time and place are those of the cache (REDIS_URL, CACHE_MB, "
        "CACHE_SECONDS).",
    )
    ask_min_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Answer only above this confidence; empty means the value measured for the models in use.",
    )
