"""Keys, addresses and limits of generation."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class GenerationSettings(BaseSettings):
    """How the providers named in RAGECHO_GENERATOR are reached."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    openai_api_key: SecretStr | None = Field(None, description="Key for `openai:MODEL`.")
    openai_base_url: str | None = Field(None, description="Other address for `openai:MODEL`; default is OpenAI's own.")
    openai_compatible_base_url: str | None = Field(
        None, description="Address for `openai-compatible:MODEL` (vLLM, llama.cpp, …), e.g. http://127.0.0.1:8080/v1."
    )
    openai_compatible_api_key: SecretStr | None = Field(
        None, description="Key for `openai-compatible:MODEL`, where the server wants one."
    )
    ollama_base_url: str = Field(
        "http://127.0.0.1:11434/v1", description="Address for `ollama:MODEL`: Ollama's OpenAI-compatible interface."
    )
    generator_timeout_seconds: float = Field(
        60.0, gt=0, description="Longest silence of a provider, before the first word or between two."
    )
    generator_total_seconds: float = Field(300.0, gt=0, description="Longest time for one whole answer.")
    generator_max_retries: int = Field(2, ge=0, le=10, description="Retries of a call that failed before it began.")
    generator_failures_to_open: int = Field(
        3, ge=1, description="Failures in a row after which a provider is left alone for a while."
    )
    generator_open_seconds: float = Field(30.0, gt=0, description="How long a failing provider is left alone.")
    model_prices: Path | None = Field(
        None, description="JSON file of prices that adds to the built-in table (same form); prices change."
    )
