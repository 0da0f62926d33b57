"""Settings of fetching from elsewhere."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class FetchSettings(BaseSettings):
    """What one fetch may cost, and who asks."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    fetch_max_bytes: int = Field(
        50 * 1024**2, ge=1024, description="Largest page or file that is fetched from elsewhere."
    )
    fetch_seconds: float = Field(60.0, gt=0, le=600, description="Time that one fetch may take, its content included.")
    fetch_user_agent: str = Field(
        "ragecho", min_length=1, description="How fetches name themselves; robots.txt is obeyed for its first word."
    )
